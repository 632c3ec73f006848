package bulkhead

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// breaker counts outcomes and decides. It has no clock: what has become due
// happens when somebody looks.
//
//	closed ──share of failures or slow calls──▶ open ──OpenFor──▶ half-open ──Probes successes──▶ closed
//	                                             ▲                    │
//	                                             └── failure, lease ──┘
type breaker struct {
	cfg     BreakerConfig
	now     func() int64
	changed func(from, to State) // nil: nobody cares

	word  atomic.Uint64 // generation<<2 | state-1, written under mu
	until atomic.Int64  // of an open breaker; forever if forced
	quiet atomic.Bool   // surely not until yet: who asks need not look at the clock

	mu      sync.Mutex
	forced  bool
	window  window
	probes  []probe       // out
	good    int           // back, successful
	serial  uint32        // of the last probe
	changes []change      // to be told when mu is free
	nudge   *time.Timer   // ends quiet; nil: nothing to end
	wake    chan struct{} // closed when those who wait for the breaker should look again
	opened  chan struct{} // closed while it is open
}

const forever = math.MaxInt64

// pass is what a run got from the breaker at its start and shows at its end.
type pass struct {
	gen   uint32
	probe uint32 // 0: none
}

// probe is a run, or a credit for one, of a half-open breaker.
type probe struct {
	serial  uint32
	running bool
	lease   int64 // end of
}

// change is a change of state, for the hook.
type change struct{ from, to State }

func newBreaker(cfg BreakerConfig, now func() int64, changed func(from, to State)) *breaker {
	return &breaker{
		cfg: cfg, now: now, changed: changed,
		window: newWindow(int64(cfg.Window)),
		wake:   make(chan struct{}),
		opened: make(chan struct{}),
	}
}

func (br *breaker) load() (gen uint32, s State) {
	w := br.word.Load()
	return uint32(w >> 2), State(w&3) + 1
}

// inviting reports whether begin would say yes, most likely.
func (br *breaker) inviting() bool {
	switch _, s := br.load(); {
	case s == Closed:
		return true
	case s == Open && (br.quiet.Load() || br.now() < br.until.Load()):
		return false
	}
	var ok bool
	br.look(func(int64) { ok = br.admits() })
	return ok
}

// begin lets a run in, or a credit for one.
func (br *breaker) begin(run bool) (p pass, ok bool) {
	gen, s := br.load()
	if s == Closed {
		return pass{gen: gen}, true
	}
	br.look(func(now int64) {
		gen, s := br.load()
		if ok = br.admits(); !ok {
			return
		}
		p.gen = gen
		if s == HalfOpen {
			br.serial = max(1, br.serial+1)
			p.probe = br.serial
			br.probes = append(br.probes, probe{p.probe, run, now + int64(br.cfg.Lease)})
		}
	})
	return p, ok
}

// start renews the lease of a credit's probe, now that it is a run.
func (br *breaker) start(p pass) {
	if p.probe == 0 {
		return
	}
	br.look(func(now int64) {
		if i := br.find(p); i >= 0 {
			br.probes[i] = probe{p.probe, true, now + int64(br.cfg.Lease)}
		}
	})
}

// end counts what became of a run. One that began in another state, or as a
// probe whose lease is over, decides nothing.
func (br *breaker) end(p pass, o Outcome, took int64) {
	if o == Neutral && p.probe == 0 {
		return
	}
	if gen, _ := br.load(); gen != p.gen {
		return
	}
	slow := br.cfg.SlowAfter > 0 && took >= int64(br.cfg.SlowAfter)
	br.look(func(now int64) {
		gen, s := br.load()
		if gen != p.gen {
			return
		}
		if s == Closed {
			br.window.add(now, o == Failure, slow)
			if !br.forced && br.sick() {
				br.open(now)
			}
			return
		}
		i := br.find(p)
		if i < 0 {
			return
		}
		br.probes = slices.Delete(br.probes, i, i+1)
		switch {
		case o == Neutral:
			br.wakeAll()
		case o == Failure || slow:
			br.open(now)
		default:
			if br.good++; br.good >= br.cfg.Probes {
				br.become(Closed)
			}
		}
	})
}

// sick reports whether the window has seen too much.
func (br *breaker) sick() bool {
	w := &br.window
	return w.total.calls >= br.cfg.MinCalls &&
		(w.reaches(w.total.failures, br.cfg.FailureShare) || w.reaches(w.total.slow, br.cfg.SlowShare))
}

