package load_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/publisher/load"
)

// perSecond counts the orders of each second of a run.
func perSecond(t *testing.T, p load.Profile, seconds int) []int {
	t.Helper()
	counts := make([]int, seconds)
	d := time.Duration(seconds) * time.Second
	_, all := run(t, &pretended{}, load.Config{Profile: p, Duration: d}, time.Hour)
	if len(all) != p.Orders(d) {
		t.Errorf("%d orders, want %d", len(all), p.Orders(d))
	}
	for i, r := range all {
		if i > 0 && r.Intended.Before(all[i-1].Intended) {
			t.Fatalf("order %d is due before order %d", i, i-1)
		}
		counts[int(r.Intended.Sub(all[0].Intended)/time.Second)]++
	}
	return counts
}

func TestProfiles(t *testing.T) {
	const d = 10 * time.Second
	for name, tt := range map[string]struct {
		profile load.Profile
		want    []int // a second, give or take one
	}{
		"steady":             {load.Steady(100), []int{100, 100, 100, 100, 100, 100, 100, 100, 100, 100}},
		"a ramp":             {load.Ramp(100, d), []int{5, 15, 25, 35, 45, 55, 65, 75, 85, 95}},
		"a ramp, and beyond": {load.Ramp(100, 5*time.Second), []int{10, 30, 50, 70, 90, 100, 100, 100, 100, 100}},
		"a spike":            {load.Spike(100, d), []int{100, 100, 100, 100, 300, 300, 100, 100, 100, 100}},
		"a sale":             {load.Sale(100, d), []int{60, 100, 100, 100, 100, 100, 100, 87, 60, 33}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := perSecond(t, tt.profile, len(tt.want))
				for i, want := range tt.want {
					if math.Abs(float64(got[i]-want)) > 1 {
						t.Fatalf("orders a second: got %v, want %v, give or take one", got, tt.want)
					}
				}
			})
		})
	}
}

// However a profile goes up and down, the number of orders in a time is the area
// under it.
func TestProfile_OrdersIsTheArea(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.Float64Range(0.1, 10_000)
		n := rapid.IntRange(1, 5).Draw(rt, "legs")
		var p load.Profile
		area := 0.0
		for range n {
			l := load.Leg{
				For: rapid.Custom(func(t *rapid.T) time.Duration {
					return time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond
				}).Draw(rt, "for"),
				From: rate.Draw(rt, "from"), To: rate.Draw(rt, "to"),
			}
			p = append(p, l)
			area += (l.From + l.To) / 2 * l.For.Seconds()
		}
		var whole time.Duration
		for _, l := range p {
			whole += l.For
		}
		if got := p.Orders(whole); math.Abs(float64(got)-area) > 1+area*1e-9 {
			rt.Errorf("%d orders in %v, want about %v", got, whole, area)
		}
		times := []time.Duration{0, whole / 7, whole / 3, whole / 2, whole, 2 * whole}
		var counts []int
		for _, at := range times {
			counts = append(counts, p.Orders(at))
		}
		if !slices.IsSorted(counts) || counts[0] != 0 {
			rt.Errorf("orders until %v: %v, want none at first and never fewer", times, counts)
		}
	})
}

func TestRun_RefusesAProfileThatIsNone(t *testing.T) {
	for want, p := range map[string]load.Profile{
		"a profile needs a leg":                             nil,
		"leg 1 of the profile must have a length, got 0s":   {{0, 1, 1}},
		"leg 2 of the profile: rate must be 0 to 1,000,000": {{time.Second, 1, 1}, {time.Second, 1, math.Inf(1)}},
		"leg 1 of the profile: rate must be 0 to 1,000,000": {{time.Second, math.NaN(), 1}},
		"leg 1 of the profile sends nothing":                {{time.Second, 0, 0}},
		"the profile must end with at least 0.001":          {{time.Second, 1, 0}},
	} {
		err := load.Run(t.Context(), &pretended{}, load.NewJournal(), load.Config{Profile: p})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", p, err, want)
		}
	}
}
