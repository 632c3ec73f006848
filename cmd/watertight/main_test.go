package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/broker/embedded"
)

// asProgram is the variable by which the test binary becomes the program, so that
// tests see what a user sees: processes, signals, exit codes, both outputs.
const asProgram = "WATERTIGHT_TEST_AS_PROGRAM"

// asBroker makes it a NATS server on the folder and the port of its arguments.
const asBroker = "WATERTIGHT_TEST_AS_BROKER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if os.Getenv(asBroker) != "" {
		serveBroker(os.Args[1], os.Args[2])
	}
	// Most of them wait most of the time, for an ack deadline in another process.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	brokertest.Main(m)
}

// serveBroker runs until it is killed.
func serveBroker(store, port string) {
	n, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	if _, err := embedded.Start(embedded.Config{Store: store, Port: n}); err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, "broker is ready")
	select {}
}

// patience ends what hangs. Nothing that works comes near it.
const patience = 90 * time.Second

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	for _, v := range os.Environ() {
		// Neither a server nor a habit of whoever runs the tests counts.
		if !strings.HasPrefix(v, "NATS_") && !strings.HasPrefix(v, "WATERTIGHT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	return cmd
}

// ran is a run of the program that has ended.
type ran struct {
	code           int
	stdout, stderr string
}

// program runs the program to its end.
func program(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	return programIn(t, nil, stdin, args...)
}

// programIn runs it with variables besides.
func programIn(t *testing.T, env []string, stdin string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("watertight %q didn't end within %v\n%s%s", args, patience, &stdout, &stderr)
	}
	if _, exited := err.(*exec.ExitError); err != nil && !exited { //nolint:errorlint // Run returns it as it is
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want fails the test unless the run ended with the code and said all of this.
func (r ran) want(t *testing.T, code int, said ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code: got %d, want %d", r.code, code)
	}
	for _, s := range said {
		if !strings.Contains(r.stdout+r.stderr, s) {
			t.Errorf("it didn't say %q", s)
		}
	}
	if t.Failed() {
		t.Fatalf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// process is a run of the program that goes on.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	events chan map[string]any // the log, event by event
	lines  chan string         // stdout
	ended  chan struct{}

	mu  sync.Mutex
	log strings.Builder
}

// start starts the program. The test's end kills it.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, command(t.Context(), args...))
}

// startBroker starts a NATS server of its own process and waits until it is ready.
func startBroker(t *testing.T, store, port string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], store, port)
	cmd.Env = append(os.Environ(), asBroker+"=1")
	p := startCommand(t, cmd)
	p.await("broker is ready")
	return p
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, events: make(chan map[string]any, 4096), lines: make(chan string, 4096), ended: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		var both sync.WaitGroup
		both.Go(func() {
			for line := range scan(stdout) {
				select {
				case p.lines <- line:
				default: // nobody waits for more
				}
			}
		})
		for line := range scan(stderr) {
			p.said(line)
		}
		both.Wait()
		_ = p.cmd.Wait() // the exit code is looked at by whoever waits
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %q:\n%s", cmd.Args[1:], p.text())
		}
	})
	return p
}

// scan yields the lines of a pipe.
func scan(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() && yield(lines.Text()) {
		}
		_, _ = io.Copy(io.Discard, r) // the program must not be stopped by a full pipe
	}
}

func (p *process) said(line string) {
	p.mu.Lock()
	if p.log.Len() < 1<<20 {
		p.log.WriteString(line + "\n")
	}
	p.mu.Unlock()
	e := map[string]any{}
	if json.Unmarshal([]byte(line), &e) != nil {
		e = map[string]any{"event": line}
	}
	select {
	case p.events <- e:
	default: // nobody waits for more
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// await waits for an event of the log, or for a line that contains the text.
func (p *process) await(event string) map[string]any {
	p.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case e := <-p.events:
			if name, _ := e["event"].(string); strings.Contains(name, event) {
				return e
			}
		case <-p.ended:
			p.t.Fatalf("it ended without saying %q:\n%s", event, p.text())
		case <-limit.C:
			p.t.Fatalf("it didn't say %q within %v:\n%s", event, patience, p.text())
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	<-p.ended
}

// wait waits for the end and returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("it didn't end within %v:\n%s", patience, p.text())
	}
	return p.cmd.ProcessState.ExitCode()
}

// connect connects to a server by its URL.
func connect(t *testing.T, url string) *broker.Conn {
	t.Helper()
	c, err := broker.Connect(t.Context(), broker.Config{URL: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// get asks a process about itself.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// text is a field of an event.
func text(t *testing.T, e map[string]any, field string) string {
	t.Helper()
	s, ok := e[field].(string)
	if !ok {
		t.Fatalf("event %v has no %s", e, field)
	}
	return s
}
