package inventory

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// schema is the name and version of an entry. A reader that doesn't know all
// that an entry says must not decide after it, so whatever is added to entries
// gets another version.
const schema = "stock/1"

// entry is one message of the stock log.
type entry struct {
	Schema   string     `json:"schema"`
	After    uint64     `json:"after"`              // the sequence of the entry before it; 0 in the first
	Articles quantities `json:"articles,omitempty"` // new ones, with what there is of them
	Orders   []decided  `json:"orders,omitempty"`   // in the order in which they were decided
}

// decided is one order's decision.
type decided struct {
	ID    uuid.UUID  `json:"id"`
	Lines quantities `json:"lines"`
	Short string     `json:"short,omitempty"` // nothing was reserved, for lack of this SKU
}

// quantities is written as a JSON object, SKU by SKU.
type quantities []Item

func (e entry) encode() ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	return b, nil
}

func decode(data []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(data, &e, json.RejectUnknownMembers(true)); err != nil {
		return entry{}, fmt.Errorf("decode entry: %w", err)
	}
	if e.Schema != schema {
		return entry{}, fmt.Errorf("decode entry: schema %q, this program reads %q", e.Schema, schema)
	}
	return e, nil
}

// MarshalJSONTo writes {"SKU":quantity,…}.
func (q quantities) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, it := range q {
		if err := enc.WriteToken(jsontext.String(it.SKU)); err != nil {
			return err
		}
		if err := enc.WriteToken(jsontext.Int(it.Quantity)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// UnmarshalJSONFrom reads what MarshalJSONTo writes. The decoder refuses a SKU
// that stands twice.
func (q *quantities) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if k := dec.PeekKind(); k != '{' {
		return fmt.Errorf("want an object of quantities, got %v", k)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		sku := name.String() // a token is gone with the next
		number, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if number.Kind() != '0' {
			return fmt.Errorf("want a quantity of %s, got %v", sku, number.Kind())
		}
		n, err := number.Int()
		if err != nil {
			return fmt.Errorf("quantity of %s: %w", sku, err)
		}
		*q = append(*q, Item{sku, n})
	}
	_, err := dec.ReadToken()
	return err
}
