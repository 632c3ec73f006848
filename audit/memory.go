package audit

import (
	"maps"
	"slices"
	"time"

	"github.com/watertight-go/watertight/order"
)

// memory is what is known from one look to the next. It isn't changed: each look
// makes another.
type memory struct {
	heard  time.Time                   // from the broker
	moved  map[order.Service]time.Time // when it was seen that it had settled something
	still  map[string]still            // queues that are owed something
	alarms map[alarmKey]Alarm          // that stand
}

// still is since when a queue's mark stands where it does.
type still struct {
	mark  uint64
	since time.Time
}

type alarmKey struct {
	kind AlarmKind
	name string
}

func (a Alarm) key() alarmKey { return alarmKey{a.Kind, a.Name} }

// after returns what is known after a look.
func (m memory) after(f facts) memory {
	if m.heard.IsZero() { // the first
		m = memory{heard: f.At, moved: make(map[order.Service]time.Time), alarms: make(map[alarmKey]Alarm)}
	}
	if f.Err != nil {
		return m.unheard(f)
	}
	next := memory{heard: f.At, alarms: make(map[alarmKey]Alarm)}
	next.moved, next.still = m.movement(f)
	for _, a := range slices.Concat(next.standstill(f, m), m.full(f), changed(f.Changes, f.At)) {
		if before, stands := m.alarms[a.key()]; stands {
			a = before
		}
		next.alarms[a.key()] = a
	}
	return next
}

// unheard is what is known when the broker has told nothing. What stood still
// meanwhile, nobody could move: it has its time anew.
func (m memory) unheard(f facts) memory {
	m.still, m.alarms = nil, maps.Clone(m.alarms)
	if f.At.Sub(m.heard) >= silence {
		silent := Alarm{Silent, "", m.heard, f.Err.Error()}
		m.alarms[silent.key()] = silent
	}
	return m
}

// movement compares the queues with those of the look before.
func (m memory) movement(f facts) (moved map[order.Service]time.Time, all map[string]still) {
	moved, all = maps.Clone(m.moved), make(map[string]still)
	for _, q := range f.Queues {
		before, known := m.still[q.Name]
		settled := known && (!q.owed() || before.mark != q.Mark)
		if settled {
			moved[q.Service] = f.At
		}
		if !known || settled {
			before = still{q.Mark, f.At}
		}
		if q.owed() {
			all[q.Name] = before
		}
	}
	return moved, all
}

// standstill returns the alarms of queues that stand still, before being what was
// known before. A service that settles something is given a turn for each of them,
// but not for one whose alarm stands: that is cleared when it moves.
func (m memory) standstill(f facts, before memory) (some []Alarm) {
	for _, q := range f.Queues {
		s, owed := m.still[q.Name]
		if !owed {
			continue
		}
		a := q.alarm(s.since, f.At)
		_, stands := before.alarms[a.key()]
		stood, rested, patience := f.At.Sub(a.Since), f.At.Sub(m.moved[q.Service]), q.AckWait+margin
		if stood >= patience && (stands || rested >= patience || stood >= turn) {
			some = append(some, a)
		}
	}
	return some
}

// full returns the alarms of streams that are nearly full.
func (m memory) full(f facts) (some []Alarm) {
	for _, l := range f.Fills {
		a := l.alarm(f.At)
		if _, stands := m.alarms[a.key()]; l.percent() >= l.limit(stands) {
			some = append(some, a)
		}
	}
	return some
}
