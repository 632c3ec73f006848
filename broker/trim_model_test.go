package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// TestLowest_TakesOnlyWhatAllHaveSettled gives durables any set of settled
// messages.
func TestLowest_TakesOnlyWhatAllHaveSettled(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const last = 40
		settled := rapid.SliceOfN(rapid.SliceOfN(rapid.Bool(), last, last), 0, 5).Draw(rt, "settled")
		want := rapid.Uint64Range(1, last+1).Draw(rt, "want")
		var floors []broker.Floor
		for i, s := range settled {
			next := slices.Index(s, false) + 1
			if next == 0 {
				next = last + 1
			}
			floors = append(floors, broker.Floor{Durable: fmt.Sprint(i), Next: uint64(next)})
		}
		to, heldBy := broker.Lowest(want, floors)
		for i, s := range settled {
			if at := slices.Index(s[:to-1], false); at >= 0 {
				rt.Fatalf("purges before %d, and durable %d has yet to settle %d", to, i, at+1)
			}
		}
		if to > want {
			rt.Fatalf("purges before %d, wanted %d", to, want)
		}
		if to == want && heldBy != "" {
			rt.Fatalf("all that was wanted goes, and %s is said to hold it", heldBy)
		}
		if to < want {
			i := slices.IndexFunc(floors, func(f broker.Floor) bool { return f.Durable == heldBy })
			if i < 0 || settled[i][to-1] {
				rt.Fatalf("purges before %d of %d, and %q, said to hold it, has settled that one", to, want, heldBy)
			}
		}
	})
}

func TestRelief_TakesAsMuchAsIsNeededAtMessagesOfMeanSize(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := broker.Level{
			First:   rapid.Uint64Range(1, 1<<40).Draw(rt, "first"),
			Msgs:    rapid.Uint64Range(0, 1<<33).Draw(rt, "msgs"),
			Maximum: rapid.Uint64Range(0, 1<<44).Draw(rt, "maximum"),
		}
		l.Last = l.First + l.Msgs - 1
		l.Bytes = l.Msgs * rapid.Uint64Range(1, 2048).Draw(rt, "size")
		full := l.Maximum > 0 && l.Bytes > l.Maximum/5*4
		n := l.Relief() - l.First
		switch {
		case !full && n > 0:
			rt.Fatalf("takes %d from a stream that has room", n)
		case full && n == 0:
			rt.Fatal("takes nothing from a stream that has none")
		case n > broker.TrimStep || n > l.Msgs:
			rt.Fatalf("takes %d of %d in one step, want at most %d", n, l.Msgs, broker.TrimStep)
		case n == 0:
			return
		}
		size, over := l.Bytes/l.Msgs, l.Bytes-l.Maximum/5*4
		if (n-1)*size >= over {
			rt.Fatalf("takes %d messages of %d bytes for %d bytes too many", n, size, over)
		}
		if n < broker.TrimStep && n < l.Msgs && n*size < over {
			rt.Fatalf("takes %d messages of %d bytes, which isn't %d bytes", n, size, over)
		}
	})
}

// TestTrim_Model lets orders come, and durables come, read, lag, stand still and
// go, with trims in between, on a real broker. Whatever happens, what a durable
// is owed is there; and when all is settled, all goes.
func TestTrim_Model(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		acts := rapid.SliceOfN(rapid.Custom(drawTrimAct), 5, 40).Draw(rt, "acts")
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = playTrim(t, acts) })
		if len(wrong) > 0 {
			rt.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	})
}

type trimAct struct {
	What    string
	N       int
	Durable string
	Subject string
}

func drawTrimAct(rt *rapid.T) trimAct {
	return trimAct{
		What: rapid.SampledFrom([]string{
			"publish", "publish", "settle", "settle", "settle", "take", "hand back", "pause", "resume",
			"add", "add from start", "remove", "wait", "trim", "trim", "trim",
		}).Draw(rt, "what"),
		N:       rapid.IntRange(1, 8).Draw(rt, "n"),
		Durable: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "durable"),
		Subject: rapid.SampledFrom([]string{broker.SubjectCreated, "orders.canceled"}).Draw(rt, "subject"),
	}
}

// reader is what the model knows of a durable.
type reader struct {
	subject string
	owed    map[uint64]bool
	held    []jetstream.Msg // taken and not settled
}

