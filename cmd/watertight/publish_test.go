package main

import (
	"io"
	"strings"
	"syscall"
	"testing"
)

// A file that is stopped half-way isn't stored: also SIGTERM is no success then.
func TestPublish_StoppedHalfWay(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{lax: true}).url
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	for by, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitPartly} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			cmd := command(t.Context(), "publish", "-s", url, "--generate-ids")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			p := startCommand(t, cmd)
			if _, err := io.WriteString(in, `{"customer":"c-17","currency":"EUR","lines":[{"sku":"MUG-RED","quantity":1,"unit_price":1299}]}`+"\n"); err != nil {
				t.Fatal(err)
			}
			<-p.lines // it is stored
			p.signal(by)
			if code := p.wait(); code != want {
				t.Errorf("exit code: got %d, want %d", code, want)
			}
			if text := p.text(); !strings.Contains(text, "1 stored, 0 duplicate, 0 failed") || strings.Count(text, "stopped by ") != 1 {
				t.Errorf("it said %q, want what is stored, and once why it stopped", text)
			}
		})
	}
}
