package inventory

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// model is the rules in their plainest form, one order at a time.
type model struct {
	left    map[string]int64
	orders  map[uuid.UUID]string // SKU that was short, or ""
	started map[string]int64
}

func (m *model) reserve(r Reservation) {
	if _, done := m.orders[r.OrderID]; done {
		return
	}
	short := ""
	for _, it := range r.Items {
		left, known := m.left[it.SKU]
		if !known {
			return
		}
		if left < it.Quantity && short == "" {
			short = it.SKU
		}
	}
	if short == "" {
		for _, it := range r.Items {
			m.left[it.SKU] -= it.Quantity
		}
	}
	m.orders[r.OrderID] = short
}

// orderN is the n-th of some few orders, which always has the same lines.
func orderN(n int) Reservation {
	r := Reservation{OrderID: uuid.UUID{15: byte(n)}}
	for i := range 1 + n%3 {
		r.Items = append(r.Items, Item{skuN((n + i) % 5), int64(1 + n%4)})
	}
	if n%7 == 0 {
		r.Items[0].Quantity = math.MaxInt64
	}
	return r
}

func skuN(n int) string { return string(rune('A' + n)) }

// Whatever is asked, in whatever batches, by whichever of several instances:
// each decision is the one that the plainest rules make, no entry takes stock
// below zero, and who reads the log knows what its writers knew.
func TestState_DecidesByTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instances := []*state{newState("stock.0"), newState("stock.0"), newState("stock.0")}
		m := &model{left: map[string]int64{}, orders: map[uuid.UUID]string{}, started: map[string]int64{}}
		var log [][]byte
		read := func(s *state) {
			for s.seq < uint64(len(log)) {
				e, err := decode(log[s.seq])
				if err == nil {
					err = s.apply(s.seq+1, e)
				}
				if err != nil {
					t.Fatalf("entry %d: %v\n%s", s.seq+1, err, log[s.seq])
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "entries") {
			s := rapid.SampledFrom(instances).Draw(t, "instance")
			read(s)
			d := s.draft()
			var asked []Reservation
			for range rapid.IntRange(0, 2).Draw(t, "articles") {
				it := Item{skuN(rapid.IntRange(0, 4).Draw(t, "sku")), rapid.SampledFrom([]int64{0, 1, 7, 30, math.MaxInt64}).Draw(t, "quantity")}
				d.add([]Item{it})
				if _, known := m.left[it.SKU]; !known {
					m.left[it.SKU], m.started[it.SKU] = it.Quantity, it.Quantity
				}
			}
			for range rapid.IntRange(0, 12).Draw(t, "orders") {
				r := orderN(rapid.IntRange(0, 60).Draw(t, "order"))
				d.reserve(r)
				m.reserve(r)
				asked = append(asked, r)
			}
			if !d.empty() {
				data, err := d.encode()
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, data)
				if err := s.apply(s.seq+1, d.entry); err != nil {
					t.Fatalf("own entry: %v\n%s", err, data)
				}
			}
			for _, r := range asked {
				got, decided, err := s.decision(r)
				short, want := m.orders[r.OrderID]
				if err != nil || decided != want || got.Short != short {
					t.Fatalf("order %v: got %+v, %t, %v, want decided %t, short %q", r, got, decided, err, want, short)
				}
			}
		}
		for _, s := range append(instances, newState("stock.0")) {
			read(s)
			for _, l := range s.levels() {
				if l.Available < 0 || l.Available != m.left[l.SKU] || l.Available+l.Reserved != m.started[l.SKU] {
					t.Fatalf("%+v: want %d left of %d", l, m.left[l.SKU], m.started[l.SKU])
				}
			}
			if len(s.orders) != len(m.orders) || len(s.articles) != len(m.left) {
				t.Fatalf("got %d orders, %d articles, want %d, %d", len(s.orders), len(s.articles), len(m.orders), len(m.left))
			}
		}
	})
}

