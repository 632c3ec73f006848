package rejections_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// room is how many records may wait to be stored.
const room = 4096

func full(id string) rejections.Rejection {
	return rejections.Rejection{Service: order.Payment, Where: rejections.Bulkhead, Reason: rejections.Full, OrderID: id}
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// desk is a log at work and all that it says.
type desk struct {
	*rejections.Log
	t    *testing.T
	conn *broker.Conn
	reg  *prometheus.Registry
	said *lines
	stop func() // waits until Run has returned
}

func open(t *testing.T, conn *broker.Conn) *desk {
	t.Helper()
	d := &desk{t: t, conn: conn, reg: prometheus.NewPedanticRegistry(), said: &lines{}}
	d.Log = rejections.New(conn, rejections.Config{
		Log: zerolog.New(d.said), Metrics: rejections.NewMetrics(d.reg), Instance: "shop-1/7",
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

// all reads the records.
func (d *desk) all(since time.Time) []rejections.Rejection {
	d.t.Helper()
	var all []rejections.Rejection
	for r, err := range d.Read(context.Background(), since) {
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// metrics fails the test unless a family reads like this.
func (d *desk) metrics(family, want string) {
	d.t.Helper()
	if err := testutil.GatherAndCompare(d.reg, strings.NewReader(want), family); err != nil {
		d.t.Error(err)
	}
}

const (
	rejectedHead = "# HELP watertight_rejected_total Work that was turned away, recorded or not.\n# TYPE watertight_rejected_total counter\n"
	droppedHead  = "# HELP watertight_rejections_dropped_total Rejections that are not on record, as they could not be stored in time.\n# TYPE watertight_rejections_dropped_total counter\nwatertight_rejections_dropped_total "
)

func bubble(t *testing.T, f func(t *testing.T, s *brokertest.Server, d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		conn := s.Connect()
		brokertest.Provision(t, conn, brokertest.Plan())
		f(t, s, open(t, conn))
	})
}

func TestLog_ARejectionIsARecordACounterAndAnEvent(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		r := rejections.Rejection{
			Service: order.Payment, Where: rejections.Consumer, Reason: rejections.Deadline, OrderID: "o-1", Detail: "the order's deadline has passed",
		}
		d.Note(r)
		synctest.Wait()
		r.At, r.Instance = time.Now().UTC(), "shop-1/7"
		if diff := cmp.Diff([]rejections.Rejection{r}, d.all(time.Time{})); diff != "" {
			t.Errorf("records: -want +got\n%s", diff)
		}
		d.metrics("watertight_rejected_total", rejectedHead+`watertight_rejected_total{reason="deadline",service="payment",where="consumer"} 1`+"\n")
		d.metrics("watertight_rejections_dropped_total", droppedHead+"0\n")
		const event = `{"level":"info","event":"consumer.rejected","service":"payment","reason":"deadline","order_id":"o-1","message":"the order's deadline has passed"}`
		if d.said.count(event) != 1 {
			t.Errorf("log: got %s, want %s", &d.said.buf, event)
		}
		if problems, err := testutil.GatherAndLint(d.reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

func TestLog_KeepsABriefDetail(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		r := full("o-1")
		r.Detail = strings.Repeat("é", 200)
		d.Note(r)
		synctest.Wait()
		if got, want := d.all(time.Time{})[0].Detail, strings.Repeat("é", 98)+"…"; got != want {
			t.Errorf("detail: got %q, want %q", got, want)
		}
	})
}

func TestLog_SaysFiveASecondAndCountsAll(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		for range 3 {
			for range 100 {
				d.Note(full("o-1"))
			}
			time.Sleep(2 * time.Second)
		}
		if got := d.said.count("bulkhead.rejected"); got != 15 {
			t.Errorf("events: got %d, want 15", got)
		}
		d.metrics("watertight_rejected_total", rejectedHead+`watertight_rejected_total{reason="full",service="payment",where="bulkhead"} 300`+"\n")
		if got := len(d.all(time.Time{})); got != 300 {
			t.Errorf("records: got %d, want 300", got)
		}
	})
}

// Whatever is wrong with the broker, Note takes no time, and what doesn't fit is
// counted and said.
func TestLog_NeverWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		strike func(*brokertest.Server, *broker.Conn)
		stored int // of those that are noted afterwards
	}{
		"nothing is wrong": {func(*brokertest.Server, *broker.Conn) {}, room},
		"the stream is gone": {func(_ *brokertest.Server, c *broker.Conn) {
			_ = c.JetStream().DeleteStream(context.Background(), broker.StreamRejections)
		}, 0},
		"the broker is away":   {func(s *brokertest.Server, _ *broker.Conn) { s.Stop() }, 0},
		"the connection ended": {func(_ *brokertest.Server, c *broker.Conn) { c.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := brokertest.Start(t)
				conn := s.Connect()
				brokertest.Provision(t, conn, brokertest.Plan())
				d := &desk{t: t, reg: prometheus.NewPedanticRegistry(), said: &lines{}}
				d.Log = rejections.New(conn, rejections.Config{Log: zerolog.New(d.said), Metrics: rejections.NewMetrics(d.reg)})
				tt.strike(s, conn)
				begin := time.Now()
				for range room + 100 {
					d.Note(full("o-1"))
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("Note took %v, want no time", took)
				}
				d.metrics("watertight_rejections_dropped_total", droppedHead+"100\n")
				if got := d.said.count("rejections.dropped"); got != 1 {
					t.Errorf("events of dropped records: got %d, want 1", got)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				begin = time.Now()
				if err := d.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(begin); took > 3*time.Second {
					t.Errorf("Run went on for %v after it was told to end, want 2 s at most and a little", took)
				}
				if err := testutil.GatherAndCompare(d.reg, strings.NewReader(droppedHead+map[int]string{0: "4196", room: "100"}[tt.stored]+"\n"), "watertight_rejections_dropped_total"); err != nil {
					t.Error(err)
				}
				if tt.stored > 0 {
					if got := len(d.all(time.Time{})); got != tt.stored {
						t.Errorf("records: got %d, want %d", got, tt.stored)
					}
				}
			})
		})
	}
}

