package order_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/order"
)

const id = "019ab2f6-e1c0-7a10-8000-0123456789ab"

func good() order.Order {
	return order.Order{
		ID: id, Customer: "c-17", Currency: "EUR",
		Lines:    []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}, {SKU: "TEA_1.5", Quantity: 1, UnitPrice: 0}},
		Email:    "anna@example.com",
		Note:     "Please ring\ntwice.",
		Deadline: time.Date(2026, 11, 27, 20, 15, 0, 0, time.UTC),
	}
}

const goodJSON = `{"id":"` + id + `","customer":"c-17","currency":"EUR","lines":[{"sku":"MUG-RED","quantity":2,"unit_price":1299}]}`

func TestParse_ReadsWhatEncodeWrites(t *testing.T) {
	want := good()
	body, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := order.Parse(body)
	if err != nil {
		t.Fatalf("Parse(%s): %v", body, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestParse_SaysWhatIsWrongAndWhere(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(goodJSON, from) {
			t.Fatalf("%s isn't in the good order", from)
		}
		return strings.Replace(goodJSON, from, to, 1)
	}
	for name, tt := range map[string]struct {
		in   string
		want string // part of the error
		is   error
	}{
		"nothing":                   {"", "byte 0: not JSON", order.ErrInvalid},
		"not JSON":                  {"order please", "not JSON", order.ErrInvalid},
		"truncated":                 {goodJSON[:30], "not JSON", order.ErrInvalid},
		"an array":                  {"[]", "want an object", order.ErrInvalid},
		"null":                      {"null", "id: must be", order.ErrInvalid},
		"an unknown field":          {swap(`{"id"`, `{"gift":true,"id"`), "gift (byte", order.ErrInvalid},
		"a field in the wrong case": {swap(`"customer"`, `"Customer"`), `unknown field, did you mean "customer"?`, order.ErrInvalid},
		"a field in camel case":     {swap(`"unit_price"`, `"unitPrice"`), `lines[0].unitPrice (byte`, order.ErrInvalid},
		"a duplicate key":           {swap(`{"id"`, `{"currency":"USD","id"`), "currency (byte 80): the key stands twice", order.ErrInvalid},
		"a duplicate key in a line": {swap(`"quantity":2`, `"quantity":2,"quantity":200`), "lines[0].quantity (byte", order.ErrInvalid},
		"trailing data":             {goodJSON + "{}", "not JSON", order.ErrInvalid},
		"1e308":                     {swap(`:2,`, `:1e308,`), "lines[0].quantity (byte 117): want a whole number", order.ErrInvalid},
		"a fraction":                {swap(`:2,`, `:2.5,`), "want a whole number", order.ErrInvalid},
		"a number as a string":      {swap(`:2,`, `:"2",`), "can't take this string", order.ErrInvalid},
		"a string as a number":      {swap(`"c-17"`, `17`), "customer (byte", order.ErrInvalid},
		"beyond 64 bits":            {swap(`1299`, `9223372036854775808`), "lines[0].unit_price", order.ErrInvalid},
		"invalid UTF-8":             {swap(`c-17`, "c-\xff"), "customer (byte", order.ErrInvalid},
		"a deadline in words":       {swap(`{"id"`, `{"deadline":"tomorrow","id"`), "deadline (byte 12): want a time", order.ErrInvalid},
		"deep nesting":              {swap(`"c-17"`, strings.Repeat("[", 20_000)), "customer", order.ErrInvalid},
		"too large":                 {swap(`c-17`, strings.Repeat("x", order.MaxBytes)), "at most 65536", order.ErrTooLarge},
		"a negative quantity":       {swap(`:2,`, `:-2,`), "lines[0].quantity: must be 1 to 10000, got -2", order.ErrInvalid},
		"no id":                     {swap(id, ""), "id: must be a UUID of version 7", order.ErrInvalid},
		"an id of version 4":        {swap(id, "9b2f6e1c-0000-4a10-8000-0123456789ab"), "id: must be a UUID of version 7", order.ErrInvalid},
		"an id in capitals":         {swap(id, strings.ToUpper(id)), "id: must be a UUID of version 7", order.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := order.Parse([]byte(tt.in))
			if !errors.Is(err, tt.is) {
				t.Fatalf("Parse = %v, want %v", err, tt.is)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse says %q, want it to say %q", err, tt.want)
			}
			if !cmp.Equal(got, order.Order{}) {
				t.Errorf("Parse returned %+v beside its error, want nothing", got)
			}
			if _, again := order.Parse([]byte(tt.in)); again.Error() != err.Error() {
				t.Errorf("the same input gave %q, then %q", err, again)
			}
		})
	}
}

func TestValidate_NamesEveryField(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*order.Order)
		want  []string // paths
	}{
		"nothing is wrong":           {func(*order.Order) {}, nil},
		"all that matters is absent": {func(o *order.Order) { *o = order.Order{} }, []string{"id", "customer", "currency", "lines"}},
		"a customer of 129 bytes":    {func(o *order.Order) { o.Customer = strings.Repeat("c", 129) }, []string{"customer"}},
		"a line break in a customer": {func(o *order.Order) { o.Customer = "c\r\nBcc: all" }, []string{"customer"}},
		"currency in small letters":  {func(o *order.Order) { o.Currency = "eur" }, []string{"currency"}},
		"101 lines":                  {func(o *order.Order) { o.Lines = make([]order.Line, 101); fill(o.Lines) }, []string{"lines"}},
		"a blank in a SKU":           {func(o *order.Order) { o.Lines[1].SKU = "A B" }, []string{"lines[1].sku"}},
		"zero pieces":                {func(o *order.Order) { o.Lines[0].Quantity = 0 }, []string{"lines[0].quantity"}},
		"10,001 pieces":              {func(o *order.Order) { o.Lines[0].Quantity = 10_001 }, []string{"lines[0].quantity"}},
		"a negative price":           {func(o *order.Order) { o.Lines[1].UnitPrice = -1 }, []string{"lines[1].unit_price"}},
		"a line that overflows":      {func(o *order.Order) { o.Lines[0].UnitPrice = math.MaxInt64 }, []string{"lines"}},
		"a sum that overflows": {func(o *order.Order) {
			o.Lines[0] = order.Line{SKU: "A", Quantity: 1, UnitPrice: math.MaxInt64}
			o.Lines[1].UnitPrice = 1
		}, []string{"lines"}},
		"a name before an address": {func(o *order.Order) { o.Email = "Anna <anna@example.com>" }, []string{"email"}},
		"two addresses":            {func(o *order.Order) { o.Email = "a@example.com,b@example.com" }, []string{"email"}},
		"a header in an address":   {func(o *order.Order) { o.Email = "a@example.com\r\nBcc: b@example.com" }, []string{"email"}},
		"a note of 1,001 bytes":    {func(o *order.Order) { o.Note = strings.Repeat("n", 1001) }, []string{"note"}},
		"a bell in a note":         {func(o *order.Order) { o.Note = "\a" }, []string{"note"}},
		"a deadline before 1970":   {func(o *order.Order) { o.Deadline = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }, []string{"deadline"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			tt.spoil(&o)
			err := o.Validate()
			var got []string
			if e, ok := errors.AsType[*order.FieldsError](err); ok {
				for _, f := range e.Fields {
					got = append(got, f.Path)
				}
			} else if err != nil {
				t.Fatalf("Validate = %T %v, want a *FieldsError", err, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("paths: -want +got\n%s\n%v", diff, err)
			}
		})
	}
}

