package payment_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// steer is what becomes of an order, in one word.
func steer(out order.Outcome, err error) string {
	after, ok := order.AfterOf(err)
	switch {
	case err == nil:
		return string(out.Result)
	case order.IsRejected(err):
		return "rejected"
	case ok:
		return "after " + after.String()
	default:
		return "retry"
	}
}

func TestHTTP_AnswerSteersTheOrder(t *testing.T) {
	const yes = `{"id":"a-1","status":"authorized"}`
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	for name, tt := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   string
	}{
		"a decision for":                        {200, nil, yes, "authorized"},
		"a decision for, as a thing created":    {201, nil, yes, "authorized"},
		"a decision against":                    {200, nil, `{"id":"a-2","status":"declined","reason":"stolen"}`, "refused"},
		"members of a newer gateway":            {200, nil, `{"id":"a-1","status":"authorized","risk":3}`, "authorized"},
		"no decision yet":                       {200, nil, `{"id":"a-1","status":"processing"}`, "retry"},
		"authorized by nobody":                  {200, nil, `{"status":"authorized"}`, "retry"},
		"a captive portal's page":               {200, nil, `<html>log in</html>`, "retry"},
		"half an answer":                        {200, nil, `{"id":"a-1","sta`, "retry"},
		"an empty answer":                       {200, nil, ``, "retry"},
		"more than an answer can be":            {200, nil, strings.Repeat(" ", 64<<10) + yes, "retry"},
		"accepted is not decided":               {202, nil, yes, "retry"},
		"no content is not decided":             {204, nil, ``, "retry"},
		"a redirect is ours to mend":            {307, map[string]string{"Location": "/elsewhere"}, ``, "retry"},
		"malformed for ever":                    {400, nil, `{"code":"invalid","message":"no such currency"}`, "rejected"},
		"wrong for ever":                        {422, nil, ``, "rejected"},
		"credentials are ours to mend":          {401, nil, ``, "retry"},
		"the shop's unpaid bill isn't a card's": {402, nil, ``, "retry"},
		"a forbidden account is ours to mend":   {403, nil, ``, "retry"},
		"an address is ours to mend":            {404, nil, ``, "retry"},
		"a method is ours to mend":              {405, nil, ``, "retry"},
		"a key used for something else":         {409, nil, `{"code":"key_reused"}`, "rejected"},
		"an attempt of ours in progress":        {409, nil, `{"code":"in_progress"}`, "retry"},
		"too many, come back in seconds":        {429, map[string]string{"Retry-After": "3"}, ``, "after 3s"},
		"too many, come back at once":           {429, map[string]string{"Retry-After": "0"}, ``, "after 0s"},
		"too many, come back at a time": {
			429, map[string]string{"Date": date, "Retry-After": "Mon, 02 Jan 2006 15:05:15 GMT"}, ``, "after 1m10s",
		},
		"too many, come back in the past": {
			429, map[string]string{"Date": date, "Retry-After": "Mon, 02 Jan 2006 15:00:00 GMT"}, ``, "after 0s",
		},
		"too many, come back next century":        {429, map[string]string{"Retry-After": "9999999999999"}, ``, "after 24h0m0s"},
		"too many, come back never":               {429, map[string]string{"Retry-After": "-1"}, ``, "retry"},
		"too many, come back soon":                {429, map[string]string{"Retry-After": "soon"}, ``, "retry"},
		"too many":                                {429, nil, ``, "retry"},
		"the gateway's trouble":                   {500, nil, `{"code":"internal"}`, "retry"},
		"the gateway is down":                     {503, nil, ``, "retry"},
		"the gateway is down and says until when": {503, map[string]string{"Retry-After": "60"}, ``, "after 1m0s"},
		"a proxy gave up":                         {504, nil, `<html>`, "retry"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/base/v1/authorizations" || r.Method != http.MethodPost {
					t.Errorf("asked %s %s", r.Method, r.URL.Path)
				}
				for k, v := range tt.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			gateway, err := payment.NewHTTP(srv.URL+"/base/", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer gateway.Close()
			s := payment.Service{Gateway: gateway}
			out, err := s.Handle(t.Context(), anOrder())
			if got := steer(out, err); got != tt.want {
				t.Errorf("got %s (%+v, %v), want %s", got, out, err, tt.want)
			}
		})
	}
}

func TestHTTP_SaysOnTheWire(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s\nContent-Type: %s\nIdempotency-Key: %s\n\n%s", r.Method, r.URL.Path,
			r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), body)
		_, _ = io.WriteString(w, `{"id":"a-1","status":"authorized"}`)
	}))
	defer srv.Close()
	gateway, err := payment.NewHTTP(srv.URL, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&payment.Service{Gateway: gateway}).Handle(t.Context(), anOrder()); err != nil {
		t.Fatal(err)
	}
	want := `POST /v1/authorizations
Content-Type: application/json
Idempotency-Key: 019b2f6e-0000-7000-8000-000000000001/authorize

{"order_id":"019b2f6e-0000-7000-8000-000000000001","amount":129900,"currency":"EUR"}`
	if got != want {
		t.Errorf("request: got\n%s\nwant\n%s", got, want)
	}
}

func TestHTTP_ErrorsAreShortAndOnOneLine(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, `{"code":"a\r\nb","message":%q}`, strings.Repeat("x", 5000))
	}))
	defer srv.Close()
	gateway, err := payment.NewHTTP(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	_, err = gateway.Authorize(t.Context(), payment.Request{Key: "k"})
	if err == nil || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("got %v, want a short error on one line", err)
	}
}

// Whatever the answer, the next order finds the connection open.
func TestHTTP_ReusesItsConnection(t *testing.T) {
	var connections atomic.Int64
	var n atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			_, _ = io.WriteString(w, `{"id":"a-1","status":"authorized"}`)
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("trouble ", 4000))
		case 2:
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			_, _ = io.WriteString(w, `not json`)
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	gateway, err := payment.NewHTTP(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	for range 40 {
		_, _ = gateway.Authorize(t.Context(), payment.Request{Key: "k"})
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("connections: got %d, want 1", got)
	}
}

// Sixteen slots at a time, on real sockets. net/http dials while it waits for a
// free connection and keeps both, so there may be a few more than slots.
func TestHTTP_KeepsAboutAConnectionASlot(t *testing.T) {
	const slots, each = 16, 20
	w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	gateway, err := payment.NewHTTP(w.PaymentURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	s := &payment.Service{Gateway: gateway}
	var all sync.WaitGroup
	for range slots {
		all.Go(func() {
			for range each {
				o := anOrder()
				o.ID = order.NewID()
				if out, _, err := within(t, 10*time.Second, s, o); err != nil || out.Result != order.Authorized {
					t.Errorf("Handle: got %+v, %v, want authorized", out, err)
				}
			}
		})
	}
	all.Wait()
	c := w.Counts().Payment
	if c.Charges != slots*each || c.OrdersCharged != slots*each || c.Connections > 2*slots {
		t.Errorf("counts: got %+v, want %d charges over at most %d connections", c, slots*each, 2*slots)
	}
}

func TestNewHTTP_RefusesWhatIsNoAddress(t *testing.T) {
	for _, base := range []string{"", "pay.example.com", "pay.example.com:443", "ftp://pay", "http://", "http://pay?x=1", "http://pay/#a", "http://[::1"} {
		if _, err := payment.NewHTTP(base, nil); err == nil {
			t.Errorf("NewHTTP(%q): got no error", base)
		}
	}
}
