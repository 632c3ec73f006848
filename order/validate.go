package order

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits of an order.
const (
	MaxCustomer = 128    // bytes
	MaxLines    = 100    //
	MaxSKU      = 64     // bytes
	MaxQuantity = 10_000 // of one line
	MaxEmail    = 254    // bytes, as SMTP has it (RFC 5321, 4.5.3.1.3)
	MaxNote     = 1000   // bytes

	// maxFieldErrors bounds how many fields one error lists.
	maxFieldErrors = 8
)

// FieldError says which field breaks which rule.
type FieldError struct {
	Path    string // "lines[2].quantity"
	Message string // "must be 1 to 10000, got -1"
}

// FieldsError is returned for an order that breaks rules. To errors.Is it is
// ErrInvalid; when its total doesn't fit it is ErrOverflow as well.
type FieldsError struct {
	Fields []FieldError // at least one, at most eight
	More   int          // how many others there are

	overflow bool
}

// Error lists the fields in the order in which they stand in the order.
func (e *FieldsError) Error() string {
	var b strings.Builder
	b.WriteString(ErrInvalid.Error())
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + f.Path + ": " + f.Message)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}

// Is makes the error ErrInvalid, and ErrOverflow when that was the matter.
func (e *FieldsError) Is(target error) bool {
	return target == ErrInvalid || (e.overflow && target == ErrOverflow)
}

func (e *FieldsError) add(path, format string, args ...any) {
	if len(e.Fields) == maxFieldErrors {
		e.More++
		return
	}
	e.Fields = append(e.Fields, FieldError{path, fmt.Sprintf(format, args...)})
}

// Validate returns nil, or a *FieldsError with every field that breaks a rule.
func (o Order) Validate() error {
	var e FieldsError
	if id, err := uuid.Parse(o.ID); err != nil || id.Version() != 7 || len(o.ID) != 36 || strings.ToLower(o.ID) != o.ID {
		e.add("id", "must be a UUID of version 7 in lower-case canonical form")
	}
	text(&e, "customer", o.Customer, 1, MaxCustomer)
	if len(o.Currency) != 3 || strings.Trim(o.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		e.add("currency", "must be an ISO 4217 code of three capital letters, such as EUR")
	}
	if n := len(o.Lines); n < 1 || n > MaxLines {
		e.add("lines", "must be 1 to %d, got %d", MaxLines, n)
	}
	for i, l := range o.Lines[:min(len(o.Lines), MaxLines)] {
		l.validate(&e, i)
	}
	if len(e.Fields) == 0 {
		if _, err := o.Total(); err != nil {
			e.overflow = true
			e.add("lines", "the total overflows 64 bits of minor units")
		}
	}
	if o.Email != "" && !validEmail(o.Email) {
		e.add("email", "must be a bare e-mail address of at most %d bytes, or empty", MaxEmail)
	}
	if o.Note != "" {
		note(&e, o.Note)
	}
	if year := o.Deadline.Year(); !o.Deadline.IsZero() && (year < 1970 || year > 9999) {
		e.add("deadline", "must be between the years 1970 and 9999")
	}
	if len(e.Fields) == 0 {
		return nil
	}
	failed := e // so that a valid order allocates nothing
	return &failed
}

// validate checks the line at an index.
func (l Line) validate(e *FieldsError, i int) {
	path := func(field string) string { return fmt.Sprintf("lines[%d].%s", i, field) }
	if n := len(l.SKU); n < 1 || n > MaxSKU || strings.ContainsFunc(l.SKU, notSKU) {
		e.add(path("sku"), "must be 1 to %d letters, digits, '-', '_' or '.'", MaxSKU)
	}
	if l.Quantity < 1 || l.Quantity > MaxQuantity {
		e.add(path("quantity"), "must be 1 to %d, got %d", MaxQuantity, l.Quantity)
	}
	if l.UnitPrice < 0 {
		e.add(path("unit_price"), "must not be negative, got %d", l.UnitPrice)
	}
}

func notSKU(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		return false
	default:
		return true
	}
}

// text checks a single line of text.
func text(e *FieldsError, path, s string, least, most int) {
	switch {
	case len(s) < least || len(s) > most:
		e.add(path, "must be %d to %d bytes, got %d", least, most, len(s))
	case !utf8.ValidString(s):
		e.add(path, "must be valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		e.add(path, "must not contain control characters")
	}
}

// note checks free text, which may have line breaks.
func note(e *FieldsError, s string) {
	broken := strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' })
	switch {
	case len(s) > MaxNote:
		e.add("note", "must be at most %d bytes, got %d", MaxNote, len(s))
	case !utf8.ValidString(s):
		e.add("note", "must be valid UTF-8")
	case broken:
		e.add("note", "must not contain control characters")
	}
}

// validEmail reports whether s is a bare address that can stand in a mail's
// header and envelope: no name, no comment, no line break.
func validEmail(s string) bool {
	if len(s) > MaxEmail || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return false
	}
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && a.Address == s
}
