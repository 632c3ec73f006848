package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// ledgerFunc is a Ledger in one func.
type ledgerFunc func(inventory.Reservation) (inventory.Decision, error)

func (f ledgerFunc) Reserve(_ context.Context, r inventory.Reservation) (inventory.Decision, error) {
	return f(r)
}

func TestHandle_AsksForEachSKUOnce(t *testing.T) {
	o := anOrder("BIKE", 1, "BELL", 2, "BIKE", 3, "AXLE", 1, "BELL", 1)
	var asked inventory.Reservation
	s := inventory.Service{Ledger: ledgerFunc(func(r inventory.Reservation) (inventory.Decision, error) {
		asked = r
		return inventory.Decision{Ref: "r-1"}, nil
	})}
	out, err := s.Handle(t.Context(), o)
	if want := (order.Outcome{Result: order.Reserved, Ref: "r-1"}); err != nil || out != want {
		t.Errorf("got %+v, %v, want %+v", out, err, want)
	}
	want := inventory.Reservation{
		OrderID: uuid.MustParse(o.ID),
		Items:   []inventory.Item{{SKU: "AXLE", Quantity: 1}, {SKU: "BELL", Quantity: 3}, {SKU: "BIKE", Quantity: 4}},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("reservation (-want +got):\n%s", diff)
	}
}

func TestHandle_AsksNothingImpossible(t *testing.T) {
	s := inventory.Service{Ledger: ledgerFunc(func(inventory.Reservation) (inventory.Decision, error) {
		t.Error("the ledger was asked")
		return inventory.Decision{}, nil
	})}
	id := order.NewID()
	lines := anOrder("BIKE", 1).Lines
	for name, o := range map[string]order.Order{
		"no id":                 {Lines: lines},
		"an id of another kind": {ID: "4711", Lines: lines},
		"an id in capitals":     {ID: strings.ToUpper(id), Lines: lines},
		"an id in braces":       {ID: "{" + id + "}", Lines: lines},
		"no lines":              {ID: id},
		"none of a SKU":         {ID: id, Lines: []order.Line{{SKU: "BIKE"}}},
		"less than none":        {ID: id, Lines: []order.Line{{SKU: "BIKE", Quantity: 2}, {SKU: "BIKE", Quantity: -1}}},
		"more than 64 bits":     {ID: id, Lines: []order.Line{{SKU: "BIKE", Quantity: math.MaxInt64}, {SKU: "BIKE", Quantity: 1}}},
	} {
		if out, err := s.Handle(t.Context(), o); !order.IsRejected(err) || !errors.Is(err, order.ErrInvalid) {
			t.Errorf("%s: got %+v, %v, want it rejected", name, out, err)
		}
	}
}

func TestHandle_LeavesItToTheLedgerWhatIsFinal(t *testing.T) {
	broken := errors.New("broken")
	for name, err := range map[string]error{"open": broken, "final": order.Reject(broken)} {
		s := inventory.Service{Ledger: ledgerFunc(func(inventory.Reservation) (inventory.Decision, error) { return inventory.Decision{}, err })}
		out, got := s.Handle(t.Context(), anOrder("BIKE", 1))
		if !errors.Is(got, broken) || order.IsRejected(got) != order.IsRejected(err) || out != (order.Outcome{}) {
			t.Errorf("%s: got %+v, %v", name, out, got)
		}
	}
}

