// Command mutants shows that the tests of a package can fail: it breaks the
// package in one known way after another and expects go test to turn red.
//
//	go run ./internal/mutants              # every mutant of every package
//	go run ./internal/mutants -run credit  # those with that in their package and name
//
// No file of the checkout is touched: each mutant is compiled from an overlay
// in a temporary folder. The exit code is 1 if a mutant survives, if one can't
// be applied or compiled any more, or if the tests fail without one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// suite is a package whose tests are tried, and the ways to break what it is about.
type suite struct {
	pkg     string        // folder, from the module's root
	timeout time.Duration // longest run of its tests; a mutant that hangs has been noticed
	mutants []mutant
}

// mutant is one way to break a package. Each of its edits must match exactly
// once, so that one that no longer fits the code is noticed.
type mutant struct {
	name  string
	by    string // which tests are to notice, as go test -run takes it; empty: all
	edits []edit
}

// edit is of a file in the suite's package, or relative to it.
type edit struct{ file, old, new string }

// suites are all there are.
var suites = []suite{
	{"bulkhead", 40 * time.Second, bulkheadMutants},
	{"broker", time.Minute, brokerMutants},
	{"consumer", 2 * time.Minute, consumerMutants},
}

func main() {
	only := flag.String("run", "", "break only in ways whose package and name, as printed, contain this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	var wrong []error
	for _, s := range suites {
		s.mutants = slices.DeleteFunc(s.mutants, func(m mutant) bool { return !strings.Contains(s.pkg+": "+m.name, only) })
		if len(s.mutants) == 0 {
			continue
		}
		t := tester{root: root, pkg: s.pkg, timeout: s.timeout}
		if _, err := t.test(ctx, mutant{}); err != nil {
			return fmt.Errorf("test %s without a mutant: %w", s.pkg, err)
		}
		for _, m := range s.mutants {
			failed, err := t.test(ctx, m)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, errRed):
				fmt.Printf("killed    %s: %s: %s\n", s.pkg, m.name, failed)
			case err == nil:
				fmt.Printf("SURVIVED  %s: %s\n", s.pkg, m.name)
				wrong = append(wrong, fmt.Errorf("%s: %s: no test noticed", s.pkg, m.name))
			default:
				fmt.Printf("BROKEN    %s: %s: %v\n", s.pkg, m.name, err)
				wrong = append(wrong, fmt.Errorf("%s: %s: %w", s.pkg, m.name, err))
			}
		}
	}
	return errors.Join(wrong...)
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// tester runs the tests of a package.
type tester struct {
	root, pkg string
	timeout   time.Duration
}

// errRed means that a test failed, or that the tests hung.
var errRed = errors.New("tests failed")

// test runs the package's tests with a mutant in it. With errRed it returns
// which of them failed.
func (t tester) test(ctx context.Context, m mutant) (failed string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", fmt.Errorf("make an overlay: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := t.overlay(dir, m)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-timeout", t.timeout.String(), "-run", m.by,
		"-overlay", overlay, "./"+t.pkg)
	cmd.Dir = t.root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	switch err := cmd.Run(); {
	case err == nil:
		return "", nil
	case strings.Contains(out.String(), "[build failed]") || strings.Contains(out.String(), "[setup failed]"):
		return "", fmt.Errorf("build: %s", out.String())
	case strings.Contains(out.String(), "FAIL"):
		return culprits(out.String()), errRed
	default:
		return "", fmt.Errorf("run go test: %w: %s", err, out.String())
	}
}

// overlay writes the mutated files and the list of them for go test.
func (t tester) overlay(dir string, m mutant) (string, error) {
	replace := make(map[string]string)
	for i, e := range m.edits {
		path := filepath.Join(t.root, t.pkg, e.file)
		from := path
		if earlier, ok := replace[path]; ok {
			from = earlier
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", fmt.Errorf("read source: %w", err)
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return "", fmt.Errorf("edit %d of %s matches %d times, want once", i+1, e.file, n)
		}
		to := filepath.Join(dir, fmt.Sprint(i)+".go")
		if err := os.WriteFile(to, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600); err != nil {
			return "", fmt.Errorf("write mutant: %w", err)
		}
		replace[path] = to
	}
	list, err := json.Marshal(struct{ Replace map[string]string }{replace})
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, list, 0o600); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return name, nil
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	hanging = regexp.MustCompile(`(?m)^panic: test timed out[^\n]*\n\s+running tests:\n\s+(\w+)`)
	crashed = regexp.MustCompile(`(?m)^(panic|fatal error): ([^\n]*)`)
)

// culprits names what noticed, from go test's output.
func culprits(out string) string {
	if m := failure.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	if m := hanging.FindStringSubmatch(out); m != nil {
		return m[1] + " hung"
	}
	if m := crashed.FindStringSubmatch(out); m != nil {
		return m[0]
	}
	return "see go test"
}
