package consumer

import (
	"context"
	"sync"
)

// share is how many slots returning retries may hold: as many as there are while
// no fresh order waits, and otherwise a part, so that a storm of retries can't
// starve fresh orders. The reverse needs no rule: who waits for a slot gets it in
// turn.
type share struct {
	limit int // while fresh orders wait

	mu      sync.Mutex
	held    int
	waiting bool          // fresh orders do, as far as the main lane knows
	change  chan struct{} // closed when somebody who waits should look again
}

// newShare begins careful: the main lane hasn't looked yet.
func newShare(limit int) *share {
	return &share{limit: limit, waiting: true, change: make(chan struct{})}
}

// take waits for a place until ctx ends and reports whether it got one.
func (s *share) take(ctx context.Context) bool {
	for {
		s.mu.Lock()
		if s.held < s.limit || !s.waiting {
			s.held++
			s.mu.Unlock()
			return true
		}
		change := s.change
		s.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return false
		}
	}
}

// put gives a place back.
func (s *share) put() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.wake()
}

// fresh says whether fresh orders wait.
func (s *share) fresh(waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != waiting {
		s.waiting = waiting
		s.wake()
	}
}

// room is how many messages a lane may ask for: never more than the share, so
// that what it has in hand gets its slots in time.
func (s *share) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiting {
		return s.limit
	}
	return max(0, s.limit-s.held)
}

func (s *share) wake() {
	close(s.change)
	s.change = make(chan struct{})
}
