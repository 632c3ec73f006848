package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering is a process that answers about itself.
func answering(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"payment": "flooded\x1b[2J", "broker": "connection to NATS is reconnecting"})
	})
	mux.HandleFunc("/counts", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/livez", http.StatusFound) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHealthcheck(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // of no concern
	url := answering(t)
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"it lives":                         {[]string{url}, exitOK, "ok"},
		"it lives, said with a slash":      {[]string{url + "/"}, exitOK, "ok"},
		"it isn't ready, and says why":     {[]string{"--ready", url}, exitFailure, "503 Service Unavailable\n  broker: connection to NATS is reconnecting\n  payment: flooded\\u001b[2J"},
		"a page of its own":                {[]string{url + "/counts"}, exitOK, "ok"},
		"a page that isn't there":          {[]string{url + "/nowhere"}, exitFailure, "404 Not Found"},
		"an answer that is somewhere else": {[]string{url + "/moved"}, exitFailure, "302 Found"},
		"no answer in time":                {[]string{url + "/hangs", "--timeout", "100ms"}, exitFailure, "deadline exceeded"},
		"nobody":                           {[]string{"http://127.0.0.1:1"}, exitFailure, "connection refused"},
		"no URL":                           {[]string{"127.0.0.1:8080"}, exitUsage, `healthcheck "127.0.0.1:8080": want a URL such as http://127.0.0.1:8080`},
		"two pages":                        {[]string{"--ready", url + "/livez"}, exitUsage, "--ready asks /readyz, and the URL names another page: choose one"},
		"no time":                          {[]string{"--timeout", "0s"}, exitUsage, "--timeout 0s: must be positive"},
		"two URLs":                         {[]string{url, url}, exitUsage, "accepts at most 1 arg(s), received 2"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := program(t, "", append([]string{"healthcheck"}, tt.args...)...)
			r.want(t, tt.code, tt.want)
			if (r.stdout == "ok\n") != (tt.code == exitOK) || (tt.code != exitOK && r.stdout != "") {
				t.Errorf("stdout: got %q", r.stdout)
			}
			if strings.Contains(name, "in time") && time.Since(began) > patience/2 {
				t.Errorf("took %v", time.Since(began))
			}
		})
	}
}
