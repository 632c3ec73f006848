package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/broker"
)

// changes parses the document of provision.
func changes(t *testing.T, r ran) provisionView {
	t.Helper()
	r.want(t, exitOK)
	var v provisionView
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	return v
}

// What a dry run says is what is done, and a dry run does nothing.
func TestProvision_DryRunDiffAndUpdate(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{}).url
	provision := func(args ...string) ran {
		t.Helper()
		return program(t, "", append([]string{"provision", "-s", url, "--replicas", "1"}, args...)...)
	}
	as := func(changes []changeView, from, to broker.Action) []changeView {
		renamed := slices.Clone(changes)
		for i := range renamed {
			if renamed[i].Action == string(from) {
				renamed[i].Action = string(to)
			}
		}
		return renamed
	}

	dry := changes(t, provision("--dry-run", "-o", "json"))
	if !dry.DryRun || len(dry.Changes) == 0 {
		t.Fatalf("dry run on an empty server: got %+v", dry)
	}
	if again := changes(t, provision("--dry-run", "-o", "json")); !cmp.Equal(dry, again) {
		t.Fatalf("a second dry run: got %+v, want the same", again)
	}
	done := changes(t, provision("-o", "json"))
	if diff := cmp.Diff(as(dry.Changes, broker.Missing, broker.Created), done.Changes); done.DryRun || diff != "" {
		t.Fatalf("what was missing is what is created (-missing +created):\n%s", diff)
	}
	r := provision()
	r.want(t, exitOK, "nothing to change")
	if r.stdout != "" {
		t.Errorf("stdout: got %q, want nothing", r.stdout)
	}
	if v := changes(t, provision("-o", "json")); v.Changes == nil || len(v.Changes) != 0 {
		t.Errorf("changes when there are none: got %v, want an empty list", v.Changes)
	}

	// A longer timeout needs a longer ack wait of all durables.
	provision("--timeout", "9s", "--dry-run").want(t, exitOK, "drifted  durable  ORDERS/payment", "ack_wait")
	r = provision("--timeout", "9s", "--dry-run", "--diff")
	r.want(t, exitOK, "ack_wait: 16s, want 30s")
	provision("--timeout", "9s", "--diff").want(t, exitOK, "updated  durable  ORDERS/payment", "ack_wait: 16s, want 30s")
	provision("--timeout", "9s").want(t, exitOK, "nothing to change")
}

// A cluster isn't there at once; provision waits for it when it is told to.
func TestProvision_Waits(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	url := "nats://127.0.0.1:" + port
	p := start(t, "provision", "-s", url, "--replicas", "1", "--wait", "60s")
	p.await("provision.waiting")
	startServer(t, serverConfig{port: port})
	if code := p.wait(); code != exitOK {
		t.Fatalf("exit code: got %d, want 0", code)
	}
	if _, err := connect(t, url).JetStream().Stream(t.Context(), broker.StreamOrders); err != nil {
		t.Fatalf("stream ORDERS: %v", err)
	}
}

func TestProvision_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const nobody = "nats://127.0.0.1:1"
	url := startServer(t, serverConfig{}).url
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no server":                    {[]string{"-s", nobody}, exitNoNATS, "no NATS server"},
		"no server for a while":        {[]string{"-s", nobody, "--wait", "1s"}, exitNoNATS, "no NATS server"},
		"three replicas on one server": {[]string{"-s", url}, exitFailure, "provision stream ORDERS: "},
		"a wait into the past":         {[]string{"-s", url, "--wait", "-1s"}, exitUsage, "--wait -1s: must not be negative"},
		"six replicas":                 {[]string{"-s", url, "--replicas", "6"}, exitUsage, "--replicas 6: 1, 3 or 5"},
		"an argument":                  {[]string{"-s", url, "ORDERS"}, exitUsage, "ORDERS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := program(t, "", append([]string{"provision"}, tt.args...)...)
			r.want(t, tt.code, tt.want)
			if strings.Contains(r.stdout, "created") {
				t.Errorf("stdout: got %q, want nothing created", r.stdout)
			}
		})
	}
}
