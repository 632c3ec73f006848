package load

import (
	"bytes"
	"regexp"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Kind is what is wrong with a generated order.
type Kind uint8

// What can be wrong. A service gives each of them up after one attempt.
const (
	WellFormed       Kind = iota
	Truncated             // the JSON ends early
	UnknownField          // a field that orders don't have
	NegativeQuantity      // a quantity of -1
	HugeNumber            // a quantity of 1e308
	DuplicateKey          // the customer twice
	UnknownSchema         // a good order that says it is of schema order/99
	InvalidUTF8           // a customer of no text
)

var kinds = [...]string{
	"well-formed", "truncated", "unknown field", "negative quantity", "1e308",
	"duplicate key", "unknown schema", "invalid UTF-8",
}

// String returns the kind's name, such as "duplicate key".
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return "unknown kind"
	}
	return kinds[k]
}

// Kinds lists every kind of malformed order.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds)-1)
	for k := range kinds[1:] {
		all = append(all, Kind(k+1))
	}
	return all
}

var quantity = regexp.MustCompile(`"quantity":[0-9]+`)

// message returns o, spoilt.
func (k Kind) message(o order.Order) (broker.Message, error) {
	h := nats.Header{broker.HeaderOrderID: {o.ID}}
	if k == NegativeQuantity {
		o.Lines[0].Quantity = -1
	}
	data, err := o.Encode()
	if err != nil {
		return broker.Message{}, err
	}
	customer := []byte(`"customer":"` + o.Customer)
	switch k {
	case WellFormed, NegativeQuantity:
	case Truncated:
		data = data[:len(data)*2/3]
	case UnknownField:
		data = append([]byte(`{"discount":10,`), data[1:]...)
	case HugeNumber:
		at := quantity.FindIndex(data)
		data = bytes.Join([][]byte{data[:at[0]], []byte(`"quantity":1e308`), data[at[1]:]}, nil)
	case DuplicateKey:
		data = append([]byte(`{"customer":"c-000000",`), data[1:]...)
	case UnknownSchema:
		h[broker.HeaderSchema] = []string{"order/99"}
	case InvalidUTF8:
		data = bytes.Replace(data, customer, append(customer, 0xff), 1)
	}
	return broker.Message{Subject: broker.SubjectCreated, ID: o.ID, Header: h, Data: data}, nil
}
