package notification

import (
	"context"
	"sync"
	"time"
)

// pool lends connections, a mail at a time each. What is lent and what is kept
// together never exceed its size, because a new one is opened only when none is
// kept.
type pool struct {
	slots  chan struct{}
	idle   time.Duration
	open   func(context.Context) (*conn, error)
	closed chan struct{}

	mu   sync.Mutex
	kept []*conn // the last used is the last, and taken first: a quiet time lets the others go stale together
	shut bool
}

func newPool(size int, idle time.Duration, open func(context.Context) (*conn, error)) *pool {
	return &pool{slots: make(chan struct{}, size), idle: idle, open: open, closed: make(chan struct{})}
}

// take waits for its turn and returns a kept connection or a new one. The caller
// puts it back.
func (p *pool) take(ctx context.Context) (*conn, error) {
	select {
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case p.slots <- struct{}{}:
	}
	c, err := p.get(ctx)
	if err != nil {
		<-p.slots
	}
	return c, err
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	select {
	case <-p.closed: // and a slot was free as well
		return nil, ErrClosed
	default:
	}
	if c, ok := p.keptOne(); ok {
		return c, nil
	}
	return p.open(ctx) // put closes it when the pool is closed meanwhile
}

func (p *pool) keptOne() (c *conn, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stale := 0
	for stale < len(p.kept) && time.Since(p.kept[stale].used) > p.idle {
		p.kept[stale].close()
		stale++
	}
	p.kept = append(p.kept[:0], p.kept[stale:]...)
	if len(p.kept) == 0 {
		return nil, false
	}
	c = p.kept[len(p.kept)-1]
	p.kept = p.kept[:len(p.kept)-1]
	return c, true
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	if c.broken || p.shut {
		c.close()
	} else {
		c.used = time.Now()
		p.kept = append(p.kept, c)
	}
	p.mu.Unlock()
	<-p.slots
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return
	}
	p.shut = true
	close(p.closed)
	for _, c := range p.kept {
		c.close()
	}
	p.kept = nil
}
