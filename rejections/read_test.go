package rejections_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/rejections"
)

func ids(all []rejections.Rejection) []string {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.OrderID)
	}
	return ids
}

func TestRead_BeginsAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		begin := time.Now()
		for i := range 5 {
			d.Note(full(fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		for name, tt := range map[string]struct {
			since time.Time
			want  []string
		}{
			"always":              {time.Time{}, []string{"0", "1", "2", "3", "4"}},
			"a time between":      {begin.Add(150 * time.Second), []string{"3", "4"}},
			"that very moment":    {begin.Add(3 * time.Minute), []string{"3", "4"}},
			"later than the last": {time.Now(), nil},
		} {
			if diff := cmp.Diff(tt.want, ids(d.all(tt.since))); diff != "" {
				t.Errorf("since %s: -want +got\n%s", name, diff)
			}
		}
		time.Sleep(24 * time.Hour)
		if got := ids(d.all(time.Time{})); got != nil {
			t.Errorf("a day later: got %q, want none", got)
		}
	})
}

// More than a page is read whole and in order, and what comes meanwhile isn't
// waited for.
func TestRead_YieldsAllThatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		const n = 1234
		for range n {
			d.Note(full("before"))
		}
		synctest.Wait()
		begin, got := time.Now(), 0
		for r, err := range d.Read(t.Context(), time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			if got++; r.OrderID != "before" {
				t.Fatalf("record %d came during the read: %+v", got, r)
			}
			d.Note(full("during"))
		}
		if took := time.Since(begin); got != n || took != 0 {
			t.Errorf("got %d records in %v, want %d at once", got, took, n)
		}
	})
}

func TestRead_EndsWithItsReader(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		for range 10 {
			d.Note(full("o-1"))
		}
		synctest.Wait()
		got := 0
		for _, err := range d.Read(t.Context(), time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			if got++; got == 3 {
				break
			}
		}
		if got != 3 {
			t.Errorf("got %d records, want 3", got)
		}
	})
}

// What others write to the subjects doesn't keep anybody from the rest.
func TestRead_TakesWhatOutsidersWrite(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		for _, body := range []string{"", "not JSON", `{"order_id":"o-1","at":"yesterday"}`, `{"where":"elsewhere","more":1}`, "\xff"} {
			if _, err := d.conn.Store(t.Context(), broker.Message{Subject: "rejections.moon.full", Data: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		want := rejections.Rejection{Where: "moon", Reason: rejections.Full, At: time.Now().UTC()}
		if diff := cmp.Diff([]rejections.Rejection{want, want, want, want, want}, d.all(time.Time{})); diff != "" {
			t.Errorf("records: -want +got\n%s", diff)
		}
	})
}

// What the stream forgets during a read isn't waited for.
func TestRead_EndsWhereTheStreamDoes(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		for range 2000 {
			d.Note(full("o-1"))
		}
		synctest.Wait()
		begin := time.Now()
		got, err := readThen(t.Context(), d, func() {
			s, err := d.conn.JetStream().Stream(t.Context(), broker.StreamRejections)
			if err == nil {
				err = s.Purge(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if took := time.Since(begin); err != nil || got == 0 || got == 2000 || took > 10*time.Second {
			t.Errorf("got %d records and %v in %v, want some and no error, soon", got, err, took)
		}
	})
}

// readThen reads all, and does something after the first record.
func readThen(ctx context.Context, d *desk, then func()) (got int, failed error) {
	for _, err := range d.Read(ctx, time.Time{}) {
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if got++; got == 1 {
			then()
		}
	}
	return got, failed
}

// A read that can't be whole says so, and soon.
func TestRead_FailsRatherThanSayingLess(t *testing.T) {
	for name, strike := range map[string]func(t *testing.T, s *brokertest.Server, d *desk, l *line, cancel func()){
		"it is canceled":       func(_ *testing.T, _ *brokertest.Server, _ *desk, _ *line, cancel func()) { cancel() },
		"the broker goes away": func(_ *testing.T, s *brokertest.Server, _ *desk, _ *line, _ func()) { s.Stop() },
		"the line is cut":      func(_ *testing.T, _ *brokertest.Server, _ *desk, l *line, _ func()) { l.cut.Store(true) },
		"records get lost": func(t *testing.T, _ *brokertest.Server, d *desk, _ *line, _ func()) {
			s, err := d.conn.JetStream().Stream(t.Context(), broker.StreamRejections)
			if err != nil {
				t.Fatal(err)
			}
			for name := range s.ConsumerNames(t.Context()).Name() {
				c, err := s.Consumer(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Next(); err != nil { // what goes here doesn't come there
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := brokertest.Start(t)
				l := &line{Server: s}
				conn := s.Connect(nats.InProcessServer(l))
				brokertest.Provision(t, conn, brokertest.Plan())
				d := open(t, conn)
				for range 2000 {
					d.Note(full("o-1"))
				}
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				begin := time.Now()
				got, err := readThen(ctx, d, func() { strike(t, s, d, l, cancel) })
				if took := time.Since(begin); err == nil || got == 0 || got == 2000 || took > 5*time.Second {
					t.Errorf("got %d records and %v after %v, want some and an error soon", got, err, took)
				}
			})
		})
	}
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		if err := d.conn.JetStream().DeleteStream(t.Context(), broker.StreamRejections); err != nil {
			t.Fatal(err)
		}
		if _, err := readThen(t.Context(), d, func() {}); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("without a stream: got %v, want ErrStreamNotFound", err)
		}
	})
}

// line is the way to a server, on which nothing arrives when it is cut.
type line struct {
	*brokertest.Server
	cut atomic.Bool
}

func (l *line) InProcessConn() (net.Conn, error) {
	c, err := l.Server.InProcessConn()
	return &end{c, l}, err
}

type end struct {
	net.Conn
	line *line
}

func (e *end) Write(p []byte) (int, error) {
	if e.line.cut.Load() {
		return len(p), nil
	}
	return e.Conn.Write(p)
}
