package consumer_test

import (
	"context"
	"errors"
	"sync"

	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// story is an order's way through a service: what the outside world answers to the
// n-th request for it, from 1, before and after somebody has mended the world.
type story struct {
	answer   func(n int, mended bool) error
	suspect  bool // it has come twice before
	fallback bool // pending is what customers learn
	replay   bool // the letters are replayed once the world is mended
	dead     bool // how it ends
	asks     int  // requests when nothing is killed
}

var (
	errBusy    = errors.New("busy")
	errUnknown = order.Reject(errors.New("unknown"))
)

func stories() map[string]story {
	return map[string]story{
		"done": {answer: func(int, bool) error { return nil }, asks: 1},
		"dead": {answer: func(int, bool) error { return errUnknown }, dead: true, asks: 1},
		"busy, unknown, replayed": {answer: func(n int, mended bool) error {
			switch {
			case n == 1:
				return errBusy
			case !mended:
				return errUnknown
			default:
				return nil
			}
		}, fallback: true, replay: true, asks: 3},
	}
}

// outside is the world outside, on which handlers have their effects.
type outside struct {
	story
	mu       sync.Mutex
	mended   bool
	requests map[string]int // by idempotency key
}

func (w *outside) request(key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[key]++
	return w.answer(w.requests[key], w.mended)
}

func (w *outside) mend(mended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mended = mended
}

var done = map[order.Service]order.Result{order.Payment: order.Authorized, order.Inventory: order.Reserved, order.Notification: order.Sent}

// handler is a service's in one life.
func (w *outside) handler(s order.Service, l *life) consumer.Handler {
	h := handle(func(ctx context.Context, o order.Order) (order.Outcome, error) {
		if !l.chance() {
			<-ctx.Done()
			return order.Outcome{}, errKilled
		}
		err := w.request(string(s) + "/" + o.ID)
		l.chance()
		return order.Outcome{Result: done[s]}, err
	})
	if !w.fallback {
		return h
	}
	return teller{h, func(error) (order.Outcome, error) { return order.Outcome{Result: order.Pending}, nil }}
}
