package load

import (
	"time"

	"github.com/watertight-go/watertight/order"
)

// Stats is how one service did with the orders of one phase. Latency runs from
// the intended send to the stored outcome; an order that isn't finished at the
// cut counts with its age then.
type Stats struct {
	Service order.Service

	// Samples is how many well-formed orders were meant to be sent in the
	// phase.
	Samples int

	// Finished is the share of Samples that was settled (a final outcome or a
	// dead letter) by the cut: the phase's end and 200 ms.
	Finished float64

	// Windows is how many whole 1-s windows the phase has, and W50 and W99
	// are the medians over them of the window's p50 and p99. One stall moves
	// one window, so a verdict built on them doesn't hang on it.
	Windows  int
	W50, W99 time.Duration

	// P50, P99 and Max are over all samples of the phase.
	P50, P99, Max time.Duration

	// MinWindow is the fewest samples that any window has.
	MinWindow int
}
