package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
	"github.com/watertight-go/watertight/order"
)

// The test program runs itself as another process, which runs a server on this
// folder until it is killed.
const holdEnv = "WATERTIGHT_TEST_HOLD"

func TestMain(m *testing.M) {
	if store := os.Getenv(holdEnv); store != "" {
		hold(store)
		return
	}
	os.Exit(m.Run())
}

const stored = 50

func hold(store string) {
	s, err := embedded.Start(embedded.Config{Store: store, Port: -1})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	b, err := broker.Connect(context.Background(), broker.Config{Options: []nats.Option{s.InProcess()}})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	if err := fill(b, "child"); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	fmt.Fprintln(os.Stdout, "stored")
	time.Sleep(time.Minute) // killed long before
}

// fill stores orders.
func fill(b *broker.Conn, who string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := b.Provision(ctx, plan, false); err != nil {
		return err
	}
	for i := range stored {
		if _, err := b.Store(ctx, broker.Message{Subject: broker.SubjectCreated, ID: fmt.Sprint(who, i)}); err != nil {
			return err
		}
	}
	return nil
}

var plan = broker.Plan{
	OrderBytes: 1 << 20,
	Services:   []broker.Service{{Name: order.Payment, AckWait: time.Minute, FromStart: true}},
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func connect(t *testing.T, cfg broker.Config) *broker.Conn {
	t.Helper()
	b, err := broker.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func inProcess(s *embedded.Server) broker.Config {
	return broker.Config{Options: []nats.Option{s.InProcess()}}
}

func orders(t *testing.T, b *broker.Conn) uint64 {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestStart_IsReadyAndReachable(t *testing.T) {
	store := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := start(t, embedded.Config{Store: store})
	for name, cfg := range map[string]broker.Config{"over the network": {URL: s.URL()}, "in the process": inProcess(s)} {
		t.Run(name, func(t *testing.T) {
			b := connect(t, cfg)
			if got := b.NATS().ConnectedServerName(); got != "watertight-embedded" {
				t.Errorf("connected to %q, which is another server", got)
			}
			if _, err := b.Provision(t.Context(), plan, false); err != nil {
				t.Error(err)
			}
		})
	}
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Errorf("URL = %s, want one of 127.0.0.1 alone", s.URL())
	}
	info, err := os.Stat(store)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the store has mode %o, want 700: orders are private", got)
	}
}

func TestStart_WithoutAListener(t *testing.T) {
	s := start(t, embedded.Config{Store: t.TempDir(), Port: -1})
	if got := s.URL(); got != "" {
		t.Errorf("URL = %q, want none", got)
	}
	connect(t, inProcess(s))
}

func TestStart_TakesTheDefaultPortOrAnother(t *testing.T) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", embedded.DefaultPort)) //nolint:noctx // a listener on loopback
	if err == nil {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	free := err == nil
	first := start(t, embedded.Config{Store: t.TempDir()})
	if got := strings.HasSuffix(first.URL(), fmt.Sprintf(":%d", embedded.DefaultPort)); got != free {
		t.Logf("the default port was free: %v, and the server is at %s; another program may have been faster", free, first.URL())
	}
	second := start(t, embedded.Config{Store: t.TempDir()})
	if first.URL() == second.URL() {
		t.Errorf("two servers at %s", first.URL())
	}
	connect(t, broker.Config{URL: second.URL()})
}

func TestStart_RefusesAStoreThatIsInUse(t *testing.T) {
	store := t.TempDir()
	s := start(t, embedded.Config{Store: store, Port: -1})
	_, err := embedded.Start(embedded.Config{Store: store, Port: -1})
	if !errors.Is(err, embedded.ErrLocked) {
		t.Fatalf("a second Start = %v, want %v", err, embedded.ErrLocked)
	}
	for _, want := range []string{store, "stop it", "--store"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Start = %q, want it to say %q", err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.Config{Store: store, Port: -1})
}

// A failed start doesn't keep the store.
func TestStart_ThatFailsUnlocksTheStore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listener on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	store := t.TempDir()
	if _, err := embedded.Start(embedded.Config{Store: store, Port: l.Addr().(*net.TCPAddr).Port}); err == nil {
		t.Fatal("Start on a taken port = nil")
	}
	start(t, embedded.Config{Store: store, Port: -1})
}

func TestStart_KeepsWhatWasAcked(t *testing.T) {
	store := t.TempDir()
	for n := uint64(1); n <= 3; n++ {
		s := start(t, embedded.Config{Store: store, Port: -1, SyncAlways: n == 2})
		b := connect(t, inProcess(s))
		if err := fill(b, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		if got := orders(t, b); got != n*stored {
			t.Errorf("run %d: %d orders, want %d", n, got, n*stored)
		}
		b.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A killed process leaves no lock and loses nothing that was acked.
func TestStart_AfterAnotherProcessWasKilled(t *testing.T) {
	store := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe)
	child.Env = append(os.Environ(), holdEnv+"="+store)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "stored" {
		t.Fatalf("the other process said %q, want \"stored\"", lines.Text())
	}
	if _, err := embedded.Start(embedded.Config{Store: store, Port: -1}); !errors.Is(err, embedded.ErrLocked) {
		t.Errorf("Start beside another process = %v, want %v", err, embedded.ErrLocked)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if got := orders(t, connect(t, inProcess(start(t, embedded.Config{Store: store, Port: -1})))); got != stored {
		t.Errorf("%d orders after the kill, want %d", got, stored)
	}
}

func TestStart_SaysWhatIsWrongWithTheStore(t *testing.T) {
	// write makes a file where a folder belongs, or the reverse.
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		store func(t *testing.T) string
		want  string
	}{
		"none": {func(*testing.T) string { return "" }, "no store folder given"},
		"a file": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path)
			return path
		}, "not a directory"},
		"the lock is a folder": {func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "watertight.lock"), 0o700); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "watertight.lock"},
		"a file where the server keeps its data": {func(t *testing.T) string {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "jetstream"))
			return dir
		}, "storage directory is not a directory"},
		"one that can't be written": {func(t *testing.T) string {
			if os.Geteuid() == 0 {
				t.Skip("root writes anywhere")
			}
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o500); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := embedded.Start(embedded.Config{Store: tc.store(t), Port: -1})
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "start embedded NATS") {
				t.Errorf("Start = %v, want an error that says %q", err, tc.want)
			}
		})
	}
}

