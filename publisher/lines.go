package publisher

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Status says what became of a line.
type Status string

// What becomes of a line.
const (
	Stored    Status = "stored"
	Duplicate Status = "duplicate" // the broker has that id already and kept what it had
	Failed    Status = "failed"    // see Result.Error
)

// Result is what became of one line.
type Result struct {
	Line   int    `json:"line"`         // from 1, blank lines counted
	ID     string `json:"id,omitempty"` // empty when the line has none that can be read
	Status Status `json:"status"`

	// Seq is the order's sequence in broker.StreamOrders; zero when it failed.
	Seq   uint64 `json:"seq,omitzero"`
	Error string `json:"error,omitempty"`

	// Err is what Error says, to branch on.
	Err error `json:"-"`
}

// Summary counts results.
type Summary struct {
	Stored    int `json:"stored"`
	Duplicate int `json:"duplicate"`
	Failed    int `json:"failed"`
}

// LinesConfig says how Lines reads. The zero value works.
type LinesConfig struct {
	// GenerateIDs gives an order without an id a fresh one. A file that is
	// read twice then places such orders twice: it is for trying things out.
	// Defaults to false: an order without an id fails.
	GenerateIDs bool

	// Window is how many orders may be under way, and so how many lines are
	// read ahead of the first that has no result. Defaults to DefaultWindow.
	Window int
}

// Lines places the orders that r holds, one JSON object a line, and calls report
// for each line, one at a time and in the order of the input. A line that fails
// doesn't stop the next: the same input again, after what was wrong is mended,
// places what is missing and reports the rest as duplicates. (Beyond the two
// minutes for which the broker knows an id, such an order is stored again, and the
// services take it as the one they know.)
//
// Blank lines are skipped. A line may end with CRLF, the last one without
// anything, and the first may begin with a byte order mark. A line longer than
// order.MaxBytes fails without being kept in memory.
//
// Lines returns at the end of r, or with the error of r, report or ctx; what is
// under way gets its report before, except after an error of report. When ctx
// ends during a Read, as at a terminal, that Read is left behind: nothing can
// interrupt it.
func (p *Publisher) Lines(ctx context.Context, r io.Reader, cfg LinesConfig, report func(Result) error) (Summary, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pipeline := p.Pipeline(cfg.Window)
	results := make(chan chan Result, cap(pipeline.window)) // of the lines, in their order
	read := make(chan text)
	var broken error // why not all was read; written before results is closed
	go scan(ctx, r, read)
	go func() {
		defer close(results)
		broken = place(ctx, pipeline, read, results, cfg)
	}()

	var sum Summary
	var refused error
	for pending := range results {
		res := <-pending
		if refused != nil {
			continue
		}
		sum.count(res.Status)
		if refused = report(res); refused != nil {
			stop()
		}
	}
	if err := cmp.Or(refused, broken); err != nil {
		return sum, fmt.Errorf("publish lines: %w", err)
	}
	return sum, nil
}

// place hands the lines that are read to the pipeline until the input or ctx
// ends. For each it sends where its result will be.
func place(ctx context.Context, pipeline *Pipeline, read <-chan text, results chan<- chan Result, cfg LinesConfig) error {
	for {
		var t text
		select {
		case t = <-read:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if t.end != nil {
			if errors.Is(t.end, io.EOF) {
				return nil
			}
			return fmt.Errorf("read line %d: %w", t.n, t.end)
		}
		pending := make(chan Result, 1)
		res := Result{Line: t.n}
		o, err := t.order(cfg.GenerateIDs)
		res.ID = o.ID
		if err == nil {
			err = pipeline.Place(ctx, o, func(r broker.Receipt, err error) { pending <- res.with(r, err) })
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx) // it was not placed
			}
			pending <- res.with(broker.Receipt{}, err)
		}
		results <- pending
	}
}

// with completes a result.
func (r Result) with(receipt broker.Receipt, err error) Result {
	switch {
	case err != nil:
		r.Status, r.Error, r.Err = Failed, err.Error(), err
	case receipt.Duplicate:
		r.Status, r.Seq = Duplicate, receipt.Seq
	default:
		r.Status, r.Seq = Stored, receipt.Seq
	}
	return r
}

func (s *Summary) count(status Status) {
	switch status {
	case Stored:
		s.Stored++
	case Duplicate:
		s.Duplicate++
	case Failed:
		s.Failed++
	}
}

// text is one line that isn't blank, or why there are no more.
type text struct {
	n    int // from 1
	data []byte
	long bool // beyond order.MaxBytes; data is not kept
	end  error
}

// order reads the line.
func (t text) order(generate bool) (order.Order, error) {
	if t.long {
		return order.Order{}, fmt.Errorf("%w: the line has more than %d bytes", order.ErrTooLarge, order.MaxBytes)
	}
	data := t.data
	if generate {
		data = withID(data)
	}
	return order.Parse(data)
}

// withID gives an object that has no id a fresh one, as its first member. What
// isn't an object, or not a sound one, stays as it is: Parse will say why.
func withID(data []byte) []byte {
	var has struct {
		ID jsontext.Value `json:"id"`
	}
	if json.Unmarshal(data, &has) != nil || has.ID != nil {
		return data
	}
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(data), []byte("{"))
	if !ok {
		return data
	}
	id := `{"id":"` + order.NewID() + `"`
	if !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		id += ","
	}
	return append([]byte(id), rest...)
}

// byteOrderMark may begin a file that was written on Windows.
var byteOrderMark = []byte("\ufeff")

// scan sends the lines of r that aren't blank, and at last why they end. It returns
// early when ctx ends.
func scan(ctx context.Context, r io.Reader, lines chan<- text) {
	send := func(t text) bool {
		select {
		case lines <- t:
			return true
		case <-ctx.Done():
			return false
		}
	}
	in := bufio.NewReaderSize(r, order.MaxBytes+len(byteOrderMark)+len("\r\n"))
	for n := 1; ; n++ {
		data, err := in.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			data, err = in.ReadSlice('\n')
		}
		if n == 1 && !long {
			data = bytes.TrimPrefix(data, byteOrderMark)
		}
		data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
		long = long || len(data) > order.MaxBytes
		switch {
		case err != nil && !errors.Is(err, io.EOF): // half a line is none
		case long:
			if !send(text{n: n, long: true}) {
				return
			}
		case len(bytes.TrimSpace(data)) > 0:
			if !send(text{n: n, data: bytes.Clone(data)}) {
				return
			}
		}
		if err != nil {
			send(text{n: n, end: err})
			return
		}
	}
}
