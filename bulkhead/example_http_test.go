package bulkhead_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// Limit is a middleware: it runs next in a slot of b and answers those that b
// refuses. The bulkhead must not have a hard timeout, as net/http forbids to
// write an answer when its handler has returned: none, or a Cooperative one.
func Limit(b *bulkhead.Bulkhead, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := bulkhead.Do(r.Context(), b, func(ctx context.Context) (struct{}, error) {
			next.ServeHTTP(w, r.WithContext(ctx))
			return struct{}{}, nil
		})
		var refused *bulkhead.Rejection
		var panicked *bulkhead.PanicError
		switch {
		case errors.As(err, &panicked):
			panic(panicked.Value) // the server's business, as it would have been
		case errors.As(err, &refused):
			status := http.StatusServiceUnavailable
			if refused.Reason == bulkhead.RateLimited {
				status = http.StatusTooManyRequests
			}
			seconds := max(1, math.Ceil(refused.RetryAfter().Seconds()))
			w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
			http.Error(w, refused.Reason.String(), status)
		}
	})
}

func Example_middleware() {
	pages := mustNew(bulkhead.Config{Name: "pages", Slots: 1, Timeout: time.Second, Cooperative: true})
	defer pages.Close()
	handler := Limit(pages, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	}))
	get := func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
		fmt.Printf("%d %q Retry-After: %q\n", w.Code, w.Body, w.Header().Get("Retry-After"))
	}

	get()
	busy, _ := pages.Acquire(context.Background()) // somebody else is in the only slot
	get()
	busy.Release()
	get()
	// Output:
	// 200 "hello" Retry-After: ""
	// 503 "full\n" Retry-After: "1"
	// 200 "hello" Retry-After: ""
}

// Transport is an http.RoundTripper that makes its requests in slots of a
// bulkhead. A request is over, and its slot free, when its answer has been
// read; an answer of 500 or more is a failure to the breaker.
type Transport struct {
	Bulkhead *bulkhead.Bulkhead
	Next     http.RoundTripper
}

var errServer = errors.New("the server failed")

func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := bulkhead.Do(r.Context(), t.Bulkhead, func(ctx context.Context) (*http.Response, error) {
		answer, err := t.Next.RoundTrip(r.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		// The context ends with the run: what is wanted of the answer is read now.
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			return nil, err
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		if answer.StatusCode >= http.StatusInternalServerError {
			err = errServer
		}
		return answer, err
	})
	if errors.Is(err, errServer) {
		err = nil // an answer all the same
	}
	return answer, err
}

func Example_roundTripper() {
	healthy := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !healthy {
			w.WriteHeader(http.StatusBadGateway)
		}
		fmt.Fprint(w, "receipt 42")
	}))
	defer server.Close()

	gateway := mustNew(bulkhead.Config{
		Name: "gateway", Slots: 16, Timeout: 2 * time.Second, Cooperative: true,
		Breaker: &bulkhead.BreakerConfig{MinCalls: 2, OpenFor: time.Minute},
	})
	defer gateway.Close()
	client := &http.Client{Transport: &Transport{Bulkhead: gateway, Next: http.DefaultTransport}}
	get := func() {
		answer, err := client.Get(server.URL)
		if refused, ok := errors.AsType[*bulkhead.Rejection](err); ok {
			fmt.Println(refused, "- again in", refused.RetryAfter().Round(time.Minute))
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		fmt.Println(answer.StatusCode, string(body), err)
	}

	get()
	get()
	get() // half of at least two have failed
	healthy = true
	gateway.Force(bulkhead.HalfOpen) // an operator can't wait
	get()
	fmt.Println(gateway.Stats().State)
	// Output:
	// 502 receipt 42 <nil>
	// 502 receipt 42 <nil>
	// bulkhead gateway: breaker open - again in 1m0s
	// 200 receipt 42 <nil>
	// closed
}
