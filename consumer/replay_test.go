package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// unknownUntilMended is a world that an operator has to mend.
var unknownUntilMended = story{answer: func(_ int, mended bool) error {
	if !mended {
		return errUnknown
	}
	return nil
}, replay: true, asks: 2}

// An operator is killed at every point of a replay, and another one replays what is
// there still: at once, when the broker has forgotten ids, and when it is no longer
// bound to remember them. The service runs once more at the most.
func TestReplay_CutAtAnyPointAndRepeated(t *testing.T) {
	for name, tt := range map[string]struct {
		between func(*trial)
		most    int // runs after the replays
		double  bool
	}{
		"at once":             {func(*trial) {}, 1, false},
		"after a restart":     {func(x *trial) { x.server.Restart(); pass(10 * time.Second) }, 2, false},
		"after three minutes": {func(*trial) { pass(3 * time.Minute) }, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTrial(t, unknownUntilMended, order.Payment)
				x.live(forEver)
				orders, twice := 0, 0
				for killed := true; killed; {
					orders++
					x.world.mend(false)
					o := x.placeOne()
					pass(time.Second)
					letter := x.letters()[0]
					x.world.mend(true)

					first := newLife(x.server, int64(orders))
					conn := first.connect()
					err := deadletter.New(conn, "first").Replay(context.Background(), letter.Seq)
					if killed = first.over(); !killed && err != nil {
						t.Errorf("replay that wasn't cut: %v", err)
					}
					conn.NATS().Close()
					pass(time.Second)
					tt.between(x)
					err = x.desk.Replay(context.Background(), letter.Seq)
					if err != nil && !errors.Is(err, deadletter.ErrNotFound) {
						t.Errorf("second replay, the first killed at chance %d: %v", orders, err)
					}
					pass(10 * time.Second)
					runs := x.world.requests["payment/"+o.ID] - 1
					if runs < 1 || runs > tt.most {
						t.Errorf("%d runs after the replays, the first killed at chance %d, want 1 to %d", runs, orders, tt.most)
					}
					if runs == 2 {
						twice++
					}
				}
				if orders < 7 { // the retry, the record and the removal
					t.Errorf("%d chances: the test shows nothing", orders-1)
				}
				if tt.most == 2 && twice == 0 {
					t.Error("nothing ran twice: the test shows nothing")
				}
				equal(t, "letters", len(x.letters()), 0)
				equal(t, "waiting retries", len(x.subjects("RETRY_PAYMENT")), 0)
				report, err := audit.Run(context.Background(), x.conn, x.services)
				if err != nil {
					t.Fatal(err)
				}
				got := report.Services[0]
				if !tt.double {
					equal(t, "doubles", got.Double, 0)
				}
				got.Double, got.Findings = 0, nil
				equal(t, "account", got, audit.Account{Service: order.Payment, Accepted: orders, Done: orders})
				x.stop()
			})
		})
	}
}

// Two operators press the same key at the same moment.
func TestReplay_ByTwoOperatorsAtOnceRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrial(t, unknownUntilMended, order.Payment)
		x.live(forEver)
		for range 10 {
			x.placeOne()
		}
		pass(time.Second)
		x.world.mend(true)
		letters := x.letters()
		var wg sync.WaitGroup
		for _, who := range []string{"anna", "ben"} {
			desk := deadletter.New(x.server.Connect(), who)
			wg.Go(func() {
				for _, l := range letters {
					if err := desk.Replay(context.Background(), l.Seq); err != nil && !errors.Is(err, deadletter.ErrNotFound) {
						t.Errorf("%s: %v", who, err)
					}
				}
			})
		}
		wg.Wait()
		pass(time.Minute)
		x.verify(10)
		for id, n := range x.world.requests {
			equal(t, "requests for "+id, n, 2)
		}
		equal(t, "outcomes", x.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 10})
		x.stop()
	})
}
