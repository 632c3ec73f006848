package payment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/watertight-go/watertight/order"
)

// maxAnswer is the most that is read of an answer. Real ones are some hundred
// bytes.
const maxAnswer = 64 << 10

// defaultTimeout bounds one request when the caller's context doesn't.
const defaultTimeout = 30 * time.Second

// idleConns is how many connections are kept open between requests. Fewer than
// there are payment slots would mean a dial for many an order of a peak.
const idleConns = 64

// HTTP is a Gateway that speaks the wire format above. It is safe for use by
// many handlers at once; connections are reused.
type HTTP struct {
	url    string
	client *http.Client
}

// NewHTTP returns a gateway at base, such as "https://pay.example.com". It
// doesn't connect yet.
//
// A nil client means one made for this use: it keeps 64 idle connections and
// gives up after 30 s when the context doesn't earlier. Credentials are the
// client's business (a RoundTripper that sets Authorization). Of a client that
// is given, only the handling of redirects is changed, in a copy: none is
// followed, because a POST that is redirected may arrive as something else.
func NewHTTP(base string, client *http.Client) (*HTTP, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, fmt.Errorf("payment gateway: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("payment gateway %q: want http://host or https://host", base)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("payment gateway %q: want an address without ? and #", base)
	}
	if client == nil {
		client = &http.Client{Transport: transport(), Timeout: defaultTimeout}
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &HTTP{url: u.JoinPath("v1", "authorizations").String(), client: &own}, nil
}

func transport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true, // a small answer needs none, and none can be a bomb
	}
}

// Close closes idle connections. A request that still runs is not touched.
func (h *HTTP) Close() { h.client.CloseIdleConnections() }

type authorizeBody struct {
	OrderID  string `json:"order_id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

type answerBody struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	Reason string `json:"reason"`
}

type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Authorize asks once and waits for the whole answer, at most until ctx ends.
func (h *HTTP) Authorize(ctx context.Context, r Request) (Authorization, error) {
	body, err := json.Marshal(authorizeBody{OrderID: r.OrderID, Amount: r.Amount.Amount, Currency: r.Amount.Currency})
	if err != nil {
		return Authorization{}, fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return Authorization{}, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	// It also lets net/http send again by itself when a kept connection turns
	// out to be dead, which the same key makes harmless.
	req.Header.Set("Idempotency-Key", r.Key)

	resp, err := h.client.Do(req)
	if err != nil {
		return Authorization{}, fmt.Errorf("ask gateway: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1)) // to its end, or the connection can't be reused
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return Authorization{}, refusal(resp, answer)
	}
	if err != nil {
		return Authorization{}, fmt.Errorf("read gateway's answer: %w", err)
	}
	return decode(answer)
}

func decode(answer []byte) (Authorization, error) {
	if len(answer) > maxAnswer {
		return Authorization{}, fmt.Errorf("%w: answer is longer than %d bytes", ErrUndecided, maxAnswer)
	}
	var a answerBody
	if err := json.Unmarshal(answer, &a); err != nil {
		return Authorization{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	if a.Status == StatusAuthorized && a.ID == "" {
		return Authorization{}, fmt.Errorf("%w: authorized without an id", ErrUndecided)
	}
	return Authorization{ID: clip(a.ID), Status: a.Status, Reason: clip(a.Reason)}, nil
}

// refusal turns any other status into the error that steers the order.
func refusal(resp *http.Response, answer []byte) error {
	var said errorBody
	_ = json.Unmarshal(answer, &said) // a proxy's HTML says no more than the status
	err := statusError(resp.StatusCode, said)

	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if d, ok := retryAfter(resp.Header, time.Now()); ok {
			return order.RetryAfter(d, err)
		}
		return err
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return order.Reject(err)
	case http.StatusConflict:
		if said.Code == "in_progress" {
			return err // an earlier attempt of ours that is still being decided
		}
		return order.Reject(err)
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("%w (check the gateway's address, credentials and account)", err)
	default:
		return err
	}
}

func statusError(status int, said errorBody) error {
	parts := []string{fmt.Sprintf("gateway answered %d %s", status, http.StatusText(status))}
	for _, s := range []string{said.Code, said.Message} {
		if s = clip(s); s != "" {
			parts = append(parts, s)
		}
	}
	return errors.New(strings.Join(parts, ": "))
}

// clip keeps what a stranger said short and on one line.
func clip(s string) string {
	const most = 200
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
