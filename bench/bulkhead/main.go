// Command bulkhead measures package bulkhead beside what it is made of, beside
// the same written by hand, and beside other libraries, and prints one table.
//
//	go run ./bulkhead                    # about two minutes
//	go run ./bulkhead -rounds 3 -for 5ms # a glance
//
// The figures are CPU time an operation, of all threads, by getrusage: what a
// call costs the machine, whoever else uses it. Absolute ones differ between
// machines and days; ratios are taken between two measurements of the same
// round and the median over the rounds is shown. Each round measures every
// contestant once, so that a slow minute hits them all.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 9, "measurements of each contestant")
	each := flag.Duration("for", 20*time.Millisecond, "CPU time of one measurement, at least")
	only := flag.String("only", "", "measure groups whose name contains this")
	verbose := flag.Bool("v", false, "say on stderr what is being measured")
	flag.Parse()

	crowds := []int{1, 2 * runtime.NumCPU()}
	var tables []table
	for _, g := range groups() {
		if !strings.Contains(g.name, *only) {
			continue
		}
		if *verbose {
			fmt.Fprintln(os.Stderr, g.name)
		}
		tables = append(tables, compare(g, crowds, *rounds, *each))
	}
	fmt.Printf("%s, %d CPUs, GOMAXPROCS %d, %s/%s, median of %d rounds\n\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, *rounds)
	if !show(os.Stdout, tables, crowds) {
		os.Exit(1)
	}
}
