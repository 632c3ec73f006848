package figure_test

import (
	"fmt"
	"time"

	"github.com/watertight-go/watertight/internal/figure"
)

func ExampleMillis() {
	for _, d := range []time.Duration{0, 940 * time.Microsecond, 99949 * time.Microsecond, 3210 * time.Millisecond, time.Hour} {
		fmt.Println(figure.Millis(d))
	}
	// Output:
	// 0.0 ms
	// 0.9 ms
	// 99.9 ms
	// 3,210 ms
	// 3,600,000 ms
}

func ExamplePercent() {
	fmt.Println(figure.Percent(1), figure.Percent(0.99999), figure.Percent(0.13), figure.Percent(0))
	// Output: 100 % 99.9 % 13.0 % 0.0 %
}

func ExampleCount() {
	fmt.Println(figure.Count(999), figure.Count(12345), figure.Count(1000000), figure.Count(-1234))
	// Output: 999 12,345 1,000,000 -1,234
}
