package sim

import (
	"hash/fnv"
	"math"
	"sync"
	"time"
)

// regime is one target's faults from one switch to the next.
type regime struct {
	faults Faults
	seed   uint64
	over   chan struct{} // closed when it is replaced: whatever it holds goes on

	mu    sync.Mutex
	calls map[string]uint64 // attempts of an order, counted by the Deaf wrapper
	asked map[string]uint64 // requests about an order, where there is no wrapper
}

func newRegime(fs Faults, seed uint64) *regime {
	return &regime{
		faults: fs, seed: seed, over: make(chan struct{}),
		calls: map[string]uint64{}, asked: map[string]uint64{},
	}
}

// call begins an attempt at an order inside the process and returns its number.
func (r *regime) call(id string) uint64 {
	if len(r.faults) == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[id]++
	return r.calls[id]
}

// request returns the number of the attempt that a request from outside belongs
// to. One that was begun inside keeps its number, and so the face of the die:
// what is deaf isn't hanging too.
func (r *regime) request(id string) uint64 {
	if len(r.faults) == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.calls[id]; ok {
		return n
	}
	r.asked[id]++
	return r.asked[id]
}

// face returns the exclusive fault that the die shows for the nth attempt, the
// zero Fault when it shows none.
func (r *regime) face(id string, n uint64) Fault {
	u := roll(r.seed, "die", id, n)
	var rest Fault
	for _, f := range r.faults {
		switch {
		case !f.Kind.exclusive():
		case f.Share == 0:
			rest = f
		case u < f.Share:
			return f
		default:
			u -= f.Share
		}
	}
	return rest
}

// latency returns what the Latency fault adds to the nth attempt.
func (r *regime) latency(id string, n uint64) time.Duration {
	for _, f := range r.faults {
		if f.Kind == Latency && f.hits(roll(r.seed, "latency", id, n)) {
			return f.For
		}
	}
	return 0
}

// declines reports whether the answer about id is no, at each attempt.
func (r *regime) declines(id string) bool {
	for _, f := range r.faults {
		if f.Kind == Declines && f.hits(roll(r.seed, "declines", id, 0)) {
			return true
		}
	}
	return false
}

func (f Fault) hits(u float64) bool { return f.Share == 0 || u < f.Share }

// hold waits until d has passed (zero: for ever), the regime is over, the client
// has gone or the world ends. It reports whether to go on: not in the last two
// cases.
func (w *World) hold(over <-chan struct{}, d time.Duration, gone <-chan struct{}) bool {
	var due <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-over:
	case <-w.ended:
		return false
	case <-gone:
		return false
	}
	select {
	case <-gone: // at the same time
		return false
	default:
		return true
	}
}

// roll throws a die: a number from 0 to below 1 that only the arguments decide.
func roll(seed uint64, die, id string, n uint64) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(die))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(id))
	// FNV alone leaves the ids of one second close together: finish as splitmix64 does.
	x := h.Sum64() + (seed+1)*0x9e3779b97f4a7c15 + n*0xbf58476d1ce4e5b9
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return math.Ldexp(float64(x>>11), -53)
}
