package order

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads one order from its JSON form and validates it. It is strict, as
// money asks for: an unknown field, a field in the wrong case, a duplicate key, a
// fraction where a whole number belongs, invalid UTF-8 and anything after the
// order are errors, not guesses.
//
// It returns ErrTooLarge for more than MaxBytes, and otherwise ErrInvalid with
// the field, the byte and what to do: as a *FieldsError when the JSON was fine.
// The text is at most about 1 KiB, the same for the same input, and repeats field
// names at most, never values.
func Parse(data []byte) (Order, error) {
	var o Order
	if err := ParseInto(&o, data); err != nil {
		return Order{}, err
	}
	return o, nil
}

// ParseInto is Parse into memory of the caller's, who must not use it after an error.
func ParseInto(o *Order, data []byte) error {
	if len(data) > MaxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxBytes)
	}
	*o = Order{}
	if err := json.Unmarshal(data, o, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %s", ErrInvalid, explain(err))
	}
	return o.Validate()
}

// Encode returns the JSON form that Parse reads. It doesn't validate.
func (o Order) Encode() ([]byte, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode order: %w", err)
	}
	return b, nil
}

// CheckSchema returns nil for Schema and for "", which means Schema, and
// ErrSchema for anything else.
func CheckSchema(s string) error {
	if s == "" || s == Schema {
		return nil
	}
	return fmt.Errorf("%w %q: this program reads %q", ErrSchema, clip(s, 40), Schema)
}

// explain says in a sentence of our own what is wrong with the JSON. The
// decoder's sentences differ from build to build by intention, and an error that
// is to be grouped and counted must not.
func explain(err error) string {
	var (
		syntactic *jsontext.SyntacticError
		semantic  *json.SemanticError
	)
	switch {
	case errors.As(err, &syntactic):
		return at(syntactic.JSONPointer, syntactic.ByteOffset) + ": " + explainSyntax(syntactic.Err)
	case errors.As(err, &semantic):
		return at(semantic.JSONPointer, semantic.ByteOffset) + ": " + explainMeaning(semantic)
	default:
		return "not JSON: make it one JSON object"
	}
}

func explainSyntax(err error) string {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "the key stands twice: leave one"
	case err == nil:
		return "not JSON"
	}
	// What the tokenizer says names single characters at most.
	return "not JSON: " + clip(strings.TrimPrefix(err.Error(), "jsontext: "), 120)
}

func explainMeaning(e *json.SemanticError) string {
	if errors.Is(e.Err, json.ErrUnknownName) {
		name := e.JSONPointer.LastToken()
		text := "unknown field"
		if near := nearest(name); near != "" {
			text += fmt.Sprintf(", did you mean %q?", near)
		}
		return text
	}
	if e.GoType == reflect.TypeFor[time.Time]() {
		return "want a time such as \"2026-11-27T20:15:00Z\""
	}
	got := "this " + kindName(e.JSONKind)
	switch goKind(e.GoType) {
	case reflect.Int64:
		return "want a whole number of at most 64 bits, written without fraction or exponent; can't take " + got
	case reflect.String:
		return "want a string; can't take " + got
	case reflect.Slice:
		return "want an array; can't take " + got
	case reflect.Struct:
		return "want an object; can't take " + got
	default:
		return "can't take " + got
	}
}

func goKind(t reflect.Type) reflect.Kind {
	if t == nil {
		return reflect.Invalid
	}
	return t.Kind()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '0':
		return "number"
	case '{', '}':
		return "object"
	case '[', ']':
		return "array"
	default:
		return "value"
	}
}

// at says where: "lines[2].quantity (byte 117)".
func at(p jsontext.Pointer, offset int64) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + clip(token, 12) + "]")
		case b.Len() > 0:
			b.WriteString("." + clip(token, 40))
		default:
			b.WriteString(clip(token, 40))
		}
		if b.Len() > 160 {
			b.WriteString("…")
			break
		}
	}
	if b.Len() == 0 {
		return fmt.Sprintf("byte %d", offset)
	}
	return fmt.Sprintf("%s (byte %d)", b.String(), offset)
}

// clip returns s as one printable piece of at most limit bytes.
func clip(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s[:min(len(s), 4*limit)])
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// fields are the names that Parse knows.
var fields = [...]string{"id", "customer", "currency", "lines", "email", "note", "deadline", "sku", "quantity", "unit_price"}

// nearest returns the field that was probably meant, or nothing.
func nearest(name string) string {
	folded := strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name[:min(len(name), 64)]))
	for _, f := range fields {
		if folded == strings.ReplaceAll(f, "_", "") || (len(folded) >= 3 && strings.HasPrefix(f, folded)) {
			return f
		}
	}
	return ""
}
