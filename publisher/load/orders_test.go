package load_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
	"github.com/watertight-go/watertight/publisher/load"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func TestOrders_AreTheSameForTheSameSeed(t *testing.T) {
	a, b, other := load.Orders{Seed: 1, Malformed: 0.1}, load.Orders{Seed: 1, Malformed: 0.1}, load.Orders{Seed: 2, Malformed: 0.1}
	differ := 0
	for i := range 200 {
		ma, _, err := a.Message(i, noon)
		if err != nil {
			t.Fatal(err)
		}
		mb, _, err := b.Message(i, noon)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ma, mb); diff != "" {
			t.Fatalf("order %d differs between two of the same seed:\n%s", i, diff)
		}
		if later := a.Order(i, noon.Add(time.Hour)); later.ID == ma.ID || !cmp.Equal(later, a.Order(i, noon), cmpopts.IgnoreFields(order.Order{}, "ID")) {
			t.Fatalf("order %d made an hour later is %+v, want only another id than %s", i, later, ma.ID)
		}
		if other.Order(i, noon).Customer != a.Order(i, noon).Customer {
			differ++
		}
	}
	if differ < 190 {
		t.Errorf("only %d of 200 orders differ between two seeds", differ)
	}
}

func TestOrders_WellFormedOnesCanBePlaced(t *testing.T) {
	g := load.Orders{Seed: 7}
	ids, skus := map[string]bool{}, map[string]bool{}
	for i := range 2000 {
		o := g.Order(i, noon)
		if err := o.Validate(); err != nil {
			t.Fatalf("order %d: %v", i, err)
		}
		got, kind, err := g.Message(i, noon)
		if err != nil || kind != load.WellFormed {
			t.Fatalf("order %d is %v, %v", i, kind, err)
		}
		want, err := publisher.Message(o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order %d isn't what Place would store: -want +got\n%s", i, diff)
		}
		ids[o.ID] = true
		for _, l := range o.Lines {
			skus[l.SKU] = true
		}
	}
	if len(ids) != 2000 {
		t.Errorf("2000 orders have %d ids", len(ids))
	}
	if len(skus) != len(load.Catalogue()) {
		t.Errorf("2000 orders are of %d articles, want all %d", len(skus), len(load.Catalogue()))
	}
}

func TestOrders_MalformedOnesAreRefusedAndNamed(t *testing.T) {
	g := load.Orders{Seed: 3, Malformed: 0.2}
	const n = 5000
	seen, malformed := map[load.Kind]int{}, 0
	for i := range n {
		m, kind, err := g.Message(i, noon)
		if err != nil {
			t.Fatal(err)
		}
		if kind != g.Kind(i) {
			t.Fatalf("order %d is %v by itself and %v as a message", i, g.Kind(i), kind)
		}
		seen[kind]++
		if kind == load.WellFormed {
			if clean := (load.Orders{Seed: 3}).Order(i, noon); !cmp.Equal(clean, g.Order(i, noon)) {
				t.Fatalf("order %d isn't what it is without malformed ones", i)
			}
			continue
		}
		malformed++
		if got := m.Header.Get(broker.HeaderOrderID); got == "" || got != m.ID {
			t.Errorf("order %d (%v) has the id header %q, want %s", i, kind, got, m.ID)
		}
		_, err = order.Parse(m.Data)
		schema := m.Header.Get(broker.HeaderSchema)
		switch {
		case kind == load.UnknownSchema:
			if err != nil || schema == "" || schema == order.Schema {
				t.Errorf("order %d (%v): schema %q, Parse = %v, want a good order of a strange schema", i, kind, schema, err)
			}
		case !errors.Is(err, order.ErrInvalid):
			t.Fatalf("order %d (%v): Parse = %v, want %v; %s", i, kind, err, order.ErrInvalid, m.Data)
		}
	}
	if malformed < n*18/100 || malformed > n*22/100 {
		t.Errorf("%d of %d orders are malformed, want about a fifth", malformed, n)
	}
	for _, k := range load.Kinds() {
		if seen[k] < malformed/len(load.Kinds())/2 {
			t.Errorf("%d of %d malformed orders are %q, want about a seventh", seen[k], malformed, k)
		}
	}
}

func TestStockCSV_IsTheCatalogue(t *testing.T) {
	var want strings.Builder
	for _, a := range load.Catalogue() {
		fmt.Fprintf(&want, "%s,%d\n", a.SKU, a.Stock)
	}
	if diff := cmp.Diff(want.String(), load.StockCSV()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