// The server leaves out what it can't read, and goes on. A shop would begin
// anew without its orders, and nobody would know.
func TestStart_RefusesAStreamThatCanNotBeRead(t *testing.T) {
	store := t.TempDir()
	s := start(t, embedded.Config{Store: store, Port: -1})
	b := connect(t, inProcess(s))
	if err := fill(b, "x"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(store, "jetstream", "$G", "streams", "ORDERS", "meta.inf")
	good, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = embedded.Start(embedded.Config{Store: store, Port: -1})
	if err == nil {
		_ = s.Close()
		t.Fatal("Start on a store with a damaged stream = nil")
	}
	for _, want := range []string{"$G/ORDERS", "move"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Start = %q, want it to say %q", err, want)
		}
	}
	// Mended, all is there.
	if err := os.WriteFile(meta, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := orders(t, connect(t, inProcess(start(t, embedded.Config{Store: store, Port: -1})))); got != stored {
		t.Errorf("%d orders, want %d", got, stored)
	}
}

func TestDefaultStore(t *testing.T) {
	for _, tc := range []struct{ xdg, home, want string }{
		{"/data", "/home/anna", "/data/watertight"},
		{"", "/home/anna", "/home/anna/.local/share/watertight"},
		{"relative", "/home/anna", "/home/anna/.local/share/watertight"},
	} {
		t.Setenv("XDG_DATA_HOME", tc.xdg)
		t.Setenv("HOME", tc.home)
		if got, err := embedded.DefaultStore(); got != tc.want || err != nil {
			t.Errorf("DefaultStore with %+v = %q, %v, want %q", tc, got, err, tc.want)
		}
	}
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "")
	if got, err := embedded.DefaultStore(); err == nil || !strings.Contains(err.Error(), "--store") {
		t.Errorf("DefaultStore without a home = %q, %v, want an error that names --store", got, err)
	}
}
