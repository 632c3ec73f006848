package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// What is compared must do the same thing: each contestant has to be measurable,
// and the first of each group is the one without an aim.
func TestGroups_CanBeMeasured(t *testing.T) {
	for _, g := range groups() {
		if c := g.contestants[0]; c.aim != 0 || c.rival {
			t.Errorf("%s begins with %s, want what the others are compared with", g.name, c.name)
		}
		rivals := 0
		for _, c := range g.contestants {
			op, end := c.make()
			for range 10 {
				op()
			}
			if end != nil {
				end()
			}
			if c.rival {
				rivals++
			}
		}
		if rivals != 1 {
			t.Errorf("%s has %d contestants that are failsafe-go, want 1", g.name, rivals)
		}
	}
}

func TestOursFull_IsFull(t *testing.T) {
	op, end := oursFull()
	defer end()
	if n := testing.AllocsPerRun(100, op); n != 0 {
		t.Errorf("being refused allocates %v times", n)
	}
	b := must(bulkhead.New(bulkhead.Config{Slots: slots}))
	if got := len(b.Take(nil, 2*slots)); got != slots {
		t.Errorf("took %d of %d slots", got, slots)
	}
	if err := b.TrySubmit(task{}); !errors.Is(err, bulkhead.ErrFull) {
		t.Errorf("got %v, want full", err)
	}
}

func TestCompare_SeesWhatCostsMore(t *testing.T) {
	burn := func(d time.Duration) func() (func(), func()) {
		return func() (func(), func()) {
			return func() {
				for end := cpuTime() + d; cpuTime() < end; {
				}
			}, nil
		}
	}
	got := compare(group{"burning", []contestant{
		{name: "a little", make: burn(50 * time.Microsecond)},
		{name: "four times as much", make: burn(200 * time.Microsecond), aim: 2},
		{name: "failsafe-go", make: burn(100 * time.Microsecond), rival: true},
	}}, []int{1}, 5, 5*time.Millisecond)
	if r := got.figures[1][0].ratio; r < 3 || r > 5 {
		t.Errorf("got a ratio of %.2f, want about 4", r)
	}
	var out strings.Builder
	if show(&out, []table{got}, []int{1}) {
		t.Error("a missed aim was not noticed")
	}
	if want := "- burning, four times as much, 1 goroutine: ratio "; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant a line that begins with %q", out.String(), want)
	}
}