func fill(lines []order.Line) {
	for i := range lines {
		lines[i] = order.Line{SKU: "A", Quantity: 1}
	}
}

func TestValidate_ListsAtMostEightFields(t *testing.T) {
	o := good()
	o.Lines = make([]order.Line, 50)
	var e *order.FieldsError
	if err := o.Validate(); !errors.As(err, &e) || len(e.Fields) != 8 || e.More != 92 {
		t.Errorf("Validate = %v, want 8 fields and 92 more", err)
	} else if len(err.Error()) > 1<<10 {
		t.Errorf("the error has %d bytes, want at most 1 KiB", len(err.Error()))
	}
}

func TestTotal(t *testing.T) {
	got, err := good().Total()
	if want := (order.Money{Amount: 2598, Currency: "EUR"}); err != nil || got != want {
		t.Errorf("Total = %v, %v, want %v", got, err, want)
	}
	o := good()
	o.Lines[0].UnitPrice = math.MaxInt64/2 + 1
	if _, err := o.Total(); !errors.Is(err, order.ErrOverflow) {
		t.Errorf("Total of 2 × (MaxInt64/2+1) = %v, want ErrOverflow", err)
	}
	if err := o.Validate(); !errors.Is(err, order.ErrOverflow) || !errors.Is(err, order.ErrInvalid) {
		t.Errorf("Validate of it = %v, want ErrOverflow and ErrInvalid", err)
	}
}

