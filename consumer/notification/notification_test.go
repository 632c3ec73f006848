package notification_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/order"
)

// mailerFunc is a Mailer in one func.
type mailerFunc func(notification.Mail) error

func (f mailerFunc) Send(_ context.Context, m notification.Mail) error { return f(m) }

func TestHandle_WritesTheSameMailEachTime(t *testing.T) {
	var sent []notification.Mail
	s := notification.Service{From: from, Mailer: mailerFunc(func(m notification.Mail) error {
		sent = append(sent, m)
		return nil
	})}
	for range 2 {
		if _, err := s.Handle(t.Context(), anOrder()); err != nil {
			t.Fatal(err)
		}
	}
	if len(sent) != 2 || sent[0] != sent[1] {
		t.Errorf("got %+v, want the same mail twice", sent)
	}
}

func TestHandle_WritesAmountsAsPeopleReadThem(t *testing.T) {
	for _, tt := range []struct {
		amount   int64
		currency string
		want     string
	}{
		{129900, "EUR", "1299.00 EUR"},
		{5, "USD", "0.05 USD"},
		{0, "EUR", "0.00 EUR"},
		{500, "JPY", "500 JPY"},
		{1, "KWD", "0.001 KWD"},
		{math.MaxInt64, "EUR", "92233720368547758.07 EUR"},
	} {
		s := notification.Service{From: from, Mailer: mailerFunc(func(m notification.Mail) error {
			if !strings.Contains(m.Text, " "+tt.want+"\n") {
				t.Errorf("%d %s: got\n%s\nwant %s", tt.amount, tt.currency, m.Text, tt.want)
			}
			return nil
		})}
		o := anOrder()
		o.Currency, o.Lines = tt.currency, []order.Line{{SKU: "X", Quantity: 1, UnitPrice: tt.amount}}
		if _, err := s.Handle(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
}

// What a stranger typed must not become a header, a recipient or a line of ours.
func TestHandle_NothingIsInjected(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*order.Order)
		want   string
	}{
		"a header after the address":       {func(o *order.Order) { o.Email = "a@b.example\r\nBcc: all@b.example" }, "refused"},
		"a command after the address":      {func(o *order.Order) { o.Email = "a@b.example>\r\nRCPT TO:<all@b.example" }, "refused"},
		"a second address":                 {func(o *order.Order) { o.Email = "a@b.example, c@b.example" }, "refused"},
		"a name":                           {func(o *order.Order) { o.Email = "Shop <a@b.example>" }, "refused"},
		"a quoted local part":              {func(o *order.Order) { o.Email = `"a b"@b.example` }, "refused"},
		"an address with a comment":        {func(o *order.Order) { o.Email = "a@b.example (c)" }, "refused"},
		"parameters behind the address":    {func(o *order.Order) { o.Email = "a@b.example> NOTIFY=NEVER" }, "refused"},
		"no address at all":                {func(o *order.Order) { o.Email = "ann" }, "refused"},
		"an address beyond all bounds":     {func(o *order.Order) { o.Email = strings.Repeat("a", 300) + "@b.example" }, "refused"},
		"a header after the order's id":    {func(o *order.Order) { o.ID = "1>\r\nBcc: all@b.example" }, "rejected"},
		"an id that is another Message-ID": {func(o *order.Order) { o.ID = "1@x> <2" }, "rejected"},
		"no id":                            {func(o *order.Order) { o.ID = "" }, "rejected"},
		"a total beyond 64 bits":           {func(o *order.Order) { o.Lines[0].UnitPrice = math.MaxInt64 }, "rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			s := notification.Service{From: from, Mailer: mailerFunc(func(m notification.Mail) error {
				t.Errorf("sent %+v", m)
				return nil
			})}
			o := anOrder()
			tt.change(&o)
			out, err := s.Handle(t.Context(), o)
			if got := steer(out, err); got != tt.want {
				t.Errorf("got %s (%+v, %v), want %s", got, out, err, tt.want)
			}
		})
	}
}

func TestHandle_ABrokenSenderIsOursToMend(t *testing.T) {
	for _, bad := range []string{"", "shop", "Shop <a@shop.example>", "a@shop.example\r\nBcc: x@y.example"} {
		s := notification.Service{From: bad, Mailer: mailerFunc(func(notification.Mail) error { return nil })}
		out, err := s.Handle(t.Context(), anOrder())
		if got := steer(out, err); got != "retry" || !errors.Is(err, notification.ErrFrom) {
			t.Errorf("From %q: got %s (%v), want %v and a retry", bad, got, err, notification.ErrFrom)
		}
	}
}

func TestNewSMTP_RefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "mail", ":25", "mail:", "mail:smtp", "mail:0", "mail:99999", "smtp://mail"} {
		if _, err := notification.NewSMTP(address, notification.SMTPConfig{}); err == nil {
			t.Errorf("NewSMTP(%q): got no error", address)
		}
	}
}

func ExampleService_Handle() {
	stdout := mailerFunc(func(m notification.Mail) error {
		fmt.Printf("Message-ID: %s\nTo: %s\nSubject: %s\n\n%s", m.ID, m.To, m.Subject, m.Text)
		return nil
	})
	s := notification.Service{Mailer: stdout, From: "orders@shop.example"}
	out, err := s.Handle(context.Background(), anOrder())
	fmt.Println(out.Result, err)
	// Output:
	// Message-ID: 019b2f6e-0000-7000-8000-000000000001.created@shop.example
	// To: ann@example.org
	// Subject: We have your order 019b2f6e-0000-7000-8000-000000000001
	//
	// Thank you. We have your order and are working on it.
	//
	// Order 019b2f6e-0000-7000-8000-000000000001
	//
	//      2 × BIKE                             649.50
	//      1 × BELL                               0.05
	//
	// Total                                    1299.05 EUR
	//
	// We write again when it is paid and packed. Nothing is charged before.
	// sent <nil>
}
