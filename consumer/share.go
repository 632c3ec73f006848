package consumer

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// share is how many slots returning retries may hold: as many as there are while
// no fresh order waits, and otherwise a part, so that a storm of retries can't
// starve fresh orders. The reverse needs no rule: who waits for a slot gets it in
// turn. A place goes to the lane that has had none for longest, not to the one that
// came first: a lane that puts off what waited too long comes anew, and would be last.
type share struct {
	limit int // while fresh orders wait

	mu      sync.Mutex
	held    int
	waiting bool    // fresh orders do, as far as the main lane knows
	given   uint64  // places so far
	queue   []*turn // of the lanes that wait
}

// turn is a lane's.
type turn struct {
	last uint64        // which of the places it had last; zero: none
	come chan struct{} // closed when it has the next
}

// newShare begins careful: the main lane hasn't looked yet.
func newShare(limit int) *share { return &share{limit: limit, waiting: true} }

// take waits for a place until ctx ends and reports whether it got one. A lane waits
// for one at a time.
func (s *share) take(ctx context.Context, t *turn) bool {
	come := make(chan struct{})
	s.mu.Lock()
	t.come = come
	s.queue = append(s.queue, t)
	s.next()
	s.mu.Unlock()
	select {
	case <-come:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, t)
	if i < 0 {
		return true // it came just now
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return false
}

// put gives a place back.
func (s *share) put() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.next()
}

// fresh says whether fresh orders wait.
func (s *share) fresh(waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = waiting
	s.next()
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

// next gives places to those whose turn it is.
func (s *share) next() {
	for len(s.queue) > 0 && (s.held < s.limit || !s.waiting) {
		t := slices.MinFunc(s.queue, func(a, b *turn) int { return cmp.Compare(a.last, b.last) })
		s.queue = slices.DeleteFunc(s.queue, func(other *turn) bool { return other == t })
		s.held++
		s.given++
		t.last = s.given
		close(t.come)
	}
}
