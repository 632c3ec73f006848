package demo

import (
	"fmt"
	"strconv"
	"time"
)

// millis writes a duration in milliseconds: "5.8 ms", "3,210 ms".
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 100 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return count(int(ms+0.5)) + " ms"
}

// percent writes a share, and "100 %" only when it is all.
func percent(share float64) string {
	if share == 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", min(share*100, 99.9))
}

// count writes a number with its thousands apart: "12,345".
func count(n int) string {
	if n < 0 {
		return "-" + count(-n)
	}
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return count(n/1000) + fmt.Sprintf(",%03d", n%1000)
}
