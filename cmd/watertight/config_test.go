package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settingsIn writes a file of settings.
func settingsIn(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// shownSetting is what config show says of one setting; the folder of the file is left out.
func shownSetting(t *testing.T, env []string, key string, args ...string) (value, source string) {
	t.Helper()
	r := programIn(t, env, "", append([]string{"config", "show", "--sources", "-o", "json"}, args...)...)
	r.want(t, exitOK)
	var all []settingView
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	for _, s := range all {
		if s.Setting == key {
			v, err := json.Marshal(s.Value)
			if err != nil {
				t.Fatal(err)
			}
			return string(v), strings.TrimSpace(s.Source + " " + filepath.Base("/"+s.Where))
		}
	}
	t.Fatalf("there is no setting %s in\n%s", key, r.stdout)
	return "", ""
}

// Of all that give a setting a value, the nearest to the command line does.
func TestConfig_Precedence(t *testing.T) {
	for name, tt := range map[string]struct {
		file          string // without a line there is no file
		env           []string
		args          []string
		key           string
		value, source string
	}{
		"the default": {key: "serve.slots", value: `16`, source: "default /"},
		"the file":    {file: "# slots\nserve:\n  slots: 32\n", key: "serve.slots", value: `32`, source: "file w.yaml:3"},
		"the environment before the file": {
			file: "serve: {slots: 32}", env: []string{"WATERTIGHT_SERVE_SLOTS=64"},
			key: "serve.slots", value: `64`, source: "env WATERTIGHT_SERVE_SLOTS",
		},
		"the flag before the environment": {
			file: "server: nats://file", env: []string{"NATS_URL=nats://env"}, args: []string{"-s", "nats://flag"},
			key: "server", value: `"nats://flag"`, source: "flag --server",
		},
		"an empty flag before the environment": {
			env: []string{"NATS_URL=nats://env"}, args: []string{"-s", ""}, key: "server", value: `""`, source: "flag --server",
		},
		"the environment's server before the file's": {
			file: "server: nats://file", env: []string{"NATS_URL=nats://env"}, key: "server", value: `"nats://env"`, source: "env NATS_URL",
		},
		"an empty variable is none": {
			file: "serve: {slots: 32}", env: []string{"WATERTIGHT_SERVE_SLOTS="}, key: "serve.slots", value: `32`, source: "file w.yaml:1",
		},
		"the environment's context before the file's server": {
			file: "server: nats://file", env: []string{"NATS_CONTEXT=shop"}, key: "server", value: `""`, source: "env NATS_CONTEXT",
		},
		"the flag's server before the environment's context": {
			env: []string{"NATS_CONTEXT=shop"}, args: []string{"-s", "nats://flag"}, key: "context", value: `""`, source: "flag --server",
		},
		"the flag's context before the environment's server": {
			env: []string{"NATS_URL=nats://env"}, args: []string{"--context", "shop"}, key: "server", value: `""`, source: "flag --context",
		},
		"NATS_URL before NATS_CONTEXT": {
			env: []string{"NATS_URL=nats://env", "NATS_CONTEXT=shop"}, key: "context", value: `""`, source: "env NATS_URL",
		},
		"loud by flag, quiet by the file": {file: "quiet: true", args: []string{"-v"}, key: "quiet", value: `false`, source: "flag --verbose"},
		"no colour, whatever it says":     {env: []string{"NO_COLOR=please"}, key: "no-color", value: `true`, source: "env NO_COLOR"},
		"a file named by the environment": {env: []string{"WATERTIGHT_CONFIG=" + settingsIn(t, "serve: {port: 4333}")}, key: "serve.port", value: `4333`, source: "file w.yaml:1"},
		"an empty file":                   {file: "# nothing yet\n", key: "serve.slots", value: `16`, source: "default /"},
		"an empty section":                {file: "serve:\n", key: "serve.slots", value: `16`, source: "default /"},
		"a list":                          {file: "retry: [2s, 4s]", key: "retry", value: `["2s","4s"]`, source: "file w.yaml:1"},
		"a list in one word":              {env: []string{"WATERTIGHT_RETRY=2s,4s"}, key: "retry", value: `["2s","4s"]`, source: "env WATERTIGHT_RETRY"},
		"a list of texts with commas":     {file: "sim:\n  fault:\n  - payment=hang,\n  - mail=cut\n", key: "sim.fault", value: `["payment=hang,","mail=cut"]`, source: "file w.yaml:3"},
		"a number":                        {file: "demo: {rate: 412.5}", key: "demo.rate", value: `412.5`, source: "file w.yaml:1"},
		"a word that is a number":         {file: "serve: {stock: 2026}", key: "serve.stock", value: `"2026"`, source: "file w.yaml:1"},
		"no word at all":                  {file: "serve: {mail-from: \"\"}", key: "serve.mail-from", value: `""`, source: "file w.yaml:1"},
		"an alias":                        {file: "demo: {store: &s /data}\nserve: {store: *s}", key: "serve.store", value: `"/data"`, source: "file w.yaml:2"},
		"an alias of a section":           {file: "sim: &s {seed: 7}\nload: *s", key: "load.seed", value: `7`, source: "file w.yaml:1"},
		"a port set by Kubernetes":        {env: []string{"WATERTIGHT_PORT=tcp://10.0.0.7:80", "WATERTIGHT_SERVE_PORT=tcp://10.0.0.7:80"}, key: "serve.port", value: `0`, source: "default /"},
		"a variable of somebody else":     {env: []string{"WATERTIGHT_IMAGE=shop:1"}, key: "serve.slots", value: `16`, source: "default /"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.file != "" {
				tt.args = append(tt.args, "--config", settingsIn(t, tt.file))
			}
			value, source := shownSetting(t, tt.env, tt.key, tt.args...)
			if value != tt.value || source != tt.source {
				t.Errorf("%s: got %s from %q, want %s from %q", tt.key, value, source, tt.value, tt.source)
			}
		})
	}
}

