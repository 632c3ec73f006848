package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/internal/sim"
)

// client asks a world as anybody could, without the packages that it serves.
type client struct {
	*sim.World
	http *http.Client
}

// inBubble runs f with a world whose clock is the bubble's. The bubble fails
// when the closed world leaves a goroutine behind.
func inBubble(t *testing.T, f func(t *testing.T, c client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1, Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		c := client{w, &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}}
		f(t, c)
		w.Close()
		c.http.CloseIdleConnections()
	})
}

// do returns status and body of any request.
func (c client) do(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// charge asks for an authorization.
func (c client) charge(t *testing.T, key, orderID string, amount int) (int, string) {
	t.Helper()
	body := fmt.Sprintf(`{"order_id":%q,"amount":%d,"currency":"EUR"}`, orderID, amount)
	return c.do(t, http.MethodPost, c.PaymentURL()+"/v1/authorizations", body, "Idempotency-Key", key)
}

func mustSet(t *testing.T, w *sim.World, target sim.Target, line string) {
	t.Helper()
	fs, err := sim.ParseFaults(line)
	if err == nil {
		err = w.Set(target, fs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestGateway_DecidesOnceAKey(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		status, first := c.charge(t, "o1/authorize", "o1", 500)
		if status != http.StatusOK || !strings.Contains(first, `"status":"authorized"`) {
			t.Fatalf("got %d %s, want it authorized", status, first)
		}
		if status, again := c.charge(t, "o1/authorize", "o1", 500); status != http.StatusOK || again != first {
			t.Errorf("same key: got %d %s, want %s", status, again, first)
		}
		if status, other := c.charge(t, "o1/authorize", "o1", 501); status != http.StatusConflict || !strings.Contains(other, "key_reused") {
			t.Errorf("same key, other amount: got %d %s, want 409 key_reused", status, other)
		}
		got, want := c.Counts().Payment, sim.PaymentCounts{Connections: 1, Requests: 3, Charges: 1, OrdersCharged: 1, Conflicts: 1}
		if got != want {
			t.Errorf("counts: got %+v, want %+v", got, want)
		}
	})
}

// A client whose keys aren't stable charges twice, and that is seen.
func TestGateway_ShowsAnOrderThatPaidTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		_, _ = c.charge(t, "o1/attempt1", "o1", 500)
		_, _ = c.charge(t, "o1/attempt2", "o1", 500)
		_, _ = c.charge(t, "o2/attempt1", "o2", 500)
		got := c.Counts().Payment
		if got.Charges != 3 || got.OrdersCharged != 2 || got.DoubledByOrder != 1 || got.DoubledByKey != 0 {
			t.Errorf("counts: got %+v, want 3 charges, 2 orders, 1 doubled by order", got)
		}
		_, body := c.do(t, http.MethodGet, c.AdminURL()+"/charges/o1", "")
		for _, want := range []string{`"charged":2`, `"key":"o1/attempt1"`, `"key":"o1/attempt2"`} {
			if !strings.Contains(body, want) {
				t.Errorf("GET /charges/o1: got %s, want %s in it", body, want)
			}
		}
	})
}

func TestGateway_RefusesWhatIsNoRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		url := c.PaymentURL() + "/v1/authorizations"
		for name, body := range map[string]string{
			"no JSON": "hello", "half of it": `{"order_id":"o1"`, "nothing": "", "no order": `{"amount":1,"currency":"EUR"}`,
			"no amount": `{"order_id":"o1","currency":"EUR"}`, "a negative amount": `{"order_id":"o1","amount":-1,"currency":"EUR"}`,
			"1e308": `{"order_id":"o1","amount":1e308,"currency":"EUR"}`, "an unknown member": `{"order_id":"o1","amount":1,"currency":"EUR","x":1}`,
			"two requests": `{"order_id":"o1","amount":1,"currency":"EUR"}{}`, "1 MiB": `{"order_id":"` + strings.Repeat("x", 1<<20) + `"}`,
		} {
			if status, answer := c.do(t, http.MethodPost, url, body, "Idempotency-Key", "k"); status != http.StatusBadRequest {
				t.Errorf("%s: got %d %s, want 400", name, status, answer)
			}
		}
		if status, _ := c.do(t, http.MethodPost, url, `{"order_id":"o1","amount":1,"currency":"EUR"}`); status != http.StatusBadRequest {
			t.Errorf("no key: got %d, want 400", status)
		}
		if got := c.Counts().Payment; got.Charges != 0 || got.Invalid != 11 {
			t.Errorf("counts: got %+v, want 11 invalid and no charge", got)
		}
	})
}

