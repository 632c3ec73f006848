package bulkhead

import "context"

// Report is what Drain found when it stopped waiting, before it canceled
// anything, counted from the moment the bulkhead was closed.
type Report struct {
	Finished   int // runs that returned
	Running    int // still running, or credits still unspent
	Ghosts     int // still running beyond their timeout or their caller
	HandedBack int // tasks whose Done got ErrClosed without a run
}

// Close stops admitting: from now on everybody is refused with [ErrClosed],
// those who wait too, and queued tasks are handed back by a Done with
// [ErrClosed] in this goroutine. It doesn't wait. What runs goes on running,
// and credits that are out may be spent. A second Close does nothing.
func (b *Bulkhead) Close() {
	if !b.closed.CompareAndSwap(false, true) {
		<-b.closing
		return
	}
	b.endedAtClose = b.runsEnded()
	close(b.closing)
	b.handBack()
	b.withdrawAll()
}

// Drain closes the bulkhead and waits until all it started has ended: every
// slot is back, credits included, every call of Done and Late has returned and
// every goroutine has ended. When ctx ends first, Drain cancels the contexts
// of what still runs, with [ErrDrainTimeout] as the cause, and returns at once;
// credits spent from then on hand their task back. It may be called again, to
// see what the cancellation came to, and by several goroutines. A function
// that runs in the bulkhead must not call it, as it would wait for itself.
//
// What Drain can't cancel is a Do without a [Config.Timeout]: its function
// runs under its caller's own context.
func (b *Bulkhead) Drain(ctx context.Context) Report {
	b.Close()
	select {
	case <-b.gone:
	case <-ctx.Done():
	}
	r := b.report()
	b.giveUp()
	return r
}

// report is what Drain has to say at this moment.
func (b *Bulkhead) report() Report {
	s := b.Stats()
	return Report{
		Finished:   int(b.runsEnded() - b.endedAtClose),
		Running:    max(0, s.InUse-s.Ghosts),
		Ghosts:     s.Ghosts,
		HandedBack: int(s.HandedBack),
	}
}

// giveUp cancels what still runs, if anything does.
func (b *Bulkhead) giveUp() {
	b.cancel(ErrDrainTimeout)
	for i := range b.slots {
		s := &b.slots[i]
		if r := s.run.Load(); r != nil {
			r.interrupt(drained)
		}
	}
}

// handBack empties the queue of tasks.
func (b *Bulkhead) handBack() {
	for a := b.dequeue(); a != nil; a = b.dequeue() {
		b.tellDone(nil, a.task, a.handed(b.reject(ShutDown)))
	}
}

// handed counts a task that is handed back, if that is what err says.
func (a *assignment) handed(err error) error {
	if err == error(&a.b.refused[ShutDown]) {
		a.b.counts.handedBack.Add(1)
	}
	return err
}

// runsEnded is the number of runs whose function has returned.
func (b *Bulkhead) runsEnded() uint64 {
	n := b.counts.late.Load()
	for i := range b.slots {
		s := &b.slots[i]
		n += s.done.Load() + s.failed.Load()
	}
	return n
}