// What is wrong is said with its place, and nothing is started.
func TestConfig_SaysWhatIsWrongAndWhere(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		env  []string
		args []string
		want string // after the folder of the file
	}{
		"an unknown key":                    {file: "quiet: true\nserve:\n  slot: 3\n", want: "w.yaml:3: there is no setting serve.slot; did you mean serve.slots?"},
		"an unknown section":                {file: "serv: {slots: 3}\n", want: "w.yaml:1: there is no setting serv; did you mean serve?"},
		"a key outside of its section":      {file: "\nslots: 3\n", want: "w.yaml:2: there is no setting slots; did you mean serve.slots?"},
		"a key that must be the same":       {file: "serve:\n  timeout: 3s\n", want: "w.yaml:2: there is no setting serve.timeout; did you mean timeout or healthcheck.timeout?"},
		"a key of two sections":             {file: "store: x\n", want: "did you mean demo.store or serve.store?"},
		"a key like none":                   {file: "colour: red\n", want: "w.yaml:1: there is no setting colour\n"},
		"a file within a file":              {file: "config: x.yaml\n", want: "w.yaml:1: there is no setting config\n"},
		"a verb without settings":           {file: "dlq: {service: payment}\n", want: "w.yaml:1: there is no setting dlq\n"},
		"another verb without settings":     {file: "pause: {for: 1m}\n", want: "w.yaml:1: there is no setting pause\n"},
		"a verb of a verb":                  {file: "dlq: {replay: {all: true}}\n", want: "w.yaml:1: there is no setting dlq\n"},
		"two typing errors":                 {file: "serve: {blocs: 3}\n", want: "w.yaml:1: there is no setting serve.blocs; did you mean serve.slots?"},
		"three":                             {file: "serve: {blobs: 3, bloc: 3}\n", want: "w.yaml:1: there is no setting serve.bloc\n"},
		"a section within a section":        {file: "serve: {serve: {slots: 3}}\n", want: "w.yaml:1: there is no setting serve.serve"},
		"a merge":                           {file: "serve: {<<: {slots: 3}}\n", want: "w.yaml:1: there is no setting serve.<<"},
		"a key twice":                       {file: "serve:\n  slots: 1\n  slots: 2\n", want: "w.yaml:3: serve.slots is set twice, first in line 2"},
		"a section twice":                   {file: "serve: {slots: 1}\nserve: {port: 1}\n", want: "w.yaml:2: serve is set twice, first in line 1"},
		"all that is wrong":                 {file: "serve: {slots: many}\nsim: {seed: -1}\n", want: "serve.slots \"many\": want a whole number\n"},
		"the last of it":                    {file: "serve: {slots: many}\nsim: {seed: -1}\n", want: "w.yaml:2: sim.seed \"-1\": want a whole number"},
		"no number":                         {file: "serve:\n  slots: many\n", want: "w.yaml:2: serve.slots \"many\": want a whole number"},
		"no duration":                       {file: "timeout: 2\n", want: "w.yaml:1: timeout \"2\": want a duration such as 90s"},
		"no truth":                          {file: "serve: {sim: perhaps}\n", want: "w.yaml:1: serve.sim \"perhaps\": want true or false"},
		"no durations":                      {file: "retry: [1s, later]\n", want: "w.yaml:1: retry \"1s,later\": want durations such as 1s,5s"},
		"nothing":                           {file: "serve:\n  slots:\n", want: "w.yaml:2: serve.slots has no value"},
		"a list for one value":              {file: "serve: {slots: [1, 2]}\n", want: "w.yaml:1: serve.slots has one value, not a list"},
		"an empty list":                     {file: "retry: []\n", want: "w.yaml:1: retry is an empty list"},
		"a list of lists":                   {file: "retry: [[1s]]\n", want: "w.yaml:1: retry is a list of single values"},
		"a section for a value":             {file: "serve: {slots: {payment: 2}}\n", want: "w.yaml:1: serve.slots is a setting, not a section"},
		"a value for a section":             {file: "serve: payment\n", want: "w.yaml:1: want settings, such as drain: …"},
		"a list for the file":               {file: "- serve\n", want: "w.yaml:1: want settings, such as server: …"},
		"no YAML":                           {file: "serve:\n\tslots: 3\n", want: "w.yaml:2: found character that cannot start any token"},
		"a second document":                 {file: "quiet: true\n---\nquiet: true\n", want: "w.yaml:2: a second document"},
		"two servers in the file":           {file: "server: a\ncontext: b\n", want: "--server and --context both name a server: choose one\n  --context comes from "},
		"a missing file":                    {args: []string{"--config", "nowhere.yaml"}, want: "--config: open nowhere.yaml: no such file"},
		"a missing file, by a variable":     {env: []string{"WATERTIGHT_CONFIG=nowhere.yaml"}, want: "\n  --config comes from WATERTIGHT_CONFIG"},
		"no number in a variable":           {env: []string{"WATERTIGHT_SERVE_SLOTS=many"}, want: "WATERTIGHT_SERVE_SLOTS: serve.slots \"many\": want a whole number"},
		"an unknown variable":               {env: []string{"WATERTIGHT_SERVE_SLOT=3"}, want: "WATERTIGHT_SERVE_SLOT: there is no such setting; did you mean WATERTIGHT_SERVE_SLOTS?"},
		"a variable without its verb":       {env: []string{"WATERTIGHT_GATEWAY=x"}, want: "WATERTIGHT_GATEWAY: there is no such setting; did you mean WATERTIGHT_SERVE_GATEWAY?"},
		"a value out of range, by file":     {file: "\nserve: {slots: 0, sim: true}\n", args: []string{"serve"}, want: "--slots 0: must be 1 to 10000\n  --slots comes from "},
		"another verb's value out of range": {env: []string{"WATERTIGHT_LOAD_DRAIN=40s", "WATERTIGHT_SERVE_DRAIN=-1s"}, args: []string{"serve", "--sim"}, want: "--drain -1s: must not be negative\n  --drain comes from WATERTIGHT_SERVE_DRAIN\n"},
		"a value out of range, by env":      {env: []string{"WATERTIGHT_TIMEOUT=-1s"}, args: []string{"serve", "--sim"}, want: "--timeout -1s: must be positive\n  --timeout comes from WATERTIGHT_TIMEOUT\n"},
		"a form that the verb hasn't":       {env: []string{"WATERTIGHT_CHECK_OUTPUT=ndjson"}, args: []string{"check"}, want: `unknown output "ndjson": one of table, json`},
		"a pretended and a real world":      {env: []string{"WATERTIGHT_SERVE_GATEWAY=http://127.0.0.1:1"}, args: []string{"serve", "--sim"}, want: "--gateway and --sim: choose one\n  --gateway comes from WATERTIGHT_SERVE_GATEWAY\n"},
		"another verb's setting":            {file: "demo: {rate: fast}\n", args: []string{"dlq", "ls"}, want: "w.yaml:1: demo.rate \"fast\": want a number"},
		"an embedded store beside a server": {file: "server: nats://127.0.0.1:1\nserve: {store: x, sim: true}\n", args: []string{"serve"}, want: "--store is for the embedded server, and a server is named\n  --store comes from "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(tt.args) == 0 || tt.args[0] == "--config" {
				tt.args = append([]string{"config", "show"}, tt.args...)
			}
			if tt.file != "" {
				tt.args = append(tt.args, "--config", settingsIn(t, tt.file))
			}
			r := programIn(t, tt.env, "", tt.args...)
			r.want(t, exitUsage, tt.want)
			if r.stdout != "" {
				t.Errorf("stdout: got %q, want nothing", r.stdout)
			}
		})
	}
}