func TestState_RefusesABrokenEntry(t *testing.T) {
	const id, other = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
	for name, tt := range map[string]struct{ entry, want string }{
		"nothing at all":               {``, "decode"},
		"not an object":                {`[]`, "decode"},
		"another schema":               {`{"schema":"stock/2","after":1}`, `"stock/2"`},
		"no schema":                    {`{"after":1}`, `""`},
		"a member that we don't know":  {`{"schema":"stock/1","after":1,"released":[]}`, "released"},
		"something behind it":          {`{"schema":"stock/1","after":1}{}`, "decode"},
		"decided without the last":     {`{"schema":"stock/1","after":0}`, "after entry 0"},
		"decided after one to come":    {`{"schema":"stock/1","after":2}`, "after entry 2"},
		"an article again":             {`{"schema":"stock/1","after":1,"articles":{"BIKE":1}}`, "second time"},
		"an article twice":             {`{"schema":"stock/1","after":1,"articles":{"BELL":1,"BELL":1}}`, "duplicate"},
		"less than nothing":            {`{"schema":"stock/1","after":1,"articles":{"BELL":-1}}`, "begins with -1"},
		"a fraction":                   {`{"schema":"stock/1","after":1,"articles":{"BELL":0.5}}`, "quantity of BELL"},
		"more than 64 bits":            {`{"schema":"stock/1","after":1,"articles":{"BELL":9223372036854775808}}`, "quantity of BELL"},
		"no number":                    {`{"schema":"stock/1","after":1,"articles":{"BELL":"1"}}`, "quantity of BELL"},
		"a list of articles":           {`{"schema":"stock/1","after":1,"articles":[]}`, "want an object"},
		"an order that is decided":     {`{"schema":"stock/1","after":1,"orders":[{"id":"` + id + `","lines":{"BIKE":1}}]}`, "second time"},
		"an order twice":               {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BIKE":1}},{"id":"` + other + `","lines":{"BIKE":1}}]}`, "second time"},
		"no order id":                  {`{"schema":"stock/1","after":1,"orders":[{"id":"x","lines":{"BIKE":1}}]}`, "decode"},
		"an order without lines":       {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `"}]}`, "no lines"},
		"an order of the unknown":      {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BELL":1}}]}`, "no article BELL"},
		"an order of nothing":          {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BIKE":0}}]}`, "reserves 0"},
		"an order that gives":          {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BIKE":-5}}]}`, "reserves -5"},
		"stock below zero":             {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BIKE":9}}]}`, "of which there are 8"},
		"a refusal for the unknown":    {`{"schema":"stock/1","after":1,"orders":[{"id":"` + other + `","lines":{"BIKE":1},"short":"BELL"}]}`, "no article BELL"},
		"more orders than can be told": {`{"schema":"stock/1","after":1,"orders":[` + strings.Repeat(`{"id":"`+other+`","lines":{"BIKE":1}},`, 1<<16) + `{"id":"` + other + `","lines":{"BIKE":1}}]}`, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState("stock.0")
			begin, err := decode([]byte(`{"schema":"stock/1","after":0,"articles":{"BIKE":10},"orders":[{"id":"` + id + `","lines":{"BIKE":2}}]}`))
			if err == nil {
				err = s.apply(1, begin)
			}
			if err != nil {
				t.Fatal(err)
			}
			e, err := decode([]byte(tt.entry))
			if err == nil {
				err = s.apply(2, e)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// What is stored is for ever: this is how it looks.
func TestEntry_OnTheWire(t *testing.T) {
	e := entry{
		Schema: schema, After: 41, Articles: quantities{{"BIKE", 100}, {"BELL", 0}},
		Orders: []decided{
			{ID: uuid.MustParse("019b2f6e-0000-7000-8000-000000000001"), Lines: quantities{{"BELL", 1}, {"BIKE", 2}}},
			{ID: uuid.MustParse("019b2f6e-0000-7000-8000-000000000002"), Lines: quantities{{"BIKE", 99}}, Short: "BIKE"},
		},
	}
	const want = `{"schema":"stock/1","after":41,"articles":{"BIKE":100,"BELL":0},` +
		`"orders":[{"id":"019b2f6e-0000-7000-8000-000000000001","lines":{"BELL":1,"BIKE":2}},` +
		`{"id":"019b2f6e-0000-7000-8000-000000000002","lines":{"BIKE":99},"short":"BIKE"}]}`
	data, err := e.encode()
	if err != nil || string(data) != want {
		t.Errorf("encode: got %v\n%s\nwant\n%s", err, data, want)
	}
	back, err := decode([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

// The longest orders fill an entry to what a broker surely carries.
func TestDraft_FitsIntoAMessage(t *testing.T) {
	const smallest = 128 << 10 // see broker.Plan.Validate
	long := make([]Item, 100)
	for i := range long {
		long[i] = Item{fmt.Sprintf("%s%02d", strings.Repeat("X", 62), i), math.MaxInt64 / 1000}
	}
	for name, articles := range map[string]bool{"orders": false, "articles": true} {
		t.Run(name, func(t *testing.T) {
			s := newState("stock.0")
			if !articles {
				if err := s.apply(1, entry{Schema: schema, Articles: long}); err != nil {
					t.Fatal(err)
				}
			}
			d, n := s.draft(), 0
			for ; !d.full(); n++ {
				if articles {
					d.add([]Item{{fmt.Sprintf("%s%04d", strings.Repeat("X", 60), n), math.MaxInt64}})
				} else {
					d.reserve(Reservation{OrderID: uuid.UUID{15: byte(n)}, Items: long})
				}
			}
			data, err := d.encode()
			if err != nil || len(data) > smallest-4<<10 || len(data) < smallest/4 {
				t.Errorf("%d in %d bytes, %v, want less than %d, with room for headers", n, len(data), err, smallest)
			}
		})
	}
}

func TestDecision_KnowsTheLines(t *testing.T) {
	s := newState("stock.0")
	r := orderN(4)
	d := s.draft()
	d.add([]Item{{"A", 9}, {"B", 9}, {"C", 9}, {"D", 9}, {"E", 9}})
	d.reserve(r)
	if err := s.apply(7, d.entry); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.decision(r); err != nil || got.Ref != "stock.0/7/0" {
		t.Errorf("the same lines: got %+v, %v", got, err)
	}
	r.Items = append([]Item(nil), r.Items...)
	r.Items[0].Quantity++
	if _, decided, err := s.decision(r); !decided || !errors.Is(err, ErrOtherLines) {
		t.Errorf("other lines: got %t, %v, want ErrOtherLines", decided, err)
	}
}
