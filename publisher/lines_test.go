package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

func line(t *testing.T, o order.Order) string {
	t.Helper()
	body, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// publish reads lines and returns the results without their error texts.
func publish(t *testing.T, p *publisher.Publisher, r io.Reader, cfg publisher.LinesConfig) ([]publisher.Result, publisher.Summary) {
	t.Helper()
	var got []publisher.Result
	sum, err := p.Lines(t.Context(), r, cfg, func(r publisher.Result) error {
		if (r.Status == publisher.Failed) != (r.Error != "" && r.Err != nil) {
			t.Errorf("line %d is %s with the error %q, %v", r.Line, r.Status, r.Error, r.Err)
		}
		r.Error, r.Err = "", nil
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, sum
}

func TestLines_ReportsEachLineInTheOrderOfTheInput(t *testing.T) {
	b := brokertest.New(t)
	p := publisher.New(b)
	one, two, three := mugs(), mugs(), mugs()
	input := "\ufeff" + line(t, one) + "\r\n" +
		"\n  \t\n" +
		`{"id":` + "\n" +
		line(t, two) + "\n" +
		line(t, one) + "\n" +
		strings.Repeat("x", 3*order.MaxBytes) + "\n" +
		line(t, three)
	want := []publisher.Result{
		{Line: 1, ID: one.ID, Status: publisher.Stored, Seq: 1},
		{Line: 4, Status: publisher.Failed},
		{Line: 5, ID: two.ID, Status: publisher.Stored, Seq: 2},
		{Line: 6, ID: one.ID, Status: publisher.Duplicate, Seq: 1},
		{Line: 7, Status: publisher.Failed},
		{Line: 8, ID: three.ID, Status: publisher.Stored, Seq: 3},
	}
	got, sum := publish(t, p, iotest.OneByteReader(strings.NewReader(input)), publisher.LinesConfig{Window: 2})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(publisher.Summary{Stored: 3, Duplicate: 1, Failed: 2}, sum); diff != "" {
		t.Errorf("summary: -want +got\n%s", diff)
	}
}

func TestLines_AMendedFileReadAgainPlacesWhatIsMissing(t *testing.T) {
	b := brokertest.New(t)
	p := publisher.New(b)
	var good, half []string
	for i := range 20 {
		l := line(t, mugs())
		good = append(good, l)
		if i%2 == 1 {
			l = strings.Replace(l, `"quantity"`, `"quantitty"`, 1)
		}
		half = append(half, l)
	}
	_, sum := publish(t, p, strings.NewReader(strings.Join(half, "\n")), publisher.LinesConfig{})
	if want := (publisher.Summary{Stored: 10, Failed: 10}); sum != want {
		t.Errorf("first run: %+v, want %+v", sum, want)
	}
	wantStored(t, b, 10)
	_, sum = publish(t, p, strings.NewReader(strings.Join(good, "\n")), publisher.LinesConfig{})
	if want := (publisher.Summary{Stored: 10, Duplicate: 10}); sum != want {
		t.Errorf("second run: %+v, want %+v", sum, want)
	}
	wantStored(t, b, 20)
}

func TestLines_AnIDIsRequiredUnlessOneIsMade(t *testing.T) {
	b := brokertest.New(t)
	p := publisher.New(b)
	o := mugs()
	whole := line(t, o)
	without := strings.Replace(whole, `"id":"`+o.ID+`",`, "", 1)
	if without == whole {
		t.Fatalf("no id to remove in %s", whole)
	}
	input := without + "\n" + whole + "\n" + `{}` + "\n" + `[1]` + "\n" + `{"id":null}` + "\n"

	_, sum := publish(t, p, strings.NewReader(input), publisher.LinesConfig{})
	if want := (publisher.Summary{Stored: 1, Failed: 4}); sum != want {
		t.Errorf("without GenerateIDs: %+v, want %+v", sum, want)
	}
	got, _ := publish(t, p, strings.NewReader(input), publisher.LinesConfig{GenerateIDs: true})
	if got[0].Status != publisher.Stored || len(got[0].ID) != 36 {
		t.Errorf("an order without an id: %+v, want it stored under a fresh one", got[0])
	}
	if got[1].Status != publisher.Duplicate || got[1].ID != o.ID {
		t.Errorf("an order with an id: %+v, want it to keep its own", got[1])
	}
	for _, r := range got[3:] {
		if r.Status != publisher.Failed {
			t.Errorf("line %d is %s, want %s", r.Line, r.Status, publisher.Failed)
		}
	}
}

func TestLines_ALineMayBeAsLongAsAnOrder(t *testing.T) {
	b := brokertest.New(t)
	l := line(t, mugs())
	longest := l + strings.Repeat(" ", order.MaxBytes-len(l))
	for name, c := range map[string]struct {
		input string
		want  publisher.Status
	}{
		"as long as allowed":                            {longest + "\n", publisher.Stored},
		"as long as allowed, with everything around it": {"\ufeff" + longest + "\r\n", publisher.Stored},
		"as long as allowed, unended":                   {longest, publisher.Stored},
		"a byte more":                                   {longest + " \n", publisher.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := publish(t, publisher.New(b), strings.NewReader(c.input), publisher.LinesConfig{})
			if len(got) != 1 || got[0].Status == publisher.Failed != (c.want == publisher.Failed) {
				t.Errorf("results = %+v, want one that is %s", got, c.want)
			}
		})
	}
}

func TestLines_ReturnsWhatBrokeTheInput(t *testing.T) {
	b := brokertest.New(t)
	broken := errors.New("cable pulled")
	input := io.MultiReader(strings.NewReader(line(t, mugs())+"\n"+line(t, mugs())), iotest.ErrReader(broken))
	var lines int
	sum, err := publisher.New(b).Lines(t.Context(), input, publisher.LinesConfig{}, func(publisher.Result) error {
		lines++
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("Lines = %v, want %v", err, broken)
	}
	if lines != 1 || sum.Stored != 1 {
		t.Errorf("%d lines reported, %d stored, want 1: the second was not read to its end", lines, sum.Stored)
	}
	wantStored(t, b, 1)
}

func TestLines_StopsWhenNobodyTakesTheReport(t *testing.T) {
	b := brokertest.New(t)
	gone := errors.New("broken pipe")
	var input strings.Builder
	for range 1000 {
		fmt.Fprintln(&input, line(t, mugs()))
	}
	_, err := publisher.New(b).Lines(t.Context(), strings.NewReader(input.String()), publisher.LinesConfig{Window: 4}, func(publisher.Result) error { return gone })
	if !errors.Is(err, gone) {
		t.Errorf("Lines = %v, want %v", err, gone)
	}
	if got := stored(t, b); got > 100 {
		t.Errorf("%d orders were stored after nobody took the report", got)
	}
}

func TestLines_AContextEndsItWithAllReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		defer w.Close()
		go func() {
			for range 3 {
				fmt.Fprintln(w, line(t, mugs()))
			}
			synctest.Wait()
			cancel() // while the reader waits for a fourth
			time.Sleep(time.Second)
			b.answer(3, nil)
		}()
		var lines int
		sum, err := publisher.New(b).Lines(ctx, r, publisher.LinesConfig{}, func(publisher.Result) error {
			lines++
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Lines = %v, want %v", err, context.Canceled)
		}
		if lines != 3 || sum.Stored != 3 {
			t.Errorf("%d lines reported, %d stored, want the 3 that were placed", lines, sum.Stored)
		}
	})
}

func TestLines_ABrokerThatIsFullFailsTheLineAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		go func() {
			synctest.Wait()
			b.answer(1, broker.ErrFull)
			b.answer(1, nil)
		}()
		var got []publisher.Result
		_, err := publisher.New(b).Lines(t.Context(), strings.NewReader(line(t, mugs())+"\n"+line(t, mugs())), publisher.LinesConfig{}, func(r publisher.Result) error {
			got = append(got, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []publisher.Result{{Line: 1, Status: publisher.Failed}, {Line: 2, Status: publisher.Stored}}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(publisher.Result{}, "ID", "Error", "Err")); diff != "" {
			t.Errorf("results: -want +got\n%s", diff)
		}
		if !errors.Is(got[0].Err, broker.ErrFull) {
			t.Errorf("line 1: %v, want %v", got[0].Err, broker.ErrFull)
		}
	})
}
