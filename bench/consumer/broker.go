package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
)

// storeVariable makes this program a broker with its store in that folder, and
// nothing else: what is measured here must not share a process with it.
const storeVariable = "WATERTIGHT_BENCH_STORE"

// serveBroker says where the broker listens and runs it until stdin ends.
func serveBroker(store string) error {
	s, err := embedded.Start(embedded.Config{Store: store})
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, however that ends
	return s.Close()
}

// server is a broker in a process of its own.
type server struct {
	url   string
	store string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startServer(ctx context.Context) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{}
	if s.store, err = os.MkdirTemp("", "watertight-bench"); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, self)
	s.cmd.Env = append(os.Environ(), storeVariable+"="+s.store)
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the broker didn't start: %w", err), s.close())
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

func (s *server) close() error {
	return errors.Join(s.stdin.Close(), s.cmd.Wait(), os.RemoveAll(s.store))
}

func (s *server) connect(ctx context.Context) (*broker.Conn, error) {
	return broker.Connect(ctx, broker.Config{Name: "bench", URL: s.url})
}

// cpuTime is what the broker's process has used so far, in its threads: fields 14
// and 15 of /proc/<pid>/stat, in hundredths of a second.
func (s *server) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of the broker: %q", text)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
