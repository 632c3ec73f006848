package bulkhead

// window counts outcomes of the last while, in buckets.
type window struct {
	width   int64 // of a bucket, in nanoseconds
	last    int64 // number of the newest bucket since the beginning of time
	buckets [10]tally
	total   tally
}

type tally struct{ calls, failures int }

func newWindow(width int64) window { return window{width: max(1, width/10)} }

// add counts an outcome at a time not before that of the last call.
func (w *window) add(now int64, failed bool) {
	w.forget(now)
	t := &w.buckets[w.last%int64(len(w.buckets))]
	t.calls++
	w.total.calls++
	if failed {
		t.failures++
		w.total.failures++
	}
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
		w.total.calls -= t.calls
		w.total.failures -= t.failures
		*t = tally{}
	}
}

// share is the share of failures in what is counted.
func (w *window) share() float64 {
	return float64(w.total.failures) / float64(w.total.calls)
}
