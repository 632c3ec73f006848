package load

import (
	"fmt"
	"math"
	"time"
)

// Profile is how many orders a second are sent over time, leg by leg. What the
// last leg ends with goes on for ever.
type Profile []Leg

// Leg is a time in which the rate changes evenly.
type Leg struct {
	For      time.Duration
	From, To float64 // orders a second
}

// The limits of a rate.
const (
	minRate = 1e-3
	maxRate = 1e6
)

// Steady is the same rate for ever.
func Steady(rate float64) Profile { return Profile{{For: time.Hour, From: rate, To: rate}} }

// Ramp begins with nothing and rises to the rate.
func Ramp(rate float64, d time.Duration) Profile { return Profile{{For: d, To: rate}} }

// Spike is steady, but for five times the rate in the tenth in the middle.
func Spike(rate float64, d time.Duration) Profile {
	side := d * 9 / 20
	return Profile{{side, rate, rate}, {d - 2*side, 5 * rate, 5 * rate}, {side, rate, rate}}
}

// Sale opens with a fifth of the rate, rises to it in a tenth of the time, stays
// there for six, and ebbs away to a fifth again.
func Sale(rate float64, d time.Duration) Profile {
	return Profile{{d / 10, rate / 5, rate}, {d * 6 / 10, rate, rate}, {d - d/10 - d*6/10, rate, rate / 5}}
}

// Orders is how many orders a profile sends in a time.
func (p Profile) Orders(d time.Duration) int {
	return newSchedule(time.Unix(0, 0), p).before(int64(d))
}

func (p Profile) validate() error {
	if len(p) == 0 {
		return fmt.Errorf("a profile needs a leg")
	}
	for i, l := range p {
		if l.For <= 0 {
			return fmt.Errorf("leg %d of the profile must have a length, got %v", i+1, l.For)
		}
		for _, rate := range []float64{l.From, l.To} {
			if math.IsNaN(rate) || rate < 0 || rate > maxRate {
				return fmt.Errorf("leg %d of the profile: rate must be 0 to 1,000,000 orders a second, got %v", i+1, rate)
			}
		}
		if l.From < minRate && l.To < minRate {
			return fmt.Errorf("leg %d of the profile sends nothing", i+1)
		}
	}
	if last := p[len(p)-1].To; last < minRate {
		return fmt.Errorf("the profile must end with at least %v orders a second, got %v", minRate, last)
	}
	return nil
}

// schedule says when each order is to be sent, in nanoseconds of Unix time. It
// is absolute: being late with one order moves no other.
type schedule struct {
	start int64
	legs  []leg
}

// leg is a Leg, and where it begins.
type leg struct {
	begin int64   // after the start, in ns
	count float64 // of orders before it
	rate  float64 // orders a second at its begin
	slope float64 // and how that changes in a second
}

func newSchedule(start time.Time, p Profile) schedule {
	s := schedule{start: start.UnixNano()}
	var at leg
	for _, l := range p {
		seconds := l.For.Seconds()
		at.rate, at.slope = l.From, (l.To-l.From)/seconds
		s.legs = append(s.legs, at)
		at.begin += int64(l.For)
		at.count += (l.From + l.To) / 2 * seconds
	}
	if last := p[len(p)-1]; last.From != last.To {
		at.rate, at.slope = last.To, 0
		s.legs = append(s.legs, at)
	}
	return s
}

// at is when order i is due.
func (s schedule) at(i int) int64 {
	l := s.legs[0]
	for _, next := range s.legs[1:] {
		if next.count > float64(i) {
			break
		}
		l = next
	}
	n := float64(i) - l.count
	if l.slope == 0 {
		return s.start + l.begin + int64(n*1e9/l.rate)
	}
	if n == 0 {
		return s.start + l.begin
	}
	// The time t in which rate·t + slope·t²/2 orders are sent.
	root := math.Sqrt(max(0, l.rate*l.rate+2*l.slope*n))
	return s.start + l.begin + int64(2*n/(l.rate+root)*1e9)
}

// before is how many orders are due before t.
func (s schedule) before(t int64) int {
	if t <= s.start {
		return 0
	}
	l := s.legs[0]
	for _, next := range s.legs[1:] {
		if s.start+next.begin >= t {
			break
		}
		l = next
	}
	seconds := float64(t-s.start-l.begin) / 1e9
	n := int(math.Ceil(l.count + l.rate*seconds + l.slope*seconds*seconds/2))
	for n > 0 && s.at(n-1) >= t {
		n--
	}
	for s.at(n) < t {
		n++
	}
	return n
}
