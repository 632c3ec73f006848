package notification

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/watertight-go/watertight/order"
)

// confirmation returns the mail's text. The customer's note isn't in it: a shop
// whose mails repeat what a stranger typed is a spammer's tool.
func confirmation(o order.Order) (string, error) {
	total, err := o.Total()
	if err != nil {
		return "", fmt.Errorf("write confirmation: %w", err)
	}
	var b strings.Builder
	b.WriteString("Thank you. We have your order and are working on it.\n\n")
	fmt.Fprintf(&b, "Order %s\n\n", o.ID)
	for _, l := range o.Lines {
		fmt.Fprintf(&b, "%6d × %-24s %14s\n", l.Quantity, oneLine(l.SKU), digits(l.UnitPrice, o.Currency))
	}
	fmt.Fprintf(&b, "\n%-33s %14s %s\n", "Total", digits(total.Amount, total.Currency), oneLine(total.Currency))
	b.WriteString("\nWe write again when it is paid and packed. Nothing is charged before.\n")
	return b.String(), nil
}

// digits returns an amount of minor units as people read it: 129900 EUR is
// "1299.00", 500 JPY is "500".
func digits(amount int64, currency string) string {
	n := minorDigits(currency)
	s := strconv.FormatInt(amount, 10)
	if n == 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if len(s) <= n {
		s = strings.Repeat("0", n+1-len(s)) + s
	}
	return sign + s[:len(s)-n] + "." + s[len(s)-n:]
}

// minorDigits is how many decimals ISO 4217 gives a currency: two, but for
// these.
func minorDigits(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	default:
		return 2
	}
}

// oneLine keeps text that others chose from looking like more of the mail.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
