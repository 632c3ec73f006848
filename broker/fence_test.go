package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// readAll returns what is stored after last.
func readAll(t *testing.T, c *broker.Conn, last uint64) []broker.Stored {
	t.Helper()
	var all []broker.Stored
	for m, err := range c.ReadAfter(t.Context(), broker.StreamStock, broker.StockSubject(0), last) {
		if err != nil {
			t.Fatalf("ReadAfter(%d): %v", last, err)
		}
		all = append(all, m)
	}
	return all
}

func TestStoreAfter_TakesOneAfterEach(t *testing.T) {
	c := brokertest.New(t)
	subject := broker.StockSubject(0)
	for i, step := range []struct {
		data string
		last uint64
		want uint64 // 0: a conflict
	}{
		{"first", 0, 1},
		{"first", 0, 0}, // the same again: no more than another's
		{"other", 0, 0},
		{"second", 1, 2},
		{"second", 1, 0},
		{"ahead", 5, 0},
		{"third", 2, 3},
	} {
		seq, err := c.StoreAfter(t.Context(), subject, []byte(step.data), step.last)
		switch {
		case step.want == 0 && !errors.Is(err, broker.ErrConflict):
			t.Errorf("step %d: got %d, %v, want ErrConflict", i, seq, err)
		case step.want > 0 && (err != nil || seq != step.want):
			t.Errorf("step %d: got %d, %v, want %d", i, seq, err, step.want)
		}
	}
	got := map[uint64]string{}
	for _, m := range readAll(t, c, 0) {
		got[m.Seq] = string(m.Data)
	}
	if diff := cmp.Diff(map[uint64]string{1: "first", 2: "second", 3: "third"}, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestStoreAfter_MindsOnlyItsSubject(t *testing.T) {
	c := brokertest.New(t)
	for i := range 3 {
		last, err := c.LastSeq(t.Context(), broker.StreamStock, broker.StockSubject(0))
		if err != nil || last != uint64(max(0, 2*i-1)) {
			t.Fatalf("LastSeq: got %d, %v, want %d", last, err, max(0, 2*i-1))
		}
		if _, err := c.StoreAfter(t.Context(), broker.StockSubject(0), []byte("0"), last); err != nil {
			t.Fatal(err)
		}
		if _, err := c.StoreAfter(t.Context(), broker.StockSubject(1), []byte("1"), uint64(2*i)); err != nil {
			t.Fatal(err)
		}
	}
	var seqs []uint64
	for _, m := range readAll(t, c, 1) {
		seqs = append(seqs, m.Seq)
	}
	if want := []uint64{3, 5}; !slices.Equal(seqs, want) {
		t.Errorf("read after 1: got %v, want %v", seqs, want)
	}
}

func TestStoreAfter_OneOfManyWins(t *testing.T) {
	const writers, rounds = 8, 50
	s := brokertest.Start(t)
	brokertest.Provision(t, s.Connect(), brokertest.Plan())
	wins := make([]int, rounds)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		c := s.Connect()
		wg.Go(func() {
			for round := range rounds {
				_, err := c.StoreAfter(t.Context(), broker.StockSubject(0), fmt.Appendf(nil, "%d by %d", round, w), uint64(round))
				switch {
				case err == nil:
					mu.Lock()
					wins[round]++
					mu.Unlock()
				case !errors.Is(err, broker.ErrConflict):
					t.Errorf("round %d: %v", round, err)
				}
				for last := uint64(0); last <= uint64(round); { // until somebody has stored it
					if last, err = c.LastSeq(t.Context(), broker.StreamStock, broker.StockSubject(0)); err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for round, n := range wins {
		if n != 1 {
			t.Errorf("round %d: %d writers were told that they stored, want 1", round, n)
		}
	}
}

func TestStoreAfter_SaysWhyNot(t *testing.T) {
	t.Run("no stream", func(t *testing.T) {
		c := brokertest.Start(t).Connect()
		if _, err := c.StoreAfter(t.Context(), broker.StockSubject(0), nil, 0); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("StoreAfter: got %v, want ErrNotStored", err)
		}
		if _, err := c.LastSeq(t.Context(), broker.StreamStock, broker.StockSubject(0)); err == nil {
			t.Error("LastSeq: no error")
		}
		for _, err := range c.ReadAfter(t.Context(), broker.StreamStock, broker.StockSubject(0), 0) {
			if err == nil {
				t.Error("ReadAfter: no error")
			}
		}
	})
	t.Run("a full stream", func(t *testing.T) {
		c := brokertest.Start(t).Connect()
		plan := brokertest.Plan()
		plan.OrderBytes = 1 << 20
		brokertest.Provision(t, c, plan)
		_, err := c.StoreAfter(t.Context(), broker.StockSubject(0), make([]byte, 1100<<10), 0)
		if !errors.Is(err, broker.ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
	})
	t.Run("a caller who leaves", func(t *testing.T) {
		c := brokertest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.StoreAfter(ctx, broker.StockSubject(0), nil, 0); !errors.Is(err, broker.ErrNotStored) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want ErrNotStored and that it was cancelled", err)
		}
	})
}

// More than a round holds, by number and by bytes.
func TestReadAfter_ReadsOnInRounds(t *testing.T) {
	for name, tt := range map[string]struct{ messages, bytes int }{
		"many":  {12_000, 10},
		"large": {100, 100 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := brokertest.New(t)
			data := []byte(strings.Repeat("x", tt.bytes))
			for i := range tt.messages {
				if _, err := c.StoreAfter(t.Context(), broker.StockSubject(0), data, uint64(i)); err != nil {
					t.Fatal(err)
				}
			}
			all := readAll(t, c, 0)
			for i, m := range all {
				if m.Seq != uint64(i+1) || len(m.Data) != tt.bytes {
					t.Fatalf("message %d: got %d bytes at %d", i, len(m.Data), m.Seq)
				}
			}
			if len(all) != tt.messages {
				t.Errorf("got %d messages, want %d", len(all), tt.messages)
			}
			if rest := readAll(t, c, uint64(tt.messages)); len(rest) != 0 {
				t.Errorf("after the last: got %d messages", len(rest))
			}
			for _, err := range c.ReadAfter(t.Context(), broker.StreamStock, broker.StockSubject(0), 0) {
				if err != nil {
					t.Error(err)
				}
				break // and nothing is yielded after that, or the loop panics
			}
		})
	}
}

// A broker that speaks but whose words don't all arrive.
func TestReadAfter_NoticesWhatIsMissing(t *testing.T) {
	message := func(seq, before string) nats.Header {
		return nats.Header{"Nats-Sequence": {"9", seq}, "Nats-Last-Sequence": {before}, "Nats-Time-Stamp": {"2026-11-27T20:15:00Z"}} // the broker's is the last
	}
	end := func(last, pending string) nats.Header {
		return nats.Header{"Status": {"204"}, "Nats-Last-Sequence": {last}, "Nats-Num-Pending": {pending}}
	}
	for name, tt := range map[string]struct {
		answers []nats.Header
		want    []uint64
		err     string
	}{
		"nothing is":           {[]nats.Header{message("3", "0"), message("4", "3"), end("4", "0")}, []uint64{3, 4}, ""},
		"the first":            {[]nats.Header{message("4", "3"), end("4", "0")}, nil, "lost"},
		"one between":          {[]nats.Header{message("3", "0"), message("5", "4"), end("5", "0")}, []uint64{3}, "lost"},
		"the last":             {[]nats.Header{message("3", "0"), end("4", "0")}, []uint64{3}, "lost"},
		"all of them":          {[]nats.Header{end("4", "0")}, nil, "lost"},
		"the end":              {[]nats.Header{message("3", "0")}, []uint64{3}, "deadline"},
		"what we have to say":  {[]nats.Header{{"Status": {"408"}, "Description": {"Bad Request"}}}, nil, "408 Bad Request"},
		"the way to the words": {[]nats.Header{{"Status": {"503"}}}, nil, "no responders"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := brokertest.Start(t)
			c, fake := s.Connect(), s.Connect().NATS()
			if _, err := fake.Subscribe("$JS.API.DIRECT.GET.FAKE", func(m *nats.Msg) {
				for _, h := range tt.answers {
					if err := fake.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h}); err != nil {
						t.Error(err)
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			if err := fake.Flush(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var got []uint64
			var failed error
			for m, err := range c.ReadAfter(ctx, "FAKE", "fake", 2) {
				if failed = err; err == nil {
					got = append(got, m.Seq)
				}
			}
			if !slices.Equal(got, tt.want) || (failed == nil) != (tt.err == "") || (failed != nil && !strings.Contains(failed.Error(), tt.err)) {
				t.Errorf("got %v, %v, want %v and %q", got, failed, tt.want, tt.err)
			}
		})
	}
}
