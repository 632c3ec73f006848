package rejections_test

import (
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// at is a rejection so many seconds after noon.
func at(seconds int, s order.Service, w rejections.Where, r rejections.Reason) rejections.Rejection {
	return rejections.Rejection{At: noon.Add(time.Duration(seconds) * time.Second), Service: s, Where: w, Reason: r}
}

// each yields them, and then an error if there is one.
func each(all []rejections.Rejection, failed error) iter.Seq2[rejections.Rejection, error] {
	return func(yield func(rejections.Rejection, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if failed != nil {
			yield(rejections.Rejection{}, failed)
		}
	}
}

func TestTally(t *testing.T) {
	day := []rejections.Rejection{
		at(5, order.Payment, rejections.Bulkhead, rejections.Full),
		at(59, order.Payment, rejections.Bulkhead, rejections.Breaker),
		at(50, order.Payment, rejections.Bulkhead, rejections.Breaker),
		at(61, order.Inventory, rejections.Consumer, rejections.Full),
		at(62, order.Payment, rejections.Consumer, rejections.Full),
		at(130, "", rejections.Publisher, rejections.Full),
	}
	type kind = rejections.Kind
	count := func(k kind, n, first, last int) rejections.Count {
		return rejections.Count{Kind: k, Count: n, First: at(first, "", "", "").At, Last: at(last, "", "", "").At}
	}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	elsewhere := []rejections.Rejection{day[0], day[0]}
	elsewhere[0].At = elsewhere[0].At.In(time.FixedZone("", 5*3600+30*60+17))

	for name, tt := range map[string]struct {
		all  []rejections.Rejection
		by   []rejections.Property
		want []rejections.Count
	}{
		"of none there is nothing to count": {nil, []rejections.Property{rejections.ByReason}, []rejections.Count{}},
		"by nothing all are alike":          {day, nil, []rejections.Count{count(kind{}, 6, 5, 130)}},
		"by service, the most first": {day, []rejections.Property{rejections.ByService}, []rejections.Count{
			count(kind{Service: order.Payment}, 4, 5, 62), count(kind{}, 1, 130, 130), count(kind{Service: order.Inventory}, 1, 61, 61),
		}},
		"by reason": {day, []rejections.Property{rejections.ByReason}, []rejections.Count{
			count(kind{Reason: rejections.Full}, 4, 5, 130), count(kind{Reason: rejections.Breaker}, 2, 50, 59),
		}},
		"by where": {day, []rejections.Property{rejections.ByWhere}, []rejections.Count{
			count(kind{Where: rejections.Bulkhead}, 3, 5, 59), count(kind{Where: rejections.Consumer}, 2, 61, 62), count(kind{Where: rejections.Publisher}, 1, 130, 130),
		}},
		"by minute, the oldest first": {day, []rejections.Property{rejections.ByMinute}, []rejections.Count{
			count(kind{Minute: minute(0)}, 3, 5, 59), count(kind{Minute: minute(1)}, 2, 61, 62), count(kind{Minute: minute(2)}, 1, 130, 130),
		}},
		"a minute is one of UTC": {elsewhere, []rejections.Property{rejections.ByMinute}, []rejections.Count{count(kind{Minute: minute(0)}, 2, 5, 5)}},
		"by several, in any order": {day, []rejections.Property{rejections.ByReason, rejections.ByMinute, rejections.ByService}, []rejections.Count{
			count(kind{Service: order.Payment, Reason: rejections.Breaker, Minute: minute(0)}, 2, 50, 59),
			count(kind{Service: order.Payment, Reason: rejections.Full, Minute: minute(0)}, 1, 5, 5),
			count(kind{Service: order.Inventory, Reason: rejections.Full, Minute: minute(1)}, 1, 61, 61),
			count(kind{Service: order.Payment, Reason: rejections.Full, Minute: minute(1)}, 1, 62, 62),
			count(kind{Reason: rejections.Full, Minute: minute(2)}, 1, 130, 130),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rejections.Tally(each(tt.all, nil), tt.by...)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v: -want +got\n%s", err, diff)
			}
		})
	}

	failed := errors.New("the broker is away")
	if got, err := rejections.Tally(each(day, failed), rejections.ByReason); !errors.Is(err, failed) || got != nil {
		t.Errorf("of a read that failed: got %v, %v, want its error alone", got, err)
	}
}

func ExampleTally() {
	all := each([]rejections.Rejection{
		at(1, order.Payment, rejections.Bulkhead, rejections.Full),
		at(2, order.Payment, rejections.Bulkhead, rejections.Full),
		at(70, order.Payment, rejections.Bulkhead, rejections.Breaker),
	}, nil) // or Log.Read
	counts, err := rejections.Tally(all, rejections.ByMinute, rejections.ByReason)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range counts {
		fmt.Println(c.Minute.Format("15:04"), c.Reason, c.Count)
	}
	// Output:
	// 12:00 full 2
	// 12:01 breaker 1
}
