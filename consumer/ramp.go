package consumer

import (
	"context"
	"sync"
)

// ramp lets a service that has just recovered have 1 order at a time, then 2, then
// 4, until all slots are in use: the other side has just got up, and a full load at
// once may knock it over again. It begins when the breaker opens and matters from
// when it closes; each step is as many orders as the step is wide.
type ramp struct {
	slots int

	mu     sync.Mutex
	width  int // orders at a time; zero: any number
	taken  int // by orders that have begun and not ended
	ended  int // in this step
	change chan struct{}
}

func newRamp(slots int) *ramp { return &ramp{slots: slots, change: make(chan struct{})} }

// restart begins with one.
func (r *ramp) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.width, r.ended = 1, 0
}

// over reports whether any number may begin.
func (r *ramp) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.width == 0
}

// take waits for room for one order until ctx ends, and returns for how many there
// is room, at most n. Each that is taken is given back, by end or unused.
func (r *ramp) take(ctx context.Context, n int) (int, error) {
	for {
		r.mu.Lock()
		room := n
		if r.width > 0 {
			room = min(n, r.width-r.taken)
		}
		if room > 0 {
			r.taken += room
			r.mu.Unlock()
			return room, nil
		}
		change := r.change
		r.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// unused gives back what was taken and not needed.
func (r *ramp) unused(n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= n
	if r.width > 0 {
		r.wake()
	}
}

// end says that an order has ended.
func (r *ramp) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken--
	if r.width == 0 {
		return
	}
	if r.ended++; r.ended >= r.width {
		r.width, r.ended = 2*r.width, 0
		if r.width >= r.slots {
			r.width = 0
		}
	}
	r.wake()
}

func (r *ramp) wake() {
	close(r.change)
	r.change = make(chan struct{})
}
