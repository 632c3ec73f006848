package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// checked runs check on a server and returns what it found, by check; the worst
// where there are several.
func checked(t *testing.T, code int, args ...string) map[string]string {
	t.Helper()
	r := program(t, "", append([]string{"check", "--replicas", "1", "-o", "json"}, args...)...)
	r.want(t, code)
	var findings []struct{ Result, Check, Says, Do string }
	if err := json.Unmarshal([]byte(r.stdout), &findings); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	found := make(map[string]string)
	for _, f := range findings {
		if (f.Result == "ok") != (f.Do == "") {
			t.Errorf("%s %s: %q, to do: %q; want something to do when it isn't ok, and only then", f.Result, f.Check, f.Says, f.Do)
		}
		if prior := found[f.Check]; f.Result != "ok" || prior == "" {
			found[f.Check] = f.Result + ": " + f.Says
		}
	}
	return found
}

func wantFound(t *testing.T, found map[string]string, check, want string) {
	t.Helper()
	if !strings.Contains(found[check], want) {
		t.Errorf("%s: got %q, want %q", check, found[check], want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	server := startServer(t, serverConfig{denied: []string{"dlq.>"}})
	as := func(user string) []string {
		return []string{"-s", strings.Replace(server.url, "//", "//"+user+":x@", 1)}
	}

	found := checked(t, exitFailure, as("shop")...)
	wantFound(t, found, "connection", "ok: lone, nats-server "+server.version)
	wantFound(t, found, "topology", "fail: missing: stream ORDERS, stream OUTCOMES, stream DLQ and ")
	wantFound(t, found, "sync_interval", "warn: not known")

	provision := append([]string{"provision", "--replicas", "1"}, as("shop")...)
	program(t, "", provision...).want(t, exitOK)
	found = checked(t, exitOK, append(as("shop"), "--monitor", server.monitor)...)
	for check, f := range found {
		if !strings.HasPrefix(f, "ok: ") {
			t.Errorf("%s on a good server: got %q, want ok", check, f)
		}
	}
	wantFound(t, found, broker.StreamOrders, "0 messages, 0 B of 1 GiB, 1 of 1 replicas")
	wantFound(t, found, "sync_interval", "lone ("+server.version+") writes through to the disk before it acknowledges")

	found = checked(t, exitFailure, as("clerk")...)
	wantFound(t, found, "permissions", "fail: this user may not publish dlq.payment.exhausted, publish dlq.inventory.exhausted, publish dlq.notification.exhausted")
	wantFound(t, found, "permissions", `Permissions Violation for Publish to "dlq.payment.exhausted"`)

	found = checked(t, exitOK, append(as("shop"), "--timeout", "9s")...)
	wantFound(t, found, "topology", "warn: differs: durable ORDERS/payment (ack_wait: 16s, want 30s)")

	conn := connect(t, as("shop")[1])
	s, err := conn.JetStream().Stream(t.Context(), broker.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = 4 << 20
	if _, err := conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		if _, err := conn.JetStream().Publish(t.Context(), broker.DeadSubject(order.Payment, "exhausted"), make([]byte, 512<<10)); err != nil {
			t.Fatal(err)
		}
	}
	wantFound(t, checked(t, exitOK, as("shop")...), broker.StreamDeadLetters, "warn: 7 messages, 3.5 MiB of 4 MiB")
}

func TestCheck_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const nobody = "nats://127.0.0.1:1"
	bare := startServer(t, serverConfig{bare: true})
	lax := startServer(t, serverConfig{lax: true})
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no server":               {[]string{"-s", nobody}, exitNoNATS, "fail    connection"},
		"no JetStream":            {[]string{"-s", bare.url}, exitFailure, "JetStream doesn't answer"},
		"no JetStream, monitored": {[]string{"-s", bare.url, "--monitor", bare.monitor}, exitFailure, "lone has no JetStream → add a jetstream block"},
		"a lax server":            {[]string{"-s", lax.url, "--monitor", lax.monitor}, exitFailure, "syncs every 2m0s: a power cut loses what was acknowledged since → set sync_interval: always"},
		"no monitoring there":     {[]string{"-s", lax.url, "--monitor", "http://127.0.0.1:1"}, exitFailure, "connection refused"},
		"a monitor that is none":  {[]string{"-s", lax.url, "--monitor", "127.0.0.1:8222"}, exitUsage, `--monitor "127.0.0.1:8222": want a URL such as http://127.0.0.1:8222`},
		"no timeout":              {[]string{"-s", lax.url, "--timeout", "0s"}, exitUsage, "--timeout 0s: must be positive"},
		"another form":            {[]string{"-s", lax.url, "-o", "yaml"}, exitUsage, `unknown output "yaml": one of table, json`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program(t, "", append([]string{"check"}, tt.args...)...).want(t, tt.code, tt.want)
		})
	}
}
