package main

import (
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// group is one question and those who answer it. The first contestant is what
// the others are compared with.
type group struct {
	name        string
	contestants []contestant
}

// contestant makes something to be measured: op is called very often, by
// several goroutines; end, if there is one, when all is over.
type contestant struct {
	name string
	make func() (op func(), end func())

	aim    float64 // ratio to the first of its group, at most; 0: none
	allocs float64 // an operation, at most; looked at if there is an aim
	gain   float64 // how many times dearer failsafe-go must be, at least; 0: no claim
	rival  bool    // is failsafe-go
}

// figure is what was measured of one contestant with one number of goroutines.
type figure struct {
	cpu    float64 // nanoseconds an operation
	allocs float64 // an operation
	ratio  float64 // to the first of the group, in the same round
	gain   float64 // of the group's rival to this one, in the same round
}

// table is a group's figures, by contestant and number of goroutines.
type table struct {
	group   group
	figures [][]figure
}

// compare measures a group in interleaved rounds.
func compare(g group, crowds []int, rounds int, each time.Duration) table {
	t := table{group: g, figures: make([][]figure, len(g.contestants))}
	for i := range t.figures {
		t.figures[i] = make([]figure, len(crowds))
	}
	for c, crowd := range crowds {
		ops, calls := make([]func(), len(g.contestants)), make([]int, len(g.contestants))
		for i, one := range g.contestants {
			op, end := one.make()
			if end != nil {
				defer end()
			}
			ops[i] = op
			calls[i] = calibrate(op, crowd, each)
		}
		samples := make([][]figure, len(g.contestants))
		for range rounds {
			round := make([]figure, len(ops))
			for i, op := range ops {
				round[i].cpu, round[i].allocs = measure(op, crowd, calls[i])
			}
			rival := slices.IndexFunc(g.contestants, func(c contestant) bool { return c.rival })
			for i := range round {
				round[i].ratio = round[i].cpu / round[0].cpu
				if rival >= 0 {
					round[i].gain = round[rival].cpu / round[i].cpu
				}
				samples[i] = append(samples[i], round[i])
			}
		}
		for i, s := range samples {
			t.figures[i][c] = figure{
				cpu:    median(s, func(f figure) float64 { return f.cpu }),
				allocs: median(s, func(f figure) float64 { return f.allocs }),
				ratio:  median(s, func(f figure) float64 { return f.ratio }),
				gain:   median(s, func(f figure) float64 { return f.gain }),
			}
		}
	}
	return t
}

// calibrate returns how many operations take about that much CPU time.
func calibrate(op func(), crowd int, each time.Duration) int {
	for n := 100; ; n *= 4 {
		before := cpuTime()
		run(op, crowd, n)
		if took := cpuTime() - before; took > each/4 {
			return max(n, int(float64(n)*float64(each)/float64(took)))
		}
	}
}

// measure returns CPU nanoseconds and allocations an operation.
func measure(op func(), crowd, n int) (cpu, allocs float64) {
	runtime.GC() // others' garbage is not this one's
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	mallocs, before := m.Mallocs, cpuTime()
	run(op, crowd, n)
	took := cpuTime() - before
	runtime.ReadMemStats(&m)
	return float64(took) / float64(n), float64(m.Mallocs-mallocs) / float64(n)
}

// run calls op n times, by several goroutines.
func run(op func(), crowd, n int) {
	var wg sync.WaitGroup
	for i := range crowd {
		share := n / crowd
		if i < n%crowd {
			share++
		}
		wg.Go(func() {
			for range share {
				op()
			}
		})
	}
	wg.Wait()
}

// cpuTime is what this process has used so far, in all its threads.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // no figure without it
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(s []figure, of func(figure) float64) float64 {
	v := make([]float64, len(s))
	for i, f := range s {
		v[i] = of(f)
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