func TestSet_ReleasesWhatTheOldFaultHolds(t *testing.T) {
	for _, next := range []string{"none", "hang", "errors"} {
		t.Run(next, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c client) {
				mustSet(t, c.World, sim.Payment, "hang")
				const n = 20
				var held sync.WaitGroup
				for i := range n {
					held.Go(func() {
						if status, body := c.charge(t, fmt.Sprint("k", i), fmt.Sprint("o", i), 1); status != http.StatusOK {
							t.Errorf("got %d %s, want 200", status, body)
						}
					})
				}
				if err := c.Await(t.Context(), func(c sim.Counts) bool { return c.Payment.Held == n }); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				mustSet(t, c.World, sim.Payment, next)
				held.Wait()
				if got := c.Counts().Payment; got.Charges != n || got.Held != 0 || time.Since(start) != 0 {
					t.Errorf("counts after %v: got %+v, want %d charges at once", time.Since(start), got, n)
				}
			})
		})
	}
}

func TestWorld_CloseEndsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		mustSet(t, c.World, sim.Payment, "hang")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if status, body := c.charge(t, "k", "o", 1); status == http.StatusOK {
				t.Errorf("got %d %s, want the connection cut", status, body)
			}
		}()
		synctest.Wait()
		c.Close()
		c.Close()
		<-ended
		if status, body := c.do(t, http.MethodGet, c.AdminURL()+"/counts", ""); status != 0 {
			t.Errorf("after Close: got %d %s, want no answer", status, body)
		}
		if got := c.Counts().Payment; got.Requests != 1 || got.Held != 0 {
			t.Errorf("counts: got %+v, want one request", got)
		}
	})
}

func TestWorld_RunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.New(sim.Config{Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
		w.Close()
		if err := w.Run(t.Context()); err == nil {
			t.Error("a second Run: got no error")
		}
	})
}

func TestWorld_CloseWithoutRunFreesItsAddresses(t *testing.T) {
	var network sim.Network
	cfg := sim.Config{PaymentAddr: "sim:1", MailAddr: "sim:2", AdminAddr: "sim:3", Listen: network.Listen}
	for range 2 {
		w, err := sim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
}

func TestNew_NamesTheAddressThatIsTaken(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = sim.New(sim.Config{MailAddr: l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "mail server") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want the mail server's address in it", err)
	}
}

func TestAwait_EndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Await(ctx, func(c sim.Counts) bool { return c.Payment.Charges > 0 })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestWorld_ThinksAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		c := client{w, &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}}
		took := map[time.Duration]bool{}
		for i := range 20 {
			start := time.Now()
			_, _ = c.charge(t, fmt.Sprint("k", i), fmt.Sprint("o", i), 1)
			d := time.Since(start)
			took[d] = true
			if d < 2*time.Millisecond || d > 8*time.Millisecond {
				t.Errorf("a charge took %v, want 2 to 8 ms", d)
			}
		}
		if len(took) < 10 {
			t.Errorf("20 charges took %d different times, want jitter", len(took))
		}
		w.Close()
		c.http.CloseIdleConnections()
	})
}

// Faults are switched from all sides while requests run; the race detector looks on.
func TestSet_WhileEverythingRuns(t *testing.T) {
	w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := client{w, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	defer c.http.CloseIdleConnections()
	lines := []string{"hang:1ms:50%+errors:50%", "late:1ms", "cut:20%+drip:1us:20%", "latency:1ms+declines:10%", "throttle", "none"}
	stop := make(chan struct{})
	var switching, asking sync.WaitGroup
	for range 2 {
		switching.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					mustSet(t, w, sim.Payment, lines[i%len(lines)])
					_, _ = w.Faults(), w.Counts()
				}
			}
		})
	}
	const orders = 60
	for g := range 4 {
		asking.Go(func() {
			for i := range orders {
				_, _ = c.charge(t, fmt.Sprint(g, "/", i), fmt.Sprint(g, "/", i), 1)
			}
		})
	}
	asking.Wait()
	close(stop)
	switching.Wait()
	w.Clear(sim.Payment)
	for g := range 4 {
		for i := range orders {
			if status, body := c.charge(t, fmt.Sprint(g, "/", i), fmt.Sprint(g, "/", i), 1); status != http.StatusOK {
				t.Fatalf("got %d %s, want a decision", status, body)
			}
		}
	}
	got := w.Counts().Payment
	if got.Charges+got.Declines != 4*orders || got.DoubledByKey+got.DoubledByOrder+got.Conflicts != 0 {
		t.Errorf("counts: got %+v, want %d decisions, none twice", got, 4*orders)
	}
}
