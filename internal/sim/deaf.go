package sim

import (
	"context"

	"github.com/watertight-go/watertight/order"
)

// Handler is what Deaf wraps: the work of a service on one order.
type Handler interface {
	Handle(ctx context.Context, o order.Order) (order.Outcome, error)
}

type fallbacker interface {
	Fallback(ctx context.Context, o order.Order, cause error) (order.Outcome, error)
}

// Deaf returns h with an ear that can be stopped: while the target's fault says
// Deaf, a call ignores its context and blocks, as a handler does that waits for
// a lock or for a library without timeouts. When it is released, because its
// time is over, the fault was switched or the world has ended, it goes on into h
// with a context that can't end: a ghost that succeeds late, when a retry has
// succeeded long ago. Only an idempotency key makes the two one effect.
//
// The returned Handler has a Fallback when h has one; that is never deaf. An
// unknown target panics.
func (w *World) Deaf(t Target, h Handler) Handler {
	w.wrapped[t].Store(true)
	d := &deaf{Handler: h, w: w, t: t}
	if f, ok := h.(fallbacker); ok {
		return struct {
			*deaf
			fallbacker
		}{d, f}
	}
	return d
}

type deaf struct {
	Handler
	w *World
	t Target
}

func (d *deaf) Handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	r := d.w.regimes[d.t].Load()
	face := r.face(o.ID, r.call(o.ID))
	if face.Kind != Deaf {
		return d.Handler.Handle(ctx, o)
	}
	d.w.books.note(func(c *Counts) { c.Deaf[d.t]++ })
	d.w.hold(r.over, face.For, nil)
	d.w.books.note(func(c *Counts) { c.Deaf[d.t]-- })
	return d.Handler.Handle(context.WithoutCancel(ctx), o)
}
