package inventory

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// csvHeader is the line that a stock file may begin with.
var csvHeader = [2]string{"sku", "quantity"}

// ParseStock reads a stock file: CSV (RFC 4180) with a SKU and a quantity a line,
// each SKU once; a first line "sku,quantity" is allowed, as is a byte order mark.
// Quantities are whole numbers from 0. An error names the file and the line:
//
//	stock.csv:3: article BIKE stands on line 2 already
func ParseStock(r io.Reader, name string) ([]Item, error) {
	in := bufio.NewReader(r)
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // they are there
	}
	lines := csv.NewReader(in)
	lines.FieldsPerRecord = -1 // counted below, in words of ours
	lines.ReuseRecord = true

	var articles []Item
	at := make(map[string]int)
	for first := true; ; first = false {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return articles, nil
		}
		if err != nil {
			return nil, csvError(name, err)
		}
		if first && len(fields) == 2 && [2]string(fields) == csvHeader {
			continue
		}
		line, _ := lines.FieldPos(0)
		it, err := parseArticle(fields)
		if before, twice := at[it.SKU]; err == nil && twice {
			err = fmt.Errorf("article %s stands on line %d already", it.SKU, before)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		at[it.SKU] = line
		articles = append(articles, it)
	}
}

// csvError puts the line first, as in every other error.
func csvError(name string, err error) error {
	if e := (*csv.ParseError)(nil); errors.As(err, &e) {
		return fmt.Errorf("%s:%d: column %d: %w", name, e.Line, e.Column, e.Err)
	}
	return fmt.Errorf("read %s: %w", name, err)
}

func parseArticle(fields []string) (Item, error) {
	if len(fields) != 2 {
		return Item{}, fmt.Errorf("want sku,quantity, got %d fields", len(fields))
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return Item{}, fmt.Errorf("quantity %q does not fit in 64 bits", fields[1])
	}
	if err != nil {
		return Item{}, fmt.Errorf("quantity %q is not a whole number", fields[1])
	}
	it := Item{fields[0], n}
	return it, checkArticle(it)
}

// checkArticle has the rules of order.Validate for a SKU: of an article that
// breaks them nobody could order any.
func checkArticle(it Item) error {
	if n := len(it.SKU); n < 1 || n > order.MaxSKU || strings.ContainsFunc(it.SKU, notSKU) {
		return fmt.Errorf("SKU %q must be 1 to %d letters, digits, '-', '_' or '.'", it.SKU, order.MaxSKU)
	}
	if it.Quantity < 0 {
		return fmt.Errorf("quantity %d is negative", it.Quantity)
	}
	return nil
}

func notSKU(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		return false
	default:
		return true
	}
}