func TestParseStock(t *testing.T) {
	bikes := []inventory.Item{{SKU: "BIKE", Quantity: 3}, {SKU: "BELL.2", Quantity: 0}}
	for name, text := range map[string]string{
		"plain":                   "BIKE,3\nBELL.2,0\n",
		"with a header":           "sku,quantity\nBIKE,3\nBELL.2,0\n",
		"from a spreadsheet":      "\ufeffsku,quantity\r\nBIKE,3\r\nBELL.2,0\r\n",
		"quoted":                  "\"BIKE\",\"3\"\nBELL.2,0\n",
		"with empty lines":        "\nBIKE,3\n\nBELL.2,0\n\n",
		"without a last line end": "BIKE,3\nBELL.2,0",
	} {
		got, err := inventory.ParseStock(strings.NewReader(text), "stock.csv")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(bikes, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, text := range []string{"", "sku,quantity\n", "\ufeff"} {
		if got, err := inventory.ParseStock(strings.NewReader(text), "stock.csv"); err != nil || len(got) != 0 {
			t.Errorf("%q: got %v, %v, want nothing", text, got, err)
		}
	}
	if got, err := inventory.ParseStock(strings.NewReader(load.StockCSV()), "built-in"); err != nil || len(got) != len(load.Catalogue()) {
		t.Errorf("the built-in catalogue: got %d articles, %v, want %d", len(got), err, len(load.Catalogue()))
	}
}

func TestParseStock_SaysWhereAndWhat(t *testing.T) {
	for text, want := range map[string]string{
		"BIKE,3\nBIKE,4\n":             "stock.csv:2: article BIKE stands on line 1 already",
		"sku,quantity\n\nBIKE,-1\n":    "stock.csv:3: quantity -1 is negative",
		"BIKE,9223372036854775808\n":   `stock.csv:1: quantity "9223372036854775808" does not fit in 64 bits`,
		"BIKE,1.5\n":                   `stock.csv:1: quantity "1.5" is not a whole number`,
		"BIKE, 3\n":                    `stock.csv:1: quantity " 3" is not a whole number`,
		"BIKE,\n":                      `stock.csv:1: quantity "" is not a whole number`,
		"BIKE\n":                       "stock.csv:1: want sku,quantity, got 1 fields",
		"BIKE;3\n":                     "stock.csv:1: want sku,quantity, got 1 fields",
		"BIKE,3,red\n":                 "stock.csv:1: want sku,quantity, got 3 fields",
		"Two Bikes,3\n":                `stock.csv:1: SKU "Two Bikes" must be 1 to 64 letters, digits, '-', '_' or '.'`,
		",3\n":                         `stock.csv:1: SKU "" must be 1 to 64 letters, digits, '-', '_' or '.'`,
		"BIKE,3\nsku,quantity\n":       `stock.csv:2: quantity "quantity" is not a whole number`,
		"\"a\nb\",3\n":                 `stock.csv:1: SKU "a\nb" must be 1 to 64 letters, digits, '-', '_' or '.'`,
		"BIKE,3\n\"BELL,4\n":           `stock.csv:2: column 9: extraneous or missing " in quoted-field`,
		"BIKE,3\nBE\"LL,4\n":           `stock.csv:2: column 3: bare " in non-quoted-field`,
		"\ufeff\ufeffBIKE,3\nBIKE,4\n": `stock.csv:1: SKU "\ufeffBIKE" must be 1 to 64 letters, digits, '-', '_' or '.'`,
	} {
		_, err := inventory.ParseStock(strings.NewReader(text), "stock.csv")
		if err == nil || err.Error() != want {
			t.Errorf("%q: got\n%v, want\n%s", text, err, want)
		}
	}
	if _, err := inventory.ParseStock(noFile{}, "stock.csv"); !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), "read stock.csv: ") {
		t.Errorf("unreadable: got %v", err)
	}
}

type noFile struct{}

func (noFile) Read([]byte) (int, error) { return 0, os.ErrClosed }

// What can be in stock can be ordered, and the reverse.
func TestParseStock_HasTheOrdersRuleForSKUs(t *testing.T) {
	for _, sku := range []string{"A", "a-b_c.D9", strings.Repeat("X", 64), strings.Repeat("X", 65), "Ä", "A B", "A/B", "A*", "A\u0000", "é"} {
		o := anOrder(sku, 1)
		_, err := inventory.ParseStock(strings.NewReader(fmt.Sprintf("%s,1\n", sku)), "stock.csv")
		if valid := o.Validate() == nil; valid != (err == nil) {
			t.Errorf("%q: can it be ordered? %t; in stock: %v", sku, valid, err)
		}
	}
}

func FuzzParseStock(f *testing.F) {
	f.Add("sku,quantity\nBIKE,3\n")
	f.Add("\ufeff\"BIKE\",3\r\nBELL,0")
	f.Fuzz(func(t *testing.T, text string) {
		articles, err := inventory.ParseStock(strings.NewReader(text), "f")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error without its place: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, a := range articles {
			if a.Quantity < 0 || a.SKU == "" || seen[a.SKU] {
				t.Errorf("got %+v", a)
			}
			seen[a.SKU] = true
		}
	})
}

func ExampleService_Handle() {
	soldOut := ledgerFunc(func(r inventory.Reservation) (inventory.Decision, error) {
		fmt.Println("asked for", r.Items)
		return inventory.Decision{Ref: "stock.0/42/1", Short: "BIKE"}, nil
	})
	s := inventory.Service{Ledger: soldOut}
	out, err := s.Handle(context.Background(), anOrder("BIKE", 1, "BELL", 1, "BIKE", 1))
	fmt.Println(out.Result, out.Reason, err)
	// Output:
	// asked for [{BELL 1} {BIKE 2}]
	// refused not enough in stock: BIKE <nil>
}

func ExampleService_Fallback() {
	s := inventory.Service{}
	out, _ := s.Fallback(context.Background(), anOrder("BIKE", 1), context.DeadlineExceeded)
	fmt.Printf("%s: %s\n", out.Result, out.Reason)
	// Output:
	// pending: the stock ledger has not answered yet
}
