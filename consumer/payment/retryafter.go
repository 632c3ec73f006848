package payment

import (
	"net/http"
	"strconv"
	"time"
)

// maxWait bounds what a gateway can ask for, so that a nonsense value doesn't
// overflow.
const maxWait = 24 * time.Hour

// retryAfter reads Retry-After, as seconds or as an HTTP date. A date is taken
// relative to the server's own Date, so that it needs no agreed clock, and to
// now when there is none. It reports false when nothing usable is there.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if s, err := strconv.ParseInt(v, 10, 64); err == nil {
		if s < 0 {
			return 0, false
		}
		if s > int64(maxWait/time.Second) {
			return maxWait, true
		}
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return min(max(at.Sub(now), 0), maxWait), true
}
