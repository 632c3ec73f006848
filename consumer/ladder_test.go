package consumer_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// on fails the test unless attempts were made at those times, or moments later:
// nothing takes time in the bubble but the broker's own pauses.
func on(t *testing.T, what string, got, want []time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: attempts at %v, want %v", what, got, want)
		return
	}
	for i, w := range want {
		if late := got[i] - w; late < 0 || late > 50*time.Millisecond {
			t.Errorf("%s: attempt %d at %v, want %v or at most 50 ms later", what, i+1, got[i], w)
		}
	}
}

// Every wait of an hour's ladder ends to the instant, whoever was restarted or
// killed while it lasted.
func TestLadder_OfAnHourIsClimbedToTheInstantThroughRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrial(t, story{}, order.Payment)
		plan := planOf(order.Payment)
		plan.Services[0].Tiers = 6
		brokertest.Provision(t, x.conn, plan)
		x.retry = nil
		for range 6 {
			x.retry = append(x.retry, 10*time.Minute)
		}
		var at []time.Duration
		begin := time.Now()
		x.handler = func(order.Service, *life) consumer.Handler {
			return handle(func(context.Context, order.Order) (order.Outcome, error) {
				at = append(at, time.Since(begin))
				return order.Outcome{}, errBusy
			})
		}
		x.live(forEver)
		x.placeOne()
		pass(5 * time.Minute)
		for _, happens := range []func(){
			func() {},
			func() { x.stop(); x.live(forEver) },                        // a restart in good order
			func() { x.kill(); x.live(forEver) },                        // a crash
			func() { x.server.Restart() },                               // of the broker
			func() { x.killBroker() },                                   // its crash
			func() { x.stop(); pass(4 * time.Minute); x.live(forEver) }, // down for a while
			func() { x.stop(); x.killBroker(); pass(time.Second); x.live(forEver) }, // all of it
		} {
			before := time.Now()
			happens()
			pass(10*time.Minute - time.Since(before))
		}
		var want []time.Duration
		for i := range 7 {
			want = append(want, time.Duration(i)*10*time.Minute)
		}
		on(t, "the order", at, want)
		letters := x.letters()
		if len(letters) != 1 || letters[0].Reason != deadletter.Exhausted || len(letters[0].Timeline) != 7 {
			t.Errorf("letters = %+v, want one, exhausted after 7 attempts", letters)
		}
		x.stop()
	})
}

// With fewer tiers than before, what waits in the others still comes when it is due. It
// was tried more often than the policy now allows: if it fails again, that was the last
// time.
func TestLadder_OfFewerTiersLeavesNothingInTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		r, begin := newTries(), time.Now()
		_, stop := s.group(handle(func(ctx context.Context, o order.Order) (order.Outcome, error) {
			_, _ = r.handle(ctx, o)
			return order.Outcome{}, errBusy
		}), nil)
		well, ill := s.placeOne(), s.placeOne()
		pass(2 * time.Minute)
		stop()
		equal(t, "waiting retries", s.subjects("RETRY_PAYMENT"), map[string]uint64{"retry.payment.t4": 2})

		var log events
		s.group(handle(func(ctx context.Context, o order.Order) (order.Outcome, error) {
			_, _ = r.handle(ctx, o)
			if o.ID == ill.ID {
				return order.Outcome{}, errBusy
			}
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.Policy.Retry, c.Log = ladder[:1], zerolog.New(&log) })
		pass(time.Until(begin.Add(time.Hour)))
		for _, o := range []order.Order{well, ill} {
			on(t, "the order", r.at[o.ID], []time.Duration{0, time.Second, 11 * time.Second, 71 * time.Second, 671 * time.Second})
		}
		equal(t, "account", s.account(), audit.Account{Service: order.Payment, Accepted: 2, Done: 1, Dead: 1})
		letters := s.letters()
		if len(letters) != 1 || letters[0].Reason != deadletter.Exhausted || len(letters[0].Timeline) != 5 {
			t.Errorf("letters = %+v, want one, exhausted after 5 attempts", letters)
		}
		equal(t, "what is said of other tiers", log.count("tiers.beyond"), 1)
	})
}

// What a handler asks for and what an order allows decide when it is tried again.
func TestLadder_AskedAndBounded(t *testing.T) {
	const sec, minute = time.Second, time.Minute
	asks := func(d ...time.Duration) []error {
		var errs []error
		for _, d := range d {
			errs = append(errs, order.RetryAfter(d, errBusy))
		}
		return errs
	}
	fails := []error{errBusy, errBusy, errBusy, errBusy, errBusy}
	type way struct {
		errs     []error       // of the attempts; further ones succeed
		deadline time.Duration // of the order; zero: none
		at       []time.Duration
		dead     deadletter.Reason
	}
	ways := map[string]way{
		"asked for what a tier has":           {asks(10 * sec), 0, []time.Duration{0, 10 * sec}, ""},
		"asked for more than a tier has":      {asks(11 * sec), 0, []time.Duration{0, minute}, ""},
		"asked for nothing":                   {asks(0), 0, []time.Duration{0, sec}, ""},
		"asked for more than there is":        {asks(time.Hour, time.Hour), 0, []time.Duration{0, 10 * minute, 20 * minute}, ""},
		"asked, then failing":                 {[]error{order.RetryAfter(minute, errBusy), errBusy}, 0, []time.Duration{0, minute, minute + 10*sec}, ""},
		"a deadline after the last retry":     {fails[:2], 12 * sec, []time.Duration{0, sec, 11 * sec}, ""},
		"a deadline before the next retry":    {fails, 15 * sec, []time.Duration{0, sec, 11 * sec}, deadletter.Expired},
		"a deadline at the next retry":        {fails, 11 * sec, []time.Duration{0, sec}, deadletter.Expired},
		"asked for more than a deadline left": {asks(minute), 30 * sec, []time.Duration{0}, deadletter.Expired},
	}
	bubble(t, func(t *testing.T, s *shop) {
		var (
			mu    sync.Mutex
			at    = make(map[string][]time.Duration)
			begin = time.Now()
			names = make(map[string]string) // by order
		)
		for name, w := range ways {
			o, _ := placed(t)
			if w.deadline > 0 {
				o.Deadline = begin.Add(w.deadline)
			}
			body, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			s.place(o.ID, body)
			names[o.ID] = name
		}
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			name := names[o.ID]
			at[name] = append(at[name], time.Since(begin))
			if n := len(at[name]); n <= len(ways[name].errs) {
				return order.Outcome{}, ways[name].errs[n-1]
			}
			return authorized, nil
		}), nil)
		pass(25 * time.Minute)
		dead := make(map[string]deadletter.Reason)
		for _, l := range s.letters() {
			dead[names[l.Hop.OrderID]] = l.Reason
		}
		for name, w := range ways {
			on(t, name, at[name], w.at)
			equal(t, "the end of "+name, dead[name], w.dead)
		}
		s.settled()
	})
}
