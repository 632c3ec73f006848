package bulkhead

import (
	"context"
	"math"
	"sync/atomic"
)

// forecast knows from the runs that have ended how long one takes, as TCP
// knows it of a round trip: a mean and a mean deviation, both moving averages.
type forecast struct {
	deviations float64
	word       atomic.Uint64 // mean<<32 | deviation, float32 nanoseconds; 0: knows nothing
	heard      atomic.Int64  // when a run last told something, or was let in to
}

// observe learns from a run that took so long, and was the whole work or else
// broke off: then it might have taken longer, and can't make the forecast
// shorter.
func (f *forecast) observe(now, took int64, whole bool) {
	t := float32(took)
	for {
		w := f.word.Load()
		mean, deviation := unpack(w)
		switch diff := t - mean; {
		case !whole && diff <= 0:
			return
		case w == 0:
			mean, deviation = t, t/2
		default:
			mean += diff / 8
			deviation += (max(diff, -diff) - deviation) / 4
		}
		if f.word.CompareAndSwap(w, uint64(math.Float32bits(mean))<<32|uint64(math.Float32bits(deviation))) {
			f.heard.Store(now)
			return
		}
	}
}

func unpack(w uint64) (mean, deviation float32) {
	return math.Float32frombits(uint32(w >> 32)), math.Float32frombits(uint32(w))
}

// needs is the time that a run must be given.
func (f *forecast) needs() int64 {
	mean, deviation := unpack(f.word.Load())
	return int64(float64(mean) + f.deviations*float64(deviation))
}

// wait is the time until a newcomer's turn behind ahead others.
func (f *forecast) wait(ahead, slots int) int64 {
	mean, _ := unpack(f.word.Load())
	return int64(float64(mean) * float64(ahead+1) / float64(slots))
}

// fits reports whether a run that begins now can be over in time. If not, one
// is let in all the same when nothing has been heard for as long as it has left:
// a forecast that nobody tries any more would never change, and no more than
// about one slot is spent on trying.
func (f *forecast) fits(now, by int64) bool {
	if now+f.needs() <= by {
		return true
	}
	heard := f.heard.Load()
	return now < by && now-heard >= by-now && f.heard.CompareAndSwap(heard, now)
}

// deadline is when ctx ends, if the admission looks at that; else 0.
func (b *Bulkhead) deadline(ctx context.Context) int64 {
	if b.forecast == nil {
		return 0
	}
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, int64(at.Sub(b.epoch)))
}

// hopeless reports whether who joins the queue now can't be done by the
// deadline.
func (b *Bulkhead) hopeless(by int64) bool {
	return by != 0 && b.now()+b.forecast.wait(len(b.room), b.size())+b.forecast.needs() > by
}