// What was noted until the end is stored, however late that was.
func TestLog_StoresWhatWaitsWhenItIsToldToEnd(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		for range 1000 {
			d.Note(full("o-1"))
		}
		d.stop()
		if got := len(d.all(time.Time{})); got != 1000 {
			t.Errorf("records: got %d, want 1000", got)
		}
		d.metrics("watertight_rejections_dropped_total", droppedHead+"0\n")
	})
}

// When the broker is back, what is noted is stored again.
func TestLog_GoesOnAfterTrouble(t *testing.T) {
	bubble(t, func(t *testing.T, s *brokertest.Server, d *desk) {
		s.Stop()
		d.Note(full("lost"))
		time.Sleep(time.Minute)
		s.Restart()
		time.Sleep(10 * time.Second)
		d.Note(full("kept"))
		synctest.Wait()
		all := d.all(time.Now())
		if len(all) != 1 || all[0].OrderID != "kept" {
			t.Errorf("records since it is back: got %+v, want one", all)
		}
	})
}

func TestLog_TheZeroConfigWorksAndNoLogToo(t *testing.T) {
	bubble(t, func(t *testing.T, _ *brokertest.Server, d *desk) {
		plain := rejections.New(d.conn, rejections.Config{})
		plain.Note(full("o-1"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := plain.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := len(d.all(time.Time{})); got != 1 {
			t.Errorf("records: got %d, want 1", got)
		}
		var none *rejections.Log
		none.Note(full("o-1"))
	})
}

func BenchmarkLog_Note(b *testing.B) {
	d := rejections.New(nil, rejections.Config{Log: zerolog.New(&lines{})})
	b.ReportAllocs()
	for b.Loop() {
		d.Note(full("o-1"))
	}
}
