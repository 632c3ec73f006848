package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Wrong input says what, where and what to do; the exit code says whose fault it
// was. Nothing of this starts anything.
func TestUsage_SaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("sku,quantity\nMUG-RED,many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = "nats://127.0.0.1:1"
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an unknown verb":            {[]string{"sreve"}, exitUsage, `unknown command "sreve" for "watertight"`},
		"an unknown flag":            {[]string{"serve", "--slot", "3"}, exitUsage, "unknown flag: --slot"},
		"no number":                  {[]string{"serve", "--slots", "many"}, exitUsage, `invalid argument "many" for "--slots"`},
		"no outside world":           {[]string{"serve"}, exitUsage, "payment needs --gateway; or --sim to try without: charges and mails are pretended then"},
		"half an outside world":      {[]string{"serve", "--gateway", "http://127.0.0.1:1"}, exitUsage, "notification needs --mail"},
		"two outside worlds":         {[]string{"serve", "--sim", "--gateway", "http://127.0.0.1:1"}, exitUsage, "--gateway and --sim: choose one"},
		"an unknown service":         {[]string{"serve", "paiment", "--sim"}, exitUsage, `unknown service "paiment": one of payment, inventory, notification`},
		"no slots":                   {[]string{"serve", "--sim", "--slots", "0"}, exitUsage, "--slots 0: must be 1 to 10000"},
		"no timeout":                 {[]string{"serve", "--sim", "--timeout", "0s"}, exitUsage, "--timeout 0s: must be positive"},
		"a ladder that falls":        {[]string{"serve", "--sim", "--retry", "2s,1s"}, exitUsage, "delays must be positive and must not shrink"},
		"a gateway that is none":     {[]string{"serve", "--gateway", "pay.example.com", "--mail", "127.0.0.1:25"}, exitUsage, `--gateway "pay.example.com": want a base URL such as https://pay.example.com`},
		"a mail server without port": {[]string{"serve", "--gateway", "http://127.0.0.1:1", "--mail", "mail.example.com"}, exitUsage, `--mail "mail.example.com": want host:port`},
		"a stock file that is none":  {[]string{"serve", "--sim", "--stock", file, "--store", t.TempDir(), "--listen", "127.0.0.1:0"}, exitUsage, file + ":2"},
		"a missing stock file":       {[]string{"serve", "--sim", "--stock", file + ".csv", "--store", t.TempDir(), "--listen", "127.0.0.1:0"}, exitUsage, "no such file"},
		"a store for another server": {[]string{"serve", "--sim", "-s", nobody, "--store", "x"}, exitUsage, "--store is for the embedded server, and a server is named"},
		"no port":                    {[]string{"serve", "--sim", "--port", "70000"}, exitUsage, "--port 70000: must be 1 to 65535"},
		"two servers":                {[]string{"serve", "--sim", "-s", nobody, "--context", "x"}, exitUsage, "--server and --context both name a server: choose one"},
		"quiet and verbose":          {[]string{"dlq", "ls", "-q", "-v"}, exitUsage, "--quiet and --verbose: choose one"},
		"no server":                  {[]string{"dlq", "ls", "-s", nobody}, exitNoNATS, "connect to nats://127.0.0.1:1: no NATS server"},
		"no server to publish to":    {[]string{"publish", "-s", nobody, os.DevNull}, exitNoNATS, "no NATS server"},
		"an unknown context":         {[]string{"dlq", "ls", "--context", "nowhere"}, exitNoNATS, "context nowhere"},
		"a missing file":             {[]string{"publish", file + ".jsonl"}, exitUsage, "no such file"},
		"two files":                  {[]string{"publish", "a", "b"}, exitUsage, "accepts at most 1 arg(s), received 2"},
		"no window":                  {[]string{"publish", "--window", "0", os.DevNull}, exitUsage, "--window 0: must be at least 1"},
		"a pause of no service":      {[]string{"pause", "Payment!"}, exitUsage, `service "Payment!": 1 to 32 lower-case letters, digits and inner dashes`},
		"a pause of no length":       {[]string{"pause", "payment", "--for", "-1m"}, exitUsage, "--for -1m0s: must be positive"},
		"an unknown form":            {[]string{"dlq", "ls", "-o", "yaml"}, exitUsage, `unknown output "yaml": one of table, json, ndjson`},
		"an unknown reason":          {[]string{"dlq", "ls", "--reason", "bored"}, exitUsage, `unknown reason "bored": one of [invalid schema rejected exhausted expired poison canceled]`},
		"no time":                    {[]string{"dlq", "ls", "--since", "yesterday"}, exitUsage, `--since "yesterday": neither a duration like 90m nor a time like`},
		"a count by nothing known":   {[]string{"rejections", "--by", "colour"}, exitUsage, `--by: unknown property "colour": one of [service where reason minute]`},
		"rejections since no time":   {[]string{"rejections", "--since", "lunch"}, exitUsage, `--since "lunch": neither a duration like 90m nor a time like`},
		"rejections of something":    {[]string{"rejections", "payment"}, exitUsage, `unknown command "payment" for "watertight rejections"`},
		"no letter's number":         {[]string{"dlq", "show", "first"}, exitUsage, `"first" is not the number of a letter; ` + "`dlq ls` shows them"},
		"no letter named":            {[]string{"dlq", "replay"}, exitUsage, "name letters by number, or choose them by"},
		"letters named twice over":   {[]string{"dlq", "discard", "3", "--all"}, exitUsage, "name letters by number, or choose them by"},
		"no retry named":             {[]string{"retry", "now"}, exitUsage, "name a service and its retries by number, or choose them by --service, --order, --tier, --due-within or --all"},
		"a service and no retry":     {[]string{"retry", "cancel", "payment"}, exitUsage, "name a service and its retries by number"},
		"retries named twice over":   {[]string{"retry", "cancel", "payment", "3", "--all"}, exitUsage, "name a service and its retries by number"},
		"no retry's number":          {[]string{"retry", "now", "payment", "first"}, exitUsage, `"first" is not the number of a waiting retry; ` + "`retry ls` shows them"},
		"a retry of no service":      {[]string{"retry", "now", "Payment!", "3"}, exitUsage, `service "Payment!": 1 to 32 lower-case letters, digits and inner dashes`},
		"retries of no service":      {[]string{"retry", "ls", "--service", "*"}, exitUsage, `--service "*": 1 to 32 lower-case letters, digits and inner dashes`},
		"a tier that is none":        {[]string{"retry", "ls", "--tier", "t0"}, exitUsage, `--tier "t0": want now, t1, t2, …`},
		"a tier of two":              {[]string{"retry", "ls", "--tier", "t01"}, exitUsage, `--tier "t01": want now, t1, t2, …`},
		"due in the past":            {[]string{"retry", "ls", "--due-within", "-1s"}, exitUsage, "--due-within -1s: must not be negative"},
		"less than none":             {[]string{"retry", "ls", "--limit", "-1"}, exitUsage, "--limit -1: must not be negative"},
		"a fault that is none":       {[]string{"sim", "--fault", "payment=hangs"}, exitUsage, `unknown kind "hangs"`},
		"a load of no rate":          {[]string{"load", "--rate", "0"}, exitUsage, "--rate 0: must be 0.1 to 100000 orders a second"},
		"a load of no length":        {[]string{"load", "--duration", "10ms"}, exitUsage, "--duration 10ms: must be at least 1s"},
		"a load of no shape":         {[]string{"load", "--profile", "square"}, exitUsage, `--profile "square": one of ramp, sale, spike, steady`},
		"a load beyond memory":       {[]string{"load", "--rate", "50000", "--duration", "1h"}, exitUsage, "--rate 50000 for 1h0m0s is 180000000 orders; at most 20000000 are kept in memory"},
		"a threshold on nobody":      {[]string{"load", "--threshold", "shipping.p99<1s"}, exitUsage, `unknown service "shipping"`},
		"a fault without switches":   {[]string{"load", "--fault", "payment=hang@1s+2s"}, exitUsage, "--fault needs the simulator's switches: --sim-admin http://127.0.0.1:8091"},
		"a fault without an end":     {[]string{"load", "--sim-admin", "http://127.0.0.1:1", "--fault", "payment=hang@1s"}, exitUsage, "want TARGET=FAULT@START+LENGTH, such as payment=hang@10s+15s"},
		"a fault beyond the load":    {[]string{"load", "--sim-admin", "http://127.0.0.1:1", "--fault", "payment=hang@1s+1h"}, exitUsage, "it ends after 1h0m1s, and the load after 30s"},
		"two faults at a time":       {[]string{"load", "--sim-admin", "http://127.0.0.1:1", "--fault", "payment=hang@1s+9s", "--fault", "payment=errors@5s+9s"}, exitUsage, "payment has another fault at that time"},
		"a load on no server":        {[]string{"load", "-s", nobody}, exitNoNATS, "no NATS server"},
		"a demo that shows nothing":  {[]string{"demo", "--rate", "50"}, exitUsage, "rate 50 × timeout 1s fills 50 slots; sinking a shared pool of 48 needs 4 × that, 192: raise the rate to 192 or more"},
		"a demo too short":           {[]string{"demo", "--baseline", "5s"}, exitUsage, "the baseline phase of 5s has 5 windows of 1 s; its medians need 6"},
		"a demo without a fault":     {[]string{"demo", "--fault", "payment=none"}, exitUsage, "the demo needs a fault to show anything"},
		"a demo of nobody":           {[]string{"demo", "--fault", "shipping=hang"}, exitUsage, `unknown target "shipping"`},
		"a demo elsewhere":           {[]string{"demo", "-s", nobody}, exitUsage, "demo runs a NATS server of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := program(t, "", tt.args...)
			r.want(t, tt.code, tt.want)
			if r.stdout != "" {
				t.Errorf("stdout: got %q, want nothing", r.stdout)
			}
		})
	}
}

func TestUsage_Helps(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help", "serve"}, {"demo", "--help"}, {"dlq"}, {"dlq", "replay", "--help"}, {"retry"}, {"retry", "now", "--help"}, {"publish", "-h"}, {"sim", "--help"}, {"audit", "--help"}, {"rejections", "--help"}} {
		r := program(t, "", args...)
		r.want(t, exitOK, "Usage:")
		if r.stderr != "" {
			t.Errorf("watertight %q: stderr: got %q, want nothing", args, r.stderr)
		}
	}
	program(t, "", "version").want(t, exitOK, "watertight ")
}