// A secret comes from the environment or a file, and goes to the server only.
func TestConfig_SecretsAreNeverPrinted(t *testing.T) {
	const secret = "s3cr3t"
	for name, tt := range map[string]struct {
		file string
		env  []string
		args []string
		code int
		want string
	}{
		"of a server":                {env: []string{"NATS_URL=nats://shop:" + secret + "@a:1,nats://shop:" + secret + "@b:1"}, args: []string{"config", "show"}, want: "nats://***@a:1,nats://***@b:1"},
		"of a server, as JSON":       {env: []string{"NATS_URL=nats://shop:" + secret + "@a:1"}, args: []string{"config", "show", "-o", "json"}, want: `"nats://***@a:1"`},
		"a token without a scheme":   {env: []string{"NATS_URL=" + secret + "@a:1"}, args: []string{"config", "show"}, want: "***@a:1"},
		"of a gateway":               {file: "serve:\n  gateway: https://shop:" + secret + "@pay.example.com\n", args: []string{"config", "show"}, want: "https://***@pay.example.com"},
		"one with every sign":        {file: "serve: {gateway: 'https://shop:" + secret + ",:@/" + secret + "@pay.example.com'}\n", args: []string{"config", "show"}, want: "https://***@pay.example.com"},
		"of a list":                  {file: "check: {monitor: ['http://shop:" + secret + "@a:1', 'http://b:1']}\n", args: []string{"config", "show"}, want: "http://***@a:1,http://b:1"},
		"in the wrong place":         {file: "serve: {slots: 'https://shop:" + secret + "@pay.example.com'}\n", args: []string{"config", "show"}, code: exitUsage, want: `"https://***@pay.example.com": want a whole number`},
		"of a gateway that is none":  {env: []string{"WATERTIGHT_SERVE_GATEWAY=shop:" + secret + "@pay.example.com"}, args: []string{"serve", "payment"}, code: exitUsage, want: `--gateway "***@pay.example.com": want a base URL`},
		"of one with a query":        {env: []string{"WATERTIGHT_SERVE_GATEWAY=https://shop:" + secret + "@pay.example.com?a=b"}, args: []string{"serve", "payment"}, code: exitUsage, want: `--gateway "https://***@pay.example.com?a=b": want a base URL`},
		"of a monitor that is none":  {env: []string{"WATERTIGHT_CHECK_MONITOR=shop:" + secret + "@a:1"}, args: []string{"check"}, code: exitUsage, want: `--monitor "***@a:1": want a URL`},
		"of a server that is away":   {env: []string{"NATS_URL=nats://shop:" + secret + "@127.0.0.1:1"}, args: []string{"dlq", "ls"}, code: exitNoNATS, want: "connect to nats://127.0.0.1:1: no NATS server"},
		"of a server that checks":    {env: []string{"NATS_URL=nats://shop:" + secret + "@127.0.0.1:1"}, args: []string{"check", "--monitor", "http://shop:" + secret + "@127.0.0.1:1"}, code: exitNoNATS, want: "no NATS server"},
		"of a server that is served": {env: []string{"NATS_URL=nats://shop:" + secret + "@127.0.0.1:1"}, args: []string{"serve", "--sim", "-v"}, code: exitNoNATS, want: "no NATS server"},
		"a mail's sender is none":    {env: []string{"WATERTIGHT_SERVE_MAIL_FROM=sales@example.org"}, args: []string{"config", "show"}, want: "sales@example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.file != "" {
				tt.args = append(tt.args, "--config", settingsIn(t, tt.file))
			}
			r := programIn(t, tt.env, "", tt.args...)
			r.want(t, tt.code, tt.want)
			if all := r.stdout + r.stderr; strings.Contains(all, secret) {
				t.Errorf("the secret is printed:\n%s", all)
			}
		})
	}
}

