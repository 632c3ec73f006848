package inventory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/order"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

// provisioned returns a server with all streams.
func provisioned(t testing.TB) *brokertest.Server {
	t.Helper()
	s := brokertest.Start(t)
	brokertest.Provision(t, s.Connect(), brokertest.Plan())
	return s
}

// instance is one process: a connection, a stock log and the handler on it.
type instance struct {
	*inventory.Service
	log  *inventory.StockLog
	conn *broker.Conn
	end  func() error // ends Run and returns what it did
}

// start runs an instance until the test's end, or until end is called.
func start(t testing.TB, c *broker.Conn) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := inventory.NewStockLog(c)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	in := &instance{Service: &inventory.Service{Ledger: l}, log: l, conn: c}
	in.end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := in.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return in
}

func (in *instance) add(t testing.TB, articles ...inventory.Item) {
	t.Helper()
	if err := in.log.Add(t.Context(), articles); err != nil {
		t.Fatal(err)
	}
}

func wantStock(t testing.TB, in *instance, want ...inventory.Level) {
	t.Helper()
	got, err := in.log.Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stock (-want +got):\n%s", diff)
	}
}

// anOrder wants quantities of SKUs: anOrder("BIKE", 2, "BELL", 1).
func anOrder(lines ...any) order.Order {
	o := order.Order{ID: order.NewID(), Customer: "c-1", Currency: "EUR"}
	for i := 0; i < len(lines); i += 2 {
		o.Lines = append(o.Lines, order.Line{SKU: lines[i].(string), Quantity: int64(lines[i+1].(int))})
	}
	return o
}

func result(out order.Outcome, err error) string {
	switch {
	case order.IsRejected(err):
		return "rejected"
	case err != nil:
		return "retry"
	case out.Result == order.Refused:
		return "refused: " + out.Reason
	default:
		return string(out.Result)
	}
}

// stockEntry is an entry as anybody can read it.
type stockEntry struct {
	Schema   string           `json:"schema"`
	After    uint64           `json:"after"`
	Articles map[string]int64 `json:"articles"`
	Orders   []struct {
		ID    string           `json:"id"`
		Lines map[string]int64 `json:"lines"`
		Short string           `json:"short"`
	} `json:"orders"`
}

// audit reads the log by itself and checks what must be true of it at every
// entry. It returns what is left and what became of each order.
func audit(t testing.TB, c *broker.Conn) (left map[string]int64, orders map[string]string, entries int) {
	t.Helper()
	left, orders = map[string]int64{}, map[string]string{}
	last := uint64(0)
	for m, err := range c.ReadAfter(t.Context(), broker.StreamStock, broker.StockSubject(0), 0) {
		if err != nil {
			t.Fatal(err)
		}
		var e stockEntry
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatalf("entry %d: %v", m.Seq, err)
		}
		if e.After != last {
			t.Errorf("entry %d was decided after %d, want %d", m.Seq, e.After, last)
		}
		last = m.Seq
		entries++
		for sku, n := range e.Articles {
			if _, twice := left[sku]; twice {
				t.Errorf("entry %d adds %s again", m.Seq, sku)
			}
			left[sku] = n
		}
		for i, o := range e.Orders {
			if _, twice := orders[o.ID]; twice {
				t.Errorf("entry %d decides order %s again", m.Seq, o.ID)
			}
			orders[o.ID] = "refused: not enough in stock: " + o.Short
			if o.Short != "" {
				if left[o.Short] >= o.Lines[o.Short] {
					t.Errorf("entry %d refuses %s for lack of %s, of which there are %d", m.Seq, o.ID, o.Short, left[o.Short])
				}
				continue
			}
			orders[o.ID] = fmt.Sprintf("reserved stock.0/%d/%d", m.Seq, i)
			for sku, n := range o.Lines {
				if left[sku] -= n; left[sku] < 0 || n < 1 {
					t.Errorf("entry %d takes %d of %s and leaves %d", m.Seq, n, sku, left[sku])
				}
			}
		}
	}
	return left, orders, entries
}
