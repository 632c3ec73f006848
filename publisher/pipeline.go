package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// ErrClosed is returned by a Pipeline's Place after Close.
var ErrClosed = errors.New("pipeline is closed")

// DefaultWindow is the window of a Pipeline that names none.
const DefaultWindow = 256

// Pipeline places orders without waiting for each: up to a window of them are
// under way at a time. Its methods may be called together.
//
//	Place ──▶ [ window ▒▒▒▒░░░ ] ──▶ broker
//	answer ◀──────────────────────── ack
type Pipeline struct {
	broker Broker
	window chan struct{} // holds one for each order that is under way

	mu       sync.Mutex
	closed   bool
	underWay int
	idle     chan struct{} // closed when closed and nothing is under way
}

// Pipeline returns a pipeline with room for window orders under way. Zero means
// DefaultWindow, and more than broker.MaxAsync means broker.MaxAsync: one
// connection carries no more, and all its pipelines share that.
func (p *Publisher) Pipeline(window int) *Pipeline {
	if window <= 0 {
		window = DefaultWindow
	}
	return &Pipeline{
		broker: p.broker,
		window: make(chan struct{}, min(window, broker.MaxAsync)),
		idle:   make(chan struct{}),
	}
}

// Place hands an order to the broker and returns; when the window is full, it
// waits for room first. After nil, answer is called once, on another goroutine,
// with what Publisher.Place would have returned; until then the order may be
// stored or not. After an error nothing was published and answer is never
// called: order.ErrInvalid, order.ErrTooLarge, ErrClosed, or that of ctx.
//
// Calls of answer may overlap, and each holds its order's place in the window
// until it returns. When ctx ends, what is under way still gets its answer, but
// isn't tried again.
func (l *Pipeline) Place(ctx context.Context, o order.Order, answer func(broker.Receipt, error)) error {
	m, err := Message(o)
	if err == nil {
		err = l.enter(ctx)
	}
	if err != nil {
		return fmt.Errorf("place order %s: %w", o.ID, err)
	}
	f := &flight{
		pipeline: l, ctx: ctx, message: m, answer: answer,
		until: time.Now().Add(Patience), pause: firstPause,
	}
	l.broker.StoreAsync(m, f.answered)
	return nil
}

// enter takes a place in the window.
func (l *Pipeline) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil { // select picks at random
		return err
	}
	select {
	case l.window <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		<-l.window
		return ErrClosed
	}
	l.underWay++
	return nil
}

// leave gives the place back.
func (l *Pipeline) leave() {
	<-l.window
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay--
	if l.closed && l.underWay == 0 {
		close(l.idle)
	}
}

// Close lets no more orders in and waits until every answer has been given, or
// returns the error of ctx. The broker's answer takes five seconds at most, so
// that an order is under way for Patience and that at most. Close may be
// called again, to go on waiting.
func (l *Pipeline) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		if l.underWay == 0 {
			close(l.idle)
		}
	}
	l.mu.Unlock()
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close pipeline: %w", ctx.Err())
	}
}

// flight is one order under way.
type flight struct {
	pipeline *Pipeline
	ctx      context.Context
	message  broker.Message
	answer   func(broker.Receipt, error)
	until    time.Time // when it isn't tried again any more
	pause    time.Duration
}

// answered passes the broker's answer on, or tries again.
func (f *flight) answered(r broker.Receipt, err error) {
	if err != nil && again(err) && f.ctx.Err() == nil && time.Now().Add(f.pause).Before(f.until) {
		time.AfterFunc(f.pause, func() { f.pipeline.broker.StoreAsync(f.message, f.answered) })
		f.pause = min(2*f.pause, longPause)
		return
	}
	if err != nil {
		err = fmt.Errorf("place order %s: %w", f.message.ID, err)
	}
	defer f.pipeline.leave()
	f.answer(r, err)
}
