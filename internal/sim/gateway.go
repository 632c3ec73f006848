package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// gateway speaks the wire format of package consumer/payment.
func (w *World) gateway() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/authorizations", w.authorize)
	return mux
}

func (w *World) authorize(rw http.ResponseWriter, req *http.Request) {
	w.books.note(func(c *Counts) { c.Payment.Requests++ })
	asked, err := parseAsked(rw, req)
	if err != nil {
		w.books.note(func(c *Counts) { c.Payment.Invalid++ })
		problemOf(rw, http.StatusBadRequest, "invalid", err.Error())
		return
	}
	r := w.regimes[Payment].Load()
	n := r.request(asked.order)
	w.think(r, "payment", asked.order, n)

	face := r.face(asked.order, n)
	switch face.Kind {
	case Hang:
		if !w.heldPayment(r, face.For, req) {
			panic(http.ErrAbortHandler) // the client has gone, or the world ends; nothing was done
		}
	case Errors:
		problemOf(rw, http.StatusInternalServerError, "internal", "simulated error")
		return
	case Throttle:
		seconds := max(1, int64((or(face.For, time.Second)+time.Second-1)/time.Second))
		rw.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
		problemOf(rw, http.StatusTooManyRequests, "throttled", "simulated throttling")
		return
	case Late, Cut, Drip, Latency, Declines, Deaf: // Late, Cut and Drip come after the effect
	}

	made, err := w.books.authorize(asked, r.declines(asked.order))
	if err != nil {
		problemOf(rw, http.StatusConflict, "key_reused", err.Error())
		return
	}
	answer := answerOf(made)
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	switch face.Kind {
	case Cut:
		panic(http.ErrAbortHandler)
	case Late:
		if !w.heldPayment(r, or(face.For, 3*time.Second), req) {
			panic(http.ErrAbortHandler)
		}
	case Drip:
		w.drip(rw, req, r, or(face.For, time.Second), answer)
		return
	case Hang, Errors, Throttle, Latency, Declines, Deaf:
	}
	_, _ = rw.Write(answer)
}

func (w *World) heldPayment(r *regime, d time.Duration, req *http.Request) bool {
	w.books.note(func(c *Counts) { c.Payment.Held++ })
	defer w.books.note(func(c *Counts) { c.Payment.Held-- })
	return w.hold(r.over, d, req.Context().Done())
}

func (w *World) drip(rw http.ResponseWriter, req *http.Request, r *regime, each time.Duration, answer []byte) {
	w.books.note(func(c *Counts) { c.Payment.Held++ })
	defer w.books.note(func(c *Counts) { c.Payment.Held-- })
	flush := http.NewResponseController(rw)
	for i := range answer {
		if _, err := rw.Write(answer[i : i+1]); err != nil || flush.Flush() != nil {
			return
		}
		if !w.hold(r.over, each, req.Context().Done()) {
			panic(http.ErrAbortHandler)
		}
	}
}

func parseAsked(rw http.ResponseWriter, req *http.Request) (charge, error) {
	var body struct {
		OrderID  string `json:"order_id"`
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(rw, req.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		return charge{}, fmt.Errorf("parse request: %w", err)
	}
	// Read to the end: only then does net/http tell us that the client has gone.
	if dec.More() {
		return charge{}, errors.New("parse request: more than one document")
	}
	c := charge{key: req.Header.Get("Idempotency-Key"), order: body.OrderID, amount: body.Amount, currency: body.Currency}
	switch {
	case c.key == "":
		return charge{}, errors.New("the header Idempotency-Key is missing")
	case c.order == "" || c.currency == "":
		return charge{}, errors.New("order_id and currency are required")
	case c.amount <= 0:
		return charge{}, fmt.Errorf("amount %d must be positive", c.amount)
	}
	return c, nil
}

func answerOf(c Charge) []byte {
	type answer struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}
	a := answer{ID: c.ID, Status: "authorized"}
	if c.Declined {
		a.Status, a.Reason = "declined", "insufficient funds"
	}
	b, _ := json.Marshal(a) // strings always marshal
	return append(b, '\n')
}

func problemOf(rw http.ResponseWriter, status int, code, message string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]string{"code": code, "message": message})
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
