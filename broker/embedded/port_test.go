package embedded_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/watertight-go/watertight/broker/embedded"
)

// Two processes that start at once may both find the default port free. One gets
// it; the other gets another, and doesn't wait for what never comes.
func TestStart_ManyAtOnceShareNoPort(t *testing.T) {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		urls = make(map[string]bool)
	)
	for range 4 {
		store := t.TempDir()
		all.Go(func() {
			s, err := embedded.Start(embedded.Config{Store: store})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			urls[s.URL()] = true
		})
	}
	all.Wait()
	if len(urls) != 4 {
		t.Errorf("got the addresses %v, want four", urls)
	}
}

func TestStart_SaysThatThePortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listener on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = embedded.Start(embedded.Config{Store: t.TempDir(), Port: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want an error that says the address is in use", err)
	}
}
