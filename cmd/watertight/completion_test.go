package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	for name, tt := range map[string]struct {
		words []string
		want  string
	}{
		"services":              {[]string{"serve", ""}, "payment inventory notification :4"},
		"those not named yet":   {[]string{"serve", "payment", ""}, "inventory notification :4"},
		"one service":           {[]string{"pause", ""}, "payment inventory notification :4"},
		"no second one":         {[]string{"pause", "payment", ""}, ":4"},
		"of an audit":           {[]string{"audit", "payment", "notification", ""}, "inventory :4"},
		"of dead letters":       {[]string{"dlq", "ls", "--service", ""}, "payment inventory notification :4"},
		"of waiting retries":    {[]string{"retry", "ls", "--service", ""}, "payment inventory notification :4"},
		"whose retries":         {[]string{"retry", "now", ""}, "payment inventory notification :4"},
		"no number of a retry":  {[]string{"retry", "cancel", "payment", ""}, ":4"},
		"reasons":               {[]string{"dlq", "replay", "--reason", ""}, "invalid schema rejected exhausted expired poison canceled :4"},
		"targets":               {[]string{"sim", "--fault", ""}, "payment= mail= inventory= :6"},
		"profiles":              {[]string{"load", "--profile", ""}, "ramp sale spike steady :4"},
		"properties":            {[]string{"rejections", "--by", ""}, "service where reason minute :4"},
		"forms":                 {[]string{"dlq", "ls", "-o", ""}, "table json ndjson :4"},
		"forms of another verb": {[]string{"check", "-o", ""}, "table json :4"},
		"files of orders":       {[]string{"publish", ""}, ":0"},
		"files of settings":     {[]string{"dlq", "--config", ""}, "yaml yml :8"},
		"folders":               {[]string{"serve", "--store", ""}, ":16"},
		"nothing":               {[]string{"version", ""}, ":4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := program(t, "", append([]string{"__completeNoDesc"}, tt.words...)...)
			r.want(t, exitOK)
			if got := strings.Join(strings.Fields(r.stdout), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Each shell reads its script, and bash completes by it.
func TestCompletion_Scripts(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}} {
		t.Run(shell, func(t *testing.T) {
			r := program(t, "", "completion", shell)
			r.want(t, exitOK, "watertight")
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("there is no %s here to read the script", shell)
			}
			cmd := exec.CommandContext(t.Context(), path, check...)
			cmd.Stdin = strings.NewReader(r.stdout)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here to complete by the script")
	}
	dir := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "watertight")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bash, "-c", `
_get_comp_words_by_ref() { cur=pay prev=serve words=(watertight serve pay) cword=2; } # bash-completion's
compopt() { :; } # nobody pressed Tab
source <(watertight completion bash)
COMP_WORDS=(watertight serve pay) COMP_CWORD=2 COMP_LINE="watertight serve pay" COMP_POINT=20 COMP_TYPE=9
__start_watertight watertight pay serve
echo "${COMPREPLY[@]}"`)
	cmd.Env = append(command(t.Context()).Env, "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "payment" {
		t.Errorf("got %q, %v, want payment", got, err)
	}
}
