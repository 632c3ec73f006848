package load

import "math"

// schedule says when each order is to be sent, in nanoseconds of Unix time. It
// is absolute: being late with one order moves no other.
type schedule struct {
	start int64
	rate  float64 // orders a second
}

// at is when order i is due.
func (s schedule) at(i int) int64 { return s.start + int64(float64(i)*1e9/s.rate) }

// before is how many orders are due before t.
func (s schedule) before(t int64) int {
	if t <= s.start {
		return 0
	}
	n := int(math.Ceil(float64(t-s.start) * s.rate / 1e9))
	for n > 0 && s.at(n-1) >= t {
		n--
	}
	for s.at(n) < t {
		n++
	}
	return n
}
