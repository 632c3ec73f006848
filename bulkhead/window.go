package bulkhead

// window counts outcomes of the last while, in buckets.
type window struct {
	width   int64 // of a bucket, in nanoseconds
	last    int64 // number of the newest bucket since the beginning of time
	buckets [10]tally
	total   tally
}

type tally struct{ calls, failures, slow int }

func newWindow(width int64) window { return window{width: max(1, width/10)} }

// add counts an outcome at a time not before that of the last call.
func (w *window) add(now int64, failed, slow bool) {
	w.forget(now)
	one := tally{calls: 1}
	if failed {
		one.failures = 1
	}
	if slow {
		one.slow = 1
	}
	w.buckets[w.last%int64(len(w.buckets))].add(one, 1)
	w.total.add(one, 1)
}

func (t *tally) add(u tally, times int) {
	t.calls += times * u.calls
	t.failures += times * u.failures
	t.slow += times * u.slow
}

// forget empties the buckets that have become too old.
func (w *window) forget(now int64) {
	newest := now / w.width
	if newest-w.last >= int64(len(w.buckets)) {
		*w = window{width: w.width, last: newest}
		return
	}
	for w.last < newest {
		w.last++
		t := &w.buckets[w.last%int64(len(w.buckets))]
		w.total.add(*t, -1)
		*t = tally{}
	}
}

// share is n's part of what is counted.
func (w *window) share(n int) float64 { return float64(n) / float64(w.total.calls) }