func playTrim(t *testing.T, acts []trimAct) (wrong []string) {
	ctx := context.Background()
	b := brokertest.Start(t).Connect()
	brokertest.Provision(t, b, broker.Plan{OrderBytes: 1 << 20})
	js, readers := b.JetStream(), map[string]*reader{}
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	must := func(err error) {
		if err != nil {
			fail("%v", err)
		}
	}
	stored := map[uint64]string{}
	trim := func(keep time.Duration) {
		if _, err := b.Trim(ctx, broker.TrimConfig{Keep: keep}); err != nil {
			fail("Trim: %v", err)
		}
		first := state(t, b, broker.StreamOrders).FirstSeq //nolint:contextcheck // it is the test's own
		for name, r := range readers {
			for seq := range r.owed {
				if seq < first {
					fail("%s was owed %d, and the stream begins with %d", name, seq, first)
				}
			}
		}
		if len(readers) == 0 && len(stored) > 0 && first > slices.Min(keys(stored)) {
			fail("nobody reads, and the stream begins with %d", first)
		}
		for seq := range stored {
			if seq < first {
				delete(stored, seq)
			}
		}
	}
	take := func(r *reader, name string, n int) []jetstream.Msg {
		c, err := js.Consumer(ctx, broker.StreamOrders, name)
		if err != nil {
			fail("%v", err)
			return nil
		}
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			fail("%v", err)
			return nil
		}
		var ms []jetstream.Msg
		for m := range batch.Messages() {
			ms = append(ms, m)
		}
		return ms
	}
	settle := func(r *reader, ms []jetstream.Msg) {
		for _, m := range ms {
			meta, err := m.Metadata()
			must(err)
			must(m.DoubleAck(ctx))
			delete(r.owed, meta.Sequence.Stream)
		}
	}
	id := 0
	for _, a := range acts {
		r := readers[a.Durable]
		switch {
		case a.What == "publish":
			for range a.N {
				id++
				receipt, err := b.Store(ctx, broker.Message{Subject: a.Subject, ID: fmt.Sprint(id), Data: make([]byte, 100)})
				must(err)
				stored[receipt.Seq] = a.Subject
				for _, r := range readers {
					if r.subject == a.Subject {
						r.owed[receipt.Seq] = true
					}
				}
			}
		case a.What == "wait":
			time.Sleep(time.Duration(a.N) * 5 * time.Second)
		case a.What == "trim":
			trim(time.Duration(a.N) * 5 * time.Second)
		case strings.HasPrefix(a.What, "add") && r == nil:
			cfg := jetstream.ConsumerConfig{
				Durable: a.Durable, FilterSubject: a.Subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second,
				DeliverPolicy: jetstream.DeliverNewPolicy,
			}
			r = &reader{subject: a.Subject, owed: map[uint64]bool{}}
			if a.What == "add from start" {
				cfg.DeliverPolicy = jetstream.DeliverAllPolicy
				for seq, subject := range stored {
					if subject == a.Subject {
						r.owed[seq] = true
					}
				}
			}
			_, err := js.CreateConsumer(ctx, broker.StreamOrders, cfg)
			must(err)
			readers[a.Durable] = r
		case r == nil:
		case a.What == "settle":
			settle(r, take(r, a.Durable, a.N))
		case a.What == "take":
			r.held = append(r.held, take(r, a.Durable, a.N)...)
		case a.What == "hand back":
			for _, m := range r.held {
				must(m.Nak())
			}
			r.held = nil
		case a.What == "pause":
			_, err := js.PauseConsumer(ctx, broker.StreamOrders, a.Durable, time.Now().Add(time.Hour))
			must(err)
		case a.What == "resume":
			_, err := js.ResumeConsumer(ctx, broker.StreamOrders, a.Durable)
			must(err)
		case a.What == "remove":
			must(js.DeleteConsumer(ctx, broker.StreamOrders, a.Durable))
			delete(readers, a.Durable)
		}
	}

	// What was owed can be had, whole; then nothing is left.
	for name, r := range readers {
		if _, err := js.ResumeConsumer(ctx, broker.StreamOrders, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			fail("%v", err)
		}
		time.Sleep(6 * time.Second) // what was taken and not settled comes again
		for range 100 {
			if len(r.owed) == 0 {
				break
			}
			settle(r, take(r, name, 50))
		}
		if len(r.owed) > 0 {
			fail("%s never got %v", name, keys(r.owed))
		}
	}
	time.Sleep(2 * time.Second)
	trim(time.Second)
	if left := state(t, b, broker.StreamOrders).Msgs; len(readers) > 0 && left > 0 {
		fail("%d orders are left that all have settled", left)
	}
	return wrong
}

func keys[V any](m map[uint64]V) []uint64 {
	var ks []uint64
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// state is what the broker says of a stream.
func state(t *testing.T, b *broker.Conn, stream string) jetstream.StreamState {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State
}
