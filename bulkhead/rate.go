package bulkhead

import (
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// meter hands out the tokens of a rate. Whoever waits for one reserves
// nothing: one at a time sleeps until the next token is due, the others stand
// behind in a channel, in order. So a wait that is given up costs no token.
type meter struct {
	limiter *rate.Limiter
	now     func() time.Time // cheaper than time.Now, which reads two clocks
	head    chan struct{}    // who holds it is at the head
	waiting atomic.Int64
	back    chan struct{} // a token was given back: look again
}

func newMeter(perSecond float64, burst int, now func() time.Time) *meter {
	return &meter{
		limiter: rate.NewLimiter(rate.Limit(perSecond), burst),
		now:     now,
		head:    make(chan struct{}, 1),
		back:    make(chan struct{}, 1),
	}
}

// take takes a token if there is one that nobody waits for.
func (m *meter) take() bool { return m.waiting.Load() == 0 && m.allow() }

// allow takes a token, if there is one.
func (m *meter) allow() bool { return m.limiter.AllowN(m.now(), 1) }

// giveBack undoes a take. Taking a negative number is the limiter's only way
// to get a token back that was granted at once.
func (m *meter) giveBack() {
	m.limiter.AllowN(m.now(), -1)
	select {
	case m.back <- struct{}{}:
	default:
	}
}

// delay is the time until a newcomer gets a token.
func (m *meter) delay() time.Duration { return m.until(m.waiting.Load() + 1) }

// until is the time until n tokens are there.
func (m *meter) until(n int64) time.Duration {
	missing := float64(n) - m.limiter.TokensAt(m.now())
	if missing <= 0 {
		return 0
	}
	return time.Duration(min(math.Ceil(missing/float64(m.limiter.Limit())*1e9), math.MaxInt64/2))
}

// returnToken gives back the token of a run that won't be.
func (b *Bulkhead) returnToken() {
	if b.meter != nil {
		b.meter.giveBack()
	}
}
