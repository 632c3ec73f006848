package bulkhead

import (
	"fmt"
	"math"
)

// Resize changes the number of slots, to anything from 1 to
// [Config.MaxSlots]. It never waits: new slots are there at once, and go to
// who waits; when there are to be fewer, the free ones go at once and the taken
// ones as they come back, ghosts last. Until then [Stats] shows more Slots than
// its Target. The error names a number that is out of bounds, or is the
// [*Rejection] of [ErrClosed].
func (b *Bulkhead) Resize(slots int) error {
	if slots < 1 || slots > b.cfg.MaxSlots {
		return fmt.Errorf("resize %s: %d slots: want 1 to Config.MaxSlots, %d", title(b.cfg.Name), slots, b.cfg.MaxSlots)
	}
	fresh, err := b.resize(slots)
	for _, s := range fresh {
		b.release(s)
	}
	b.match()
	return err
}

// resize settles how many slots are owed and returns those that are new.
func (b *Bulkhead) resize(slots int) (fresh []*slot, err error) {
	b.sizing.Lock()
	defer b.sizing.Unlock()
	if b.closed.Load() {
		return nil, &b.refused[ShutDown]
	}
	for target := int(b.target.Swap(int64(slots))); target != slots; {
		switch {
		case target > slots:
			b.owed.Add(1)
			b.watch.Add(1)
			target--
		case b.owed.Load() > 0: // not taken away yet: keep it
			b.owed.Add(-1)
			b.watch.Add(-1)
			target++
		default:
			last := len(b.spare) - 1
			fresh = append(fresh, b.spare[last])
			b.spare = b.spare[:last]
			b.total.Add(1)
			target++
		}
	}
	return fresh, nil
}

// withdraw takes a slot away if one is owed: for a later Resize to more, or
// after Close for good.
func (b *Bulkhead) withdraw(s *slot) bool {
	if b.owed.Load() == 0 {
		return false
	}
	b.sizing.Lock()
	defer b.sizing.Unlock()
	if b.owed.Load() == 0 {
		return false
	}
	s.dismiss()
	b.total.Add(-1)
	if b.closed.Load() {
		b.leave()
	} else {
		b.owed.Add(-1)
		b.watch.Add(-1)
		b.spare = append(b.spare, s)
	}
	return true
}

// withdrawAll is Close's part: every slot is owed, whenever it comes back.
func (b *Bulkhead) withdrawAll() {
	b.sizing.Lock()
	b.owed.Store(math.MaxInt64)
	b.watch.Add(1)
	for range b.spare {
		b.leave()
	}
	b.spare = nil
	b.sizing.Unlock()
	b.match()
}

// size is the number of slots there are, the owed ones included.
func (b *Bulkhead) size() int { return int(b.total.Load()) }
