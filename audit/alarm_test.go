package audit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// story writes down what it is told.
type story struct {
	begin time.Time
	now   func() time.Time
	lines []string
}

func (s *story) Raised(a audit.Alarm)  { s.write("raised", a) }
func (s *story) Cleared(a audit.Alarm) { s.write("cleared", a) }

func (s *story) write(what string, a audit.Alarm) {
	line := fmt.Sprintf("%v %s %s", s.now().Sub(s.begin), what, a.Kind)
	if a.Name != "" {
		line += " " + a.Name
	}
	if what == "cleared" {
		line += fmt.Sprintf(", since %v", a.Since.Sub(s.begin))
	}
	s.lines = append(s.lines, line)
}

// Looks are half a minute apart, and the ack wait is a minute: with the margin, what
// stands still for two minutes is an alarm.
func TestFollow_Alarms(t *testing.T) {
	const apart = 30 * time.Second
	begin := time.Date(2026, 11, 27, 20, 0, 0, 0, time.UTC)
	const main, tier = "ORDERS/payment", "RETRY_PAYMENT/payment-t1"

	// What is learned at a look.
	type of = func(f *audit.Facts, age time.Duration)
	owed := func(mark, pending uint64, unacked int) of {
		return func(f *audit.Facts, _ time.Duration) {
			f.Queues = append(f.Queues, audit.Queue{Name: main, Mark: mark, Pending: pending, Unacked: unacked, AckWait: 2 * apart, Service: order.Payment})
		}
	}
	paused := func(f *audit.Facts, _ time.Duration) {
		f.Queues = append(f.Queues, audit.Queue{Name: main, Mark: 7, Pending: 3, Paused: true, AckWait: 2 * apart, Service: order.Payment})
	}
	retry := func(mark uint64, due time.Duration) of {
		return func(f *audit.Facts, _ time.Duration) {
			f.Queues = append(f.Queues, audit.Queue{Name: tier, Mark: mark, Pending: 1, AckWait: 2 * apart, Service: order.Payment, Tier: true, Due: begin.Add(due)})
		}
	}
	emptied := func(f *audit.Facts, _ time.Duration) {
		f.Queues = append(f.Queues, audit.Queue{Name: tier, Mark: 7, AckWait: 2 * apart, Service: order.Payment})
	}
	filled := func(stream string, percent uint64) of {
		return func(f *audit.Facts, _ time.Duration) {
			f.Fills = append(f.Fills, audit.Fill{Name: stream, Bytes: percent, Max: 100})
		}
	}
	drifted := func(f *audit.Facts, _ time.Duration) {
		for _, name := range []string{main, tier} {
			f.Changes = append(f.Changes, broker.Change{Kind: "durable", Name: name, Action: broker.Drifted})
		}
	}
	missing := func(f *audit.Facts, _ time.Duration) {
		f.Changes = append(f.Changes, broker.Change{Kind: "durable", Name: main, Action: broker.Missing})
	}
	away := func(f *audit.Facts, _ time.Duration) { f.Err = errors.New("no answer") }
	moving := func(f *audit.Facts, age time.Duration) { owed(uint64(age/apart), 1_000_000, 16)(f, age) }
	nothing := func(*audit.Facts, time.Duration) {}
	both := func(one, two of) of {
		return func(f *audit.Facts, age time.Duration) { one(f, age); two(f, age) }
	}
	times := func(n int, o of) (all []of) {
		for range n {
			all = append(all, o)
		}
		return all
	}
	join := func(parts ...[]of) (all []of) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}

	for name, tt := range map[string]struct {
		looks []of
		want  []string
	}{
		"an order that nobody takes is stranded, once": {
			join(times(6, owed(7, 1, 0)), []of{nothing, nothing}),
			[]string{"2m0s raised stranded " + main, "3m0s cleared stranded " + main + ", since 0s"},
		},
		"and so is one that somebody takes and keeps": {
			times(6, owed(7, 0, 1)), []string{"2m0s raised stranded " + main},
		},
		"one just before the time isn't": {
			join(times(4, owed(7, 1, 1)), times(4, owed(8, 1, 1))), nil,
		},
		"when something is settled, all is well, though others wait": {
			join(times(6, owed(7, 9, 0)), times(4, owed(8, 8, 0))),
			[]string{"2m0s raised stranded " + main, "3m0s cleared stranded " + main + ", since 0s"},
		},
		"a slow backlog isn't stranded": {times(100, moving), nil},
		"what waits while paused isn't": {times(100, paused), nil},
		"after a pause it has its time anew": {
			join(times(4, owed(7, 3, 0)), times(9, paused), times(6, owed(7, 3, 0))),
			[]string{"8m30s raised stranded " + main},
		},
		"a pause clears the alarm": {
			join(times(5, owed(7, 3, 0)), times(2, paused)),
			[]string{"2m0s raised stranded " + main, "2m30s cleared stranded " + main + ", since 0s"},
		},
		"what stood still while the broker was away has its time anew": {
			join(times(4, owed(7, 3, 0)), []of{away}, times(6, owed(7, 3, 0))),
			[]string{"4m30s raised stranded " + main},
		},
		"a retry that isn't due may wait": {times(100, retry(7, time.Hour)), nil},
		"one that was due is overdue": {
			join(times(50, retry(7, 10*time.Minute)), []of{nothing}),
			[]string{"12m0s raised overdue " + tier, "25m0s cleared overdue " + tier + ", since 10m0s"},
		},
		"one that was due long ago, and is seen only now, has its time": {
			times(6, retry(7, -time.Hour)), []string{"2m0s raised overdue " + tier},
		},
		"late retries that are worked off aren't overdue": {
			join(times(4, retry(7, 0)), times(4, retry(8, 0)), times(4, retry(9, 0))), nil,
		},
		"who empties a tier works": {
			join(times(3, both(owed(0, 1, 0), retry(7, 0))), times(5, both(owed(0, 1, 0), emptied))),
			[]string{"3m30s raised stranded " + main},
		},
		"a tier that waits for its turn while the service works has an hour": {
			times(130, both(moving, retry(7, 0))), []string{"1h0m0s raised overdue " + tier},
		},
		"an alarm stands until the durable itself moves": {
			join(times(6, both(owed(0, 1, 0), retry(7, 0))), times(20, both(moving, retry(7, 0))), []of{retry(8, 0)}),
			[]string{"2m0s raised overdue " + tier, "2m0s raised stranded " + main, "3m0s cleared stranded " + main + ", since 0s", "13m0s cleared overdue " + tier + ", since 0s"},
		},
		"a stream that nobody trims is nearly full at 80 %, until it is below 75 %": {
			[]of{filled("DLQ", 79), filled("DLQ", 80), filled("DLQ", 100), filled("DLQ", 75), filled("DLQ", 74), filled("DLQ", 79)},
			[]string{"30s raised full DLQ", "2m0s cleared full DLQ, since 30s"},
		},
		"one that is trimmed from 80 % on, at 90 %": {
			[]of{filled("ORDERS", 80), filled("ORDERS", 89), filled("ORDERS", 90), filled("ORDERS", 85), filled("ORDERS", 84)},
			[]string{"1m0s raised full ORDERS", "2m0s cleared full ORDERS, since 1m0s"},
		},
		"what drifted is told at once, and once, however much it is": {
			[]of{drifted, drifted, nothing}, []string{"0s raised drifted", "1m0s cleared drifted, since 0s"},
		},
		"what is missing has an alarm of its own": {
			[]of{drifted, missing, nothing},
			[]string{"0s raised drifted", "30s cleared drifted, since 0s", "30s raised missing " + main, "1m0s cleared missing " + main + ", since 30s"},
		},
		"a broker that is away for a moment is no alarm": {[]of{nothing, away, nothing, away, nothing}, nil},
		"one that is silent for a minute is, and the others stay as they are": {
			[]of{drifted, away, away, away, drifted, nothing},
			[]string{"0s raised drifted", "1m0s raised silent", "2m0s cleared silent, since 0s", "2m30s cleared drifted, since 0s"},
		},
		"one that never answered is, too": {
			times(4, away), []string{"1m0s raised silent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := begin
			s := story{begin: begin, now: func() time.Time { return at }}
			next := audit.Follow(&s)
			for i, learn := range tt.looks {
				at = begin.Add(time.Duration(i) * apart)
				f := audit.Facts{At: at}
				learn(&f, at.Sub(begin))
				next(f)
			}
			if diff := cmp.Diff(tt.want, s.lines); diff != "" {
				t.Errorf("alarms (-want +got):\n%s", diff)
			}
		})
	}
}
