package main

import (
	"strings"
	"testing"
)

// An empty broker, or another than was meant: each verb says so, and none that all
// is quiet.
func TestRemedy_OfABrokerThatIsNotProvisioned(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{lax: true}).url
	const line = `{"customer":"c-17","currency":"EUR","lines":[{"sku":"MUG-RED","quantity":1,"unit_price":1299}]}`
	for _, tt := range []struct {
		verb string
		code int
	}{
		{"publish --generate-ids", exitFailure},
		{"load --duration 1s", exitFailure},
		{"dlq ls", exitFailure},
		{"dlq show 1", exitFailure},
		{"dlq watch", exitFailure},
		{"dlq replay 1", exitFailure},
		{"dlq discard --all", exitFailure},
		{"retry ls", exitFailure},
		{"retry ls --service payment", exitFailure},
		{"retry now --all", exitFailure},
		{"retry cancel payment 1", exitFailure},
		{"rejections", exitFailure},
		{"audit", exitNothing},
		{"pause payment", exitFailure},
		{"resume payment", exitFailure},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			t.Parallel()
			program(t, line, append(strings.Fields(tt.verb), "-s", url)...).want(t, tt.code, "this broker isn't provisioned: `", "check` says what is missing, `", "provision` creates it")
		})
	}
}

func TestRemedy_OfAServerWithoutACluster(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{lax: true}).url
	for _, verb := range []string{"provision", "serve --sim --listen 127.0.0.1:0"} {
		r := program(t, "", append(strings.Fields(verb), "-s", url)...)
		r.want(t, exitFailure, "A server without a cluster keeps each message once: --replicas 1")
		if strings.Contains(r.stderr, "nothing to change") {
			t.Errorf("%s: stderr: got %q, though it failed", verb, r.stderr)
		}
	}
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	program(t, "", "check", "-s", url).want(t, exitOK, "warn    replicas ", "run three servers, or say --replicas 1", "all streams and durables are as planned")
	r := program(t, "", "check", "-s", url, "--replicas", "1")
	if r.want(t, exitOK); strings.Contains(r.stdout, "warn    replicas") {
		t.Errorf("it warned of what was said:\n%s", r.stdout)
	}
}