// A monitor that isn't one is named in the findings, without its secret.
func TestConfig_SecretOfAMonitor(t *testing.T) {
	monitor := httptest.NewServer(http.NotFoundHandler())
	defer monitor.Close()
	where := strings.TrimPrefix(monitor.URL, "http://")
	r := programIn(t, []string{"WATERTIGHT_CHECK_MONITOR=http://shop:s3cr3t@" + where}, "", "check", "-s", "nats://127.0.0.1:1")
	r.want(t, exitNoNATS, "http://***@"+where+"/varz answers 404")
	if strings.Contains(r.stdout+r.stderr, "s3cr3t") {
		t.Errorf("the secret is printed:\n%s%s", r.stdout, r.stderr)
	}
}

// The table has a line a setting; without --sources it doesn't say where from.
func TestConfig_Show(t *testing.T) {
	file := settingsIn(t, "serve:\n  slots: 32\n  stock: \"a\\eb\"\n")
	r := program(t, "", "config", "show", "--sources", "--config", file)
	r.want(t, exitOK, "SETTING", "SOURCE", `a\u001bb`)
	lines := make(map[string][]string)
	for line := range strings.Lines(r.stdout) {
		if fields := strings.Fields(line); len(fields) > 0 {
			lines[fields[0]] = fields[1:]
		}
	}
	for key, want := range map[string][]string{
		"config":       {file, "flag", "--config"},
		"serve.slots":  {"32", "file", file + ":2"},
		"serve.port":   {"0", "default"},
		"timeout":      {"2s", "default"},
		"retry":        {"1s,10s,1m0s,10m0s", "default"},
		"serve.output": nil, // serve has no such flag
		"dlq.service":  nil, // said by hand
	} {
		if diff := cmp.Diff(want, lines[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	r = program(t, "", "config", "show", "--config", file)
	r.want(t, exitOK, "serve.slots")
	if strings.Contains(r.stdout, "default") || strings.Contains(r.stdout, "SOURCE") {
		t.Errorf("it says where values come from, and wasn't asked to:\n%s", r.stdout)
	}
}

// What is configured reaches the verbs, and each verb's its own.
func TestConfig_ReachesTheVerb(t *testing.T) {
	file := settingsIn(t, `
server: nats://127.0.0.1:1
check:
  output: json
serve:
  sim: true
  slots: 3
`)
	program(t, "", "check", "--config", file).want(t, exitNoNATS, `"result": "fail"`, "nats://127.0.0.1:1")
	program(t, "", "check", "--config", file, "-o", "table").want(t, exitNoNATS, "RESULT")
	program(t, "", "config", "show", "--config", file).want(t, exitOK, "SETTING") // no verb has another's form
	program(t, "", "provision", "--config", file).want(t, exitNoNATS, "connect to nats://127.0.0.1:1")
	program(t, "", "serve", "--config", file).want(t, exitNoNATS, "connect to nats://127.0.0.1:1")

	p := start(t, "serve", "--config", file, "-s", "", "--store", t.TempDir(), "--port", freePort(t), "--listen", "127.0.0.1:0")
	if e := p.await("serve.started"); e["slots"] != 3.0 || e["timeout_ms"] != 2000.0 {
		t.Errorf("got %v, want 3 slots, and the timeout's default, which is 2 s", e)
	}
}

// A demo has a server of its own, also where the environment names one.
func TestConfig_DemoIgnoresTheEnvironmentsServer(t *testing.T) {
	r := programIn(t, []string{"NATS_URL=nats://127.0.0.1:1"}, "", "demo", "--fault", "payment=none")
	r.want(t, exitUsage, "the demo needs a fault to show anything")
}

// Help, the version and a shell's completion work whatever the configuration says.
func TestConfig_HelpNeedsNone(t *testing.T) {
	broken := []string{"WATERTIGHT_CONFIG=nowhere.yaml"}
	for _, args := range [][]string{{}, {"--help"}, {"help", "serve"}, {"serve", "--help"}, {"version"}, {"completion", "bash"}, {"__complete", "serve", ""}} {
		programIn(t, broken, "", args...).want(t, exitOK)
	}
}
