package consumer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Wherever a process or a broker is killed, every order ends exactly once in each
// service.
func TestCrash_AtAnyPointEndsEveryOrderOnce(t *testing.T) {
	for victim, tt := range map[string]struct {
		kill     victims
		services []order.Service
	}{
		"process":            {victims{process: true}, order.Services()},
		"broker":             {victims{broker: true}, []order.Service{order.Payment}},
		"process and broker": {victims{process: true, broker: true}, []order.Service{order.Payment}},
	} {
		for name, st := range stories() {
			t.Run(victim+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := newTrial(t, st, tt.services...)
					n := x.each(tt.kill)
					// Each request, what became of it and its acknowledgement.
					if least := 3 * 2 * st.asks * len(tt.services); n-1 < least {
						t.Errorf("%d chances, want at least %d: the test shows nothing", n-1, least)
					}
					x.verify(n)
				})
			})
		}
	}
}

// An order that comes for the third time is marked, runs and is unmarked: wherever
// its process is killed meanwhile, it is neither buried nor does a mark stay.
func TestCrash_OfASuspectAtAnyPointIsNoPoison(t *testing.T) {
	for name, kill := range map[string]victims{"process": {process: true}, "process and broker": {process: true, broker: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := story{answer: func(int, bool) error { return nil }, suspect: true, asks: 1}
				x := newTrial(t, st, order.Payment)
				n := x.each(kill)
				if least := 5 * 2; n-1 < least { // with the mark, twice
					t.Errorf("%d chances, want at least %d: the test shows nothing", n-1, least)
				}
				x.verify(n)
				if !kill.broker { // which forgets how often it delivered
					equal(t, "crash marks", len(x.marks()), 0)
				}
			})
		})
	}
}

// Outcomes of several slots share a message. Wherever the process that stores and
// acknowledges them is killed, none is lost.
func TestCrash_AmongOrdersThatEndTogetherLosesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrial(t, story{answer: func(int, bool) error { return nil }, asks: 1}, order.Payment)
		x.at = 4
		n := x.each(victims{process: true})
		if least := 2 * (4 + 2 + 4); n-1 < least { // requests, two packs, acknowledgements
			t.Errorf("%d chances, want at least %d: the test shows nothing", n-1, least)
		}
		x.verify(n)
	})
}

// An order that comes again while its retry waits already is not retried twice.
func TestCrash_BetweenStoringARetryAndAcknowledgingLeavesOneRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := story{answer: func(int, bool) error { return errBusy }}
		x := newTrial(t, st, order.Payment)
		x.retry[0] = time.Hour
		x.live(4) // before and after the request, before and after the retry
		o := x.placeOne()
		x.rest(victims{process: true})
		equal(t, "requests", x.world.requests["payment/"+o.ID], 2)
		equal(t, "waiting retries", x.subjects("RETRY_PAYMENT"), map[string]uint64{"retry.payment.t1": 1})
		x.settled()
		x.stop()
	})
}

// What is done is done, though its deadline has passed when the broker, which was
// killed, delivers it again.
func TestCrash_WhatIsDoneDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrial(t, story{answer: func(int, bool) error { return nil }}, order.Payment)
		x.live(forEver)
		o, _ := placed(t)
		o.Deadline = time.Now().Add(10 * time.Millisecond) // less than it takes to connect again
		body, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		x.place(o.ID, body)
		x.killBroker()
		pass(time.Minute)
		equal(t, "outcomes", x.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		equal(t, "letters", len(x.letters()), 0)
		x.settled()
		x.stop()
	})
}
