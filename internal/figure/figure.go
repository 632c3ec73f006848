// Package figure writes numbers the way reports show them.
package figure

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Millis writes a duration in milliseconds: "5.8 ms", "3,210 ms".
func Millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 100 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return Count(int(ms+0.5)) + " ms"
}

// Percent writes a share, and "100 %" only when it is all.
func Percent(share float64) string {
	if share == 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", min(share*100, 99.9))
}

// Count writes a number with its thousands apart: "12,345".
func Count(n int) string {
	if n < 0 {
		return "-" + Count(-n)
	}
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return Count(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// Columns writes rows aligned to the right, indented by two. The error is w's.
func Columns(w io.Writer, rows ...[]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, r := range rows {
		fmt.Fprintln(tw, "  "+strings.Join(r, "\t")+"\t")
	}
	return tw.Flush()
}

// MS is a duration in milliseconds, to the microsecond, as documents have it.
func MS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
