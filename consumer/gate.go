package consumer

import (
	"context"
	"sync"
	"time"
)

// Gate lets one message run with no other handler of the process running, so that
// it is known who took the process down if it goes down. All groups of a process
// must share one. While nobody asks to be alone, a gate costs two short locks an
// order.
//
// It waits on channels only: in a synctest bubble a goroutine that is blocked on a
// mutex would stop the clock.
type Gate struct {
	turn chan struct{} // who holds it is alone, or about to be

	mu     sync.Mutex
	inside int           // handlers that run
	ghosts int           // of these, handlers that outlived their timeout
	closed chan struct{} // closed when the gate is open again; nil: it is open
	empty  chan struct{} // closed when nobody is inside any more; nil: nobody waits for that
}

// NewGate returns a gate for the groups of one process.
func NewGate() *Gate { return &Gate{turn: make(chan struct{}, 1)} }

// tryEnter goes in as one of many. When the gate is closed it doesn't, and returns
// what tells that it is open again.
func (g *Gate) tryEnter() (closed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.inside++
	}
	return g.closed
}

// enter goes in as one of many, when the gate is open; it reports whether that was
// so before ctx ended.
func (g *Gate) enter(ctx context.Context) bool {
	for {
		closed := g.tryEnter()
		if closed == nil {
			return true
		}
		select {
		case <-closed:
		case <-ctx.Done():
			return false
		}
	}
}

// leave is the end of enter.
func (g *Gate) leave(ghost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if ghost {
		g.ghosts--
	}
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// haunt says that one of those inside is a ghost from now on.
func (g *Gate) haunt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ghosts++
}

// enterAlone closes the gate and waits until those inside have left; it reports
// whether they had before ctx ended. Nobody knows when a ghost leaves: while one
// is inside, the answer is no at once, and the gate stays open.
func (g *Gate) enterAlone(ctx context.Context) bool {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	g.mu.Lock()
	if g.ghosts > 0 {
		g.mu.Unlock()
		<-g.turn
		return false
	}
	g.closed = make(chan struct{})
	var empty chan struct{}
	if g.inside > 0 {
		empty = make(chan struct{})
		g.empty = empty
	}
	g.mu.Unlock()
	if empty == nil {
		return true
	}
	select {
	case <-empty:
		return true
	case <-ctx.Done():
		g.leaveAlone(false)
		return false
	}
}

// leaveAlone is the end of enterAlone; a ghost stays inside, as one of many.
func (g *Gate) leaveAlone(ghost bool) {
	g.mu.Lock()
	if ghost {
		g.inside++
		g.ghosts++
	}
	close(g.closed)
	g.closed, g.empty = nil, nil
	g.mu.Unlock()
	<-g.turn
}

// ghostWatch is for how long a ghost counts as somebody who may take the process
// down. One that hung so long hangs on something, and must not keep a suspect from
// its turn for ever.
const ghostWatch = time.Minute

// passage is a delivery's way through the gate. The slot's goroutine ends it, or
// for a ghost, the watch.
type passage struct {
	gate *Gate

	mu    sync.Mutex
	state passageState
}

type passageState uint8

const (
	outside passageState = iota
	among                // one of many
	alone
	haunting // a ghost, one of many
)

func (p *passage) tryEnter() bool {
	if p.gate.tryEnter() != nil {
		return false
	}
	p.state = among
	return true
}

func (p *passage) enter(ctx context.Context) bool {
	if !p.gate.enter(ctx) {
		return false
	}
	p.state = among
	return true
}

func (p *passage) enterAlone(ctx context.Context) bool {
	if !p.gate.enterAlone(ctx) {
		return false
	}
	p.state = alone
	return true
}

// leave ends the passage, if it hasn't ended.
func (p *passage) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case among, haunting:
		p.gate.leave(p.state == haunting)
	case alone:
		p.gate.leaveAlone(false)
	case outside:
	}
	p.state = outside
}

// haunt makes a passage whose handler still runs that of a ghost.
func (p *passage) haunt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case among:
		p.gate.haunt()
	case alone:
		p.gate.leaveAlone(true)
	case outside, haunting:
		return
	}
	p.state = haunting
	time.AfterFunc(ghostWatch, p.leave)
}
