package bulkhead

// window counts outcomes of the last while, in buckets.
type window struct {
	width   int64 // of a bucket, in nanoseconds
	end     int64 // of the newest bucket
	newest  int
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
	w.buckets[w.newest].add(one, 1)
	w.total.add(one, 1)
}

func (t *tally) add(u tally, times int) {
	t.calls += times * u.calls
	t.failures += times * u.failures
	t.slow += times * u.slow
}

// forget empties the buckets that have become too old.
func (w *window) forget(now int64) {
	if now < w.end {
		return
	}
	passed := (now-w.end)/w.width + 1
	if passed >= int64(len(w.buckets)) {
		*w = window{width: w.width, end: (now/w.width + 1) * w.width}
		return
	}
	for range passed {
		w.end += w.width
		w.newest = (w.newest + 1) % len(w.buckets)
		w.total.add(w.buckets[w.newest], -1)
		w.buckets[w.newest] = tally{}
	}
}

// reaches reports whether n of what is counted are a share, at least. None is
// never.
func (w *window) reaches(n int, share float64) bool {
	return n > 0 && float64(n)/float64(w.total.calls) >= share
}
