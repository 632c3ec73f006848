// Command consumer measures package consumer beside the bare library and beside
// another one, on a broker in a process of its own, and prints tables.
//
//	go run ./consumer                            # about four minutes
//	go run ./consumer -rounds 1 -only throughput # a glance
//
// Ratios are taken between measurements of the same round, and their median is shown.
// CPU time is what an order costs the machine, whoever else uses it: here by getrusage,
// of the broker by /proc. The exit code is 1 if an aim is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

func main() {
	if store := os.Getenv(storeVariable); store != "" {
		if err := serveBroker(store); err != nil {
			fmt.Fprintln(os.Stderr, "broker:", err)
			os.Exit(1)
		}
		return
	}
	rounds := flag.Int("rounds", 5, "measurements of each contestant")
	n := flag.Int("orders", 50_000, "orders of one measurement of throughput")
	only := flag.String("only", "", "answer questions whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	met, err := run(ctx, *rounds, *n, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !met {
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// question is one that is measured.
type question struct {
	name string
	ask  func(ctx context.Context, b *bench, t *table, rounds, n int) error
}

var questions = []question{
	{"throughput", throughput},
	{"10 ms handlers", slowHandlers},
	{"fan-out", fanOut},
	{"failures", failures},
	{"retries", retries},
	{"latency", latency},
}

func run(ctx context.Context, rounds, n int, only string) (met bool, err error) {
	s, err := startServer(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	conn, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := provision(ctx, conn, 0, time.Minute); err != nil {
		return false, err
	}
	fmt.Printf("%s, nats-server in a process of its own, %d CPUs, %s/%s, median of %d rounds\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, rounds)
	t := &table{w: os.Stdout}
	b := &bench{server: s, conn: conn}
	for _, q := range questions {
		if !strings.Contains(q.name, only) {
			continue
		}
		if err := q.ask(ctx, b, t, rounds, n); err != nil {
			return false, fmt.Errorf("%s: %w", q.name, err)
		}
	}
	return t.end(), nil
}