// force is Bulkhead.Force.
func (br *breaker) force(s State) {
	br.look(func(int64) {
		switch {
		case s == Auto && br.forced:
			br.become(Closed)
		case s == Open:
			br.until.Store(forever)
			br.become(Open)
			br.quiet.Store(true)
		case s == Closed || s == HalfOpen:
			br.become(s)
		}
		br.forced = s == Open || s == Closed
	})
}

// state returns the state that is due.
func (br *breaker) state() (s State) {
	br.look(func(int64) { _, s = br.load() })
	return s
}

// readyAt returns until when the breaker is open, 0 if it isn't or if that is
// not known, and how many it admits then: any number if it is closed.
func (br *breaker) readyAt() (until int64, n int) {
	br.look(func(int64) {
		switch _, s := br.load(); s {
		case Closed:
			n = math.MaxInt
		case HalfOpen:
			n = br.cfg.Probes - br.good - len(br.probes)
		case Open:
			if u := br.until.Load(); u != forever {
				until, n = u, br.cfg.Probes
			}
		}
	})
	return until, n
}

// look calls f under the lock, when what has become due has happened, and
// then the hook, without the lock, for what has changed.
func (br *breaker) look(f func(now int64)) {
	now := br.now()
	br.mu.Lock()
	br.catchUp(now)
	f(now)
	changes := br.changes
	br.changes = nil
	br.mu.Unlock()

	for _, c := range changes {
		br.changed(c.from, c.to)
	}
}

// catchUp makes happen what time has made due.
func (br *breaker) catchUp(now int64) {
	for {
		switch _, s := br.load(); s {
		case Open:
			if now < br.until.Load() {
				return
			}
			br.become(HalfOpen)
		case HalfOpen:
			hung, lapsed := int64(forever), false
			br.probes = slices.DeleteFunc(br.probes, func(p probe) bool {
				if p.lease > now {
					return false
				}
				if p.running {
					hung = min(hung, p.lease)
				}
				lapsed = true
				return true
			})
			if hung == forever {
				if lapsed {
					br.wakeAll()
				}
				return
			}
			br.open(hung) // as of when the lease ended, whenever that is noticed
		default:
			return
		}
	}
}

// admits reports whether begin may say yes now.
func (br *breaker) admits() bool {
	_, s := br.load()
	return s == Closed || s == HalfOpen && br.good+len(br.probes) < br.cfg.Probes
}

func (br *breaker) open(at int64) {
	br.until.Store(at + int64(br.cfg.OpenFor))
	br.become(Open)
	// Reading the clock is most of what a refusal would cost. The timer may be
	// late by a tenth of the wait before anybody notices.
	if left := at + int64(br.cfg.OpenFor) - br.now(); left > 0 {
		br.quiet.Store(true)
		br.nudge = time.AfterFunc(time.Duration(left-left/10), func() { br.quiet.Store(false) })
	}
}

// become starts a new generation in state s.
func (br *breaker) become(s State) {
	gen, from := br.load()
	br.word.Store(uint64(gen+1)<<2 | uint64(s-1))
	br.window = newWindow(int64(br.cfg.Window))
	br.probes, br.good = nil, 0
	br.quiet.Store(false)
	if br.nudge != nil {
		br.nudge.Stop()
	}
	if from != s && br.changed != nil {
		br.changes = append(br.changes, change{from, s})
	}
	switch {
	case from != Open && s == Open:
		close(br.opened)
	case from == Open && s != Open:
		br.opened = make(chan struct{})
	}
	br.wakeAll()
}

// wakeAll lets those look again who wait for the breaker.
func (br *breaker) wakeAll() {
	close(br.wake)
	br.wake = make(chan struct{})
}

// find returns the index of p's probe, or -1.
func (br *breaker) find(p pass) int {
	if gen, _ := br.load(); gen != p.gen || p.probe == 0 {
		return -1
	}
	return slices.IndexFunc(br.probes, func(q probe) bool { return q.serial == p.probe })
}

// next returns whether begin may say yes now, and else when to ask again: when
// wake is closed, or at a time.
func (br *breaker) next() (ok bool, wake <-chan struct{}, at int64) {
	br.look(func(int64) {
		ok, wake, at = br.admits(), br.wake, forever
		if _, s := br.load(); s == Open {
			at = br.until.Load()
		}
		for _, p := range br.probes {
			at = min(at, p.lease)
		}
	})
	return ok, wake, at
}