func TestCheckSchema(t *testing.T) {
	for s, want := range map[string]error{"": nil, order.Schema: nil, "order/2": order.ErrSchema, "Order/1": order.ErrSchema} {
		if err := order.CheckSchema(s); !errors.Is(err, want) {
			t.Errorf("CheckSchema(%q) = %v, want %v", s, err, want)
		}
	}
	if err := order.CheckSchema(strings.Repeat("\x1b", 1<<20)); len(err.Error()) > 200 {
		t.Errorf("the error repeats %d bytes of the schema", len(err.Error()))
	}
}

func TestResult_ListIsClosed(t *testing.T) {
	for r, want := range map[order.Result][2]bool{
		order.Authorized: {true, true}, order.Refused: {true, true}, order.Pending: {true, false}, "": {false, false}, "shipped": {false, false},
	} {
		if got := [2]bool{r.Valid(), r.Final()}; got != want {
			t.Errorf("%q: valid, final = %v, want %v", r, got, want)
		}
	}
}

func TestSteering_SurvivesWrappingAndLeavesNilAlone(t *testing.T) {
	if order.Reject(nil) != nil || order.RetryAfter(time.Second, nil) != nil {
		t.Error("Reject(nil) or RetryAfter(d, nil) is an error")
	}
	cause := errors.New("no such article")
	rejected := fmt.Errorf("reserve: %w", order.Reject(cause))
	if !order.IsRejected(rejected) || !errors.Is(rejected, cause) {
		t.Errorf("a wrapped Reject is lost: %v", rejected)
	}
	asked := fmt.Errorf("charge: %w", order.RetryAfter(time.Minute, cause))
	if d, ok := order.AfterOf(asked); !ok || d != time.Minute || !errors.Is(asked, cause) {
		t.Errorf("a wrapped RetryAfter is lost: %v, %v", d, ok)
	}
	if _, ok := order.AfterOf(cause); ok || order.IsRejected(cause) {
		t.Error("a plain error steers")
	}
}

func FuzzParse(f *testing.F) {
	body, err := good().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(goodJSON))
	f.Add([]byte(`{"id":1e308}`))
	f.Add([]byte("{\"lines\":[{\"sku\":\"\xff\"}]}"))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := order.Parse(data)
		if err != nil {
			if text := err.Error(); len(text) > 2<<10 || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("the error of %q is no good line: %q", data, text)
			}
			if !errors.Is(err, order.ErrInvalid) && !errors.Is(err, order.ErrTooLarge) {
				t.Errorf("Parse(%q) = %v, which is neither ErrInvalid nor ErrTooLarge", data, err)
			}
			return
		}
		again, err := o.Encode()
		if err != nil {
			t.Fatalf("Encode of what Parse accepted: %v", err)
		}
		o2, err := order.Parse(again)
		if err != nil {
			t.Fatalf("Parse(%s) of what Encode wrote: %v", again, err)
		}
		if !cmp.Equal(o, o2) {
			t.Errorf("%s\ncame back as\n%s", cmp.Diff(o, o2), again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := []byte(goodJSON)
	b.Run("strict", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := order.Parse(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var o order.Order
			if err := json.Unmarshal(body, &o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func ExampleParse() {
	_, err := order.Parse([]byte(`{"id":"019ab2f6-e1c0-7a10-8000-0123456789ab","customer":"c-17","currency":"EUR",
		"lines":[{"sku":"MUG-RED","quantity":-2,"unit_price":1299},{"sku":"","quantity":1,"unit_price":1}]}`))
	fmt.Println(err)
	_, err = order.Parse([]byte(`{"id":"019ab2f6-e1c0-7a10-8000-0123456789ab","Customer":"c-17"}`))
	fmt.Println(err)
	// Output:
	// invalid order: lines[0].quantity: must be 1 to 10000, got -2; lines[1].sku: must be 1 to 64 letters, digits, '-', '_' or '.'
	// invalid order: Customer (byte 45): unknown field, did you mean "customer"?
}

func ExampleReject() {
	err := fmt.Errorf("reserve: %w", order.Reject(errors.New("unknown SKU MUG-PINK")))
	fmt.Println(err, order.IsRejected(err))
	// Output: reserve: unknown SKU MUG-PINK true
}

func ExampleRetryAfter() {
	err := order.RetryAfter(30*time.Second, errors.New("gateway answered 429"))
	after, ok := order.AfterOf(err)
	fmt.Println(err, after, ok)
	// Output: gateway answered 429 30s true
}
