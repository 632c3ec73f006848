package bulkhead

import "context"

// Credit is a slot taken in advance, with its token of the rate and, when the
// breaker is half-open, its probe. It is spent once, by Run or Go, or given
// back by Release. A credit may be copied and may be spent by another
// goroutine than the one that took it; only the first use of it and all its
// copies counts, the others do nothing and are counted in Stats.Misuse. The
// zero Credit does nothing.
//
//	c, err := b.Acquire(ctx)         // one slot, whenever it takes
//	credits = b.Take(credits[:0], 9) // as many more as are free now
//	…fetch at most that many messages…
//	c.Go(task)                       // a credit a message
//	c.Release()                      // for those that found none
type Credit struct {
	b         *Bulkhead
	slot, gen uint32
}

// Acquire waits until there are a free slot, a token of the rate, and a
// breaker that is closed or has a probe left, and takes them. Callers of
// Acquire are served in the order they came; they are not counted against
// [Config.Queue], nor limited by [Config.MaxWait].
//
// An open breaker is waited for, not refused: Acquire returns when it is time
// to probe. The error is ctx's cause, as always when ctx is already done, or
// the [*Rejection] of [ErrClosed] after Close or Drain.
func (b *Bulkhead) Acquire(ctx context.Context) (Credit, error) {
	if err := b.stop(ctx); err != nil {
		return Credit{}, err
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return Credit{}, context.Cause(ctx)
	case <-b.closing:
		return Credit{}, b.reject(ShutDown)
	}
	defer func() { <-b.turn }()

	for {
		if err := b.stop(ctx); err != nil {
			return Credit{}, err
		}
		if b.breaker != nil {
			if err := b.awaitBreaker(ctx); err != nil {
				return Credit{}, err
			}
		}
		s := b.trySlot()
		if s == nil {
			var err error
			b.watch.Add(1)
			s, err = b.receiveSlot(ctx, b.toCredit, nil)
			b.watch.Add(-1)
			if err != nil {
				return Credit{}, err
			}
		}
		if b.meter != nil && !b.meter.take() {
			if err := b.awaitToken(ctx, &wait{begun: true}); err != nil {
				b.release(s)
				return Credit{}, err
			}
		}
		if c, ok := b.issue(s); ok {
			return c, nil
		}
	}
}

// Take appends up to n more credits to dst and returns it, without waiting:
// fewer, or none, if there are no more free slots or tokens, if the breaker is
// open or half-open without that many probes left, and after Close or Drain.
func (b *Bulkhead) Take(dst []Credit, n int) []Credit {
	if b.closed.Load() {
		return dst
	}
	for range n {
		if b.breaker != nil && !b.breaker.inviting() {
			return dst
		}
		s := b.trySlot()
		if s == nil {
			return dst
		}
		if b.meter != nil && !b.meter.take() {
			b.release(s)
			return dst
		}
		c, ok := b.issue(s)
		if !ok {
			return dst
		}
		dst = append(dst, c)
	}
	return dst
}

// issue makes a credit of a slot, unless the breaker says no; then it gives
// back the slot and its token.
func (b *Bulkhead) issue(s *slot) (Credit, bool) {
	if b.breaker != nil {
		p, ok := b.breaker.begin(false)
		if !ok {
			b.returnToken()
			b.release(s)
			return Credit{}, false
		}
		s.pass = p
	}
	gen := uint32(s.credit.Load()>>1) + 1
	s.waited = 0
	s.credit.Store(uint64(gen)<<1 | 1)
	return Credit{b: b, slot: s.index, gen: gen}, true
}

// spend makes the caller the owner of the credit's slot, if it is unspent.
func (c Credit) spend() *slot {
	if c.b == nil {
		return nil
	}
	s := &c.b.slots[c.slot]
	if !s.credit.CompareAndSwap(uint64(c.gen)<<1|1, uint64(c.gen)<<1) {
		c.b.counts.misuse.Add(1)
		return nil
	}
	return s
}

// Go runs t in the slot's own goroutine and returns at once. See [Task] for
// what is called when. A credit that is spent already does nothing with t, not
// even Done. When Drain has given up, t is handed back: Done gets [ErrClosed],
// on this goroutine.
func (c Credit) Go(t Task) {
	if s := c.spend(); s != nil && c.b.fund(s, t) {
		s.start(c.b.funded(s, t))
	}
}

// Run is [Credit.Go] in this goroutine: it returns when t has been run, also
// if that is long after its timeout, and t.Done and t.Late have returned, but
// for a Done that a timer called. A runtime.Goexit of t.Run ends this
// goroutine, after Done.
func (c Credit) Run(t Task) {
	if s := c.spend(); s != nil && c.b.fund(s, t) {
		c.b.funded(s, t).execute(s, nil)
	}
}

// fund checks whether a spent credit still buys a run.
func (b *Bulkhead) fund(s *slot, t Task) bool {
	if b.base.Err() == nil {
		return true
	}
	defer b.forgo(s)
	b.counts.handedBack.Add(1)
	b.tellDone(nil, t, b.reject(ShutDown))
	return false
}

// funded is the run that a credit buys.
func (b *Bulkhead) funded(s *slot, t Task) *assignment {
	a := b.assign(t)
	a.pass = s.pass
	if b.breaker != nil {
		b.breaker.start(a.pass)
	}
	return a
}

// Release gives an unspent credit back whole: its slot, its token and its
// probe. A spent one it leaves alone.
func (c Credit) Release() {
	if s := c.spend(); s != nil {
		c.b.forgo(s)
	}
}

// forgo gives back all that a credit has.
func (b *Bulkhead) forgo(s *slot) {
	defer b.release(s)
	if b.breaker != nil {
		b.breaker.end(s.pass, Neutral, 0)
	}
	b.returnToken()
}
