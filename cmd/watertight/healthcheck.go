package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthConfig is what the flags of healthcheck say.
type healthConfig struct {
	url     string
	ready   bool
	timeout time.Duration
}

func newHealthcheck(a *app) *cobra.Command {
	var cfg healthConfig
	cmd := &cobra.Command{
		Use:   "healthcheck [URL]",
		Short: "Ask a process whether it lives, or whether it can work; for containers without a shell",
		Long: `Ask a process whether it lives (/livez), or with --ready whether it can work
(/readyz). The URL is by default http://` + defaultListen + `; one with a path of its
own is asked as it is.

A process that waits for its broker lives, and to restart it helps nobody; it
isn't ready. One with a service that has been flooded for --flooded-exit of serve
doesn't live. Exit code 0: yes; 1: no, or no answer.`,
		Example: `  watertight healthcheck
  watertight healthcheck --ready http://payment:8080
  watertight healthcheck http://127.0.0.1:8091/counts`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			address := "http://" + defaultListen
			if len(args) == 1 {
				address = args[0]
			}
			if err := cfg.complete(address); err != nil {
				return err
			}
			return a.healthcheck(cmd.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&cfg.ready, "ready", false, "ask whether it can work, not only whether it lives")
	cmd.Flags().DurationVar(&cfg.timeout, "timeout", probeTimeout, "how long the answer may take")
	return cmd
}

// complete says which page is asked.
func (c *healthConfig) complete(address string) error {
	page := "/livez"
	if c.ready {
		page = "/readyz"
	}
	u, err := pageOf(address, page)
	if err != nil {
		return usagef("healthcheck %q: want a URL such as http://%s", address, defaultListen)
	}
	if c.ready && !strings.HasSuffix(u, page) {
		return usagef("healthcheck %s: --ready asks %s, and the URL names another page: choose one", address, page)
	}
	if c.timeout <= 0 {
		return usagef("--timeout %v: must be positive", c.timeout)
	}
	c.url = u
	return nil
}

// pageOf is the URL of a page of the server at a base URL, which may name another
// page itself.
func pageOf(base, page string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", errors.New("not the URL of a server")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = page
	}
	return u.String(), nil
}

func (a *app) healthcheck(ctx context.Context, cfg healthConfig) error {
	code, body, err := fetch(ctx, cfg.url, cfg.timeout)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	if code != http.StatusOK {
		return fmt.Errorf("healthcheck %s: %d %s%s", cfg.url, code, http.StatusText(code), reasonsIn(body))
	}
	_, err = fmt.Fprintln(a.stdout, "ok")
	return err
}

// fetch asks for a page of a process: directly, whatever proxy the environment
// names, and only there. A redirection is an answer like any other.
func fetch(ctx context.Context, page string, timeout time.Duration) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", page, err)
	}
	return resp.StatusCode, body, nil
}

// reasonsIn is what a page of ours gives as reasons, and nothing for any other.
func reasonsIn(body []byte) string {
	var v healthView
	if json.Unmarshal(body, &v) != nil {
		return ""
	}
	reasons := make([]string, 0, len(v.Reasons))
	for name, reason := range v.Reasons {
		reasons = append(reasons, fmt.Sprintf("\n  %s: %s", name, printable(reason)))
	}
	slices.Sort(reasons)
	return strings.Join(reasons, "")
}
