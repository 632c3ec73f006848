package rejections

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/watertight-go/watertight/order"
)

// Property is what rejections can be counted by.
type Property string

// The properties.
const (
	ByService Property = "service"
	ByWhere   Property = "where"
	ByReason  Property = "reason"
	ByMinute  Property = "minute" // of At, in UTC
)

// Properties lists them.
func Properties() []Property { return []Property{ByService, ByWhere, ByReason, ByMinute} }

// ParseProperty returns the property of that name, or an error that lists them.
func ParseProperty(s string) (Property, error) {
	if p := Property(s); slices.Contains(Properties(), p) {
		return p, nil
	}
	return "", fmt.Errorf("unknown property %q: one of %v", s, Properties())
}

// Kind is what rejections have in common that are counted together. What they
// aren't counted by is zero.
type Kind struct {
	Service order.Service `json:"service,omitempty"`
	Where   Where         `json:"where,omitempty"`
	Reason  Reason        `json:"reason,omitempty"`
	Minute  time.Time     `json:"minute,omitzero"`
}

// Count is how many there are of a kind.
type Count struct {
	Kind
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Tally counts rejections by properties: a Count for each combination that
// occurs, those of a minute together and oldest first, else the most frequent
// first. It returns the first error of all.
func Tally(all iter.Seq2[Rejection, error], by ...Property) ([]Count, error) {
	counts := make(map[Kind]Count)
	for r, err := range all {
		if err != nil {
			return nil, err
		}
		k := r.kind(by)
		c, again := counts[k]
		if !again {
			c = Count{Kind: k, First: r.At, Last: r.At}
		}
		c.Count++
		if r.At.Before(c.First) {
			c.First = r.At
		}
		if r.At.After(c.Last) {
			c.Last = r.At
		}
		counts[k] = c
	}
	sorted := make([]Count, 0, len(counts))
	for _, c := range counts {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b Count) int {
		return cmp.Or(a.Minute.Compare(b.Minute), -cmp.Compare(a.Count, b.Count),
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Reason, b.Reason))
	})
	return sorted, nil
}

func (r Rejection) kind(by []Property) Kind {
	var k Kind
	for _, p := range by {
		switch p {
		case ByService:
			k.Service = r.Service
		case ByWhere:
			k.Where = r.Where
		case ByReason:
			k.Reason = r.Reason
		case ByMinute:
			k.Minute = r.At.UTC().Truncate(time.Minute)
		}
	}
	return k
}
