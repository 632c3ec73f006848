package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Admin returns the switches and counts over HTTP:
//
//	GET    /faults              {"payment":"hang:50%","mail":"none","inventory":"none"}
//	PUT    /faults/{target}     {"fault":"hang:50%+deaf:50%"}; answers as GET /faults
//	DELETE /faults/{target}     204
//	GET    /counts              Counts
//	GET    /charges/{order id}  {"order_id":"…","charged":1,"decisions":[Charge…]}
//	GET    /mails/{message id}  {"message_id":"…","taken":1}
//
// What was never seen has count 0. Errors are problem+json (RFC 9457).
func (w *World) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /faults", func(rw http.ResponseWriter, _ *http.Request) { w.showFaults(rw) })
	mux.HandleFunc("PUT /faults/{target}", w.putFault)
	mux.HandleFunc("DELETE /faults/{target}", w.deleteFault)
	mux.HandleFunc("GET /counts", func(rw http.ResponseWriter, _ *http.Request) { show(rw, w.Counts()) })
	mux.HandleFunc("GET /charges/{order...}", w.showCharges)
	mux.HandleFunc("GET /mails/{message...}", w.showMails)
	return http.NewCrossOriginProtection().Handler(mux) // a web page in somebody's browser switches nothing
}

func (w *World) showFaults(rw http.ResponseWriter) {
	m := map[Target]string{}
	for t, fs := range w.Faults() {
		m[t] = fs.String()
	}
	show(rw, m)
}

func (w *World) putFault(rw http.ResponseWriter, req *http.Request) {
	t, err := ParseTarget(req.PathValue("target"))
	if err != nil {
		problem(rw, http.StatusNotFound, err)
		return
	}
	var body struct {
		Fault *string `json:"fault"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(rw, req.Body, 4<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		problem(rw, http.StatusBadRequest, fmt.Errorf(`parse body: %w; want {"fault":"hang:50%%"}`, err))
		return
	}
	if body.Fault == nil {
		problem(rw, http.StatusBadRequest, errors.New(`body has no "fault"; want {"fault":"hang:50%"}`))
		return
	}
	fs, err := ParseFaults(*body.Fault)
	if err == nil {
		err = w.Set(t, fs)
	}
	if err != nil {
		problem(rw, http.StatusUnprocessableEntity, err)
		return
	}
	w.showFaults(rw)
}

func (w *World) deleteFault(rw http.ResponseWriter, req *http.Request) {
	t, err := ParseTarget(req.PathValue("target"))
	if err != nil {
		problem(rw, http.StatusNotFound, err)
		return
	}
	w.Clear(t)
	rw.WriteHeader(http.StatusNoContent)
}

func (w *World) showCharges(rw http.ResponseWriter, req *http.Request) {
	type charges struct {
		OrderID   string   `json:"order_id"`
		Charged   int      `json:"charged"`
		Decisions []Charge `json:"decisions"`
	}
	c := charges{OrderID: req.PathValue("order")}
	c.Decisions = w.Charges(c.OrderID)
	for _, d := range c.Decisions {
		if !d.Declined {
			c.Charged++
		}
	}
	show(rw, c)
}

func (w *World) showMails(rw http.ResponseWriter, req *http.Request) {
	type mails struct {
		MessageID string `json:"message_id"`
		Taken     int    `json:"taken"`
	}
	id := req.PathValue("message")
	show(rw, mails{MessageID: id, Taken: w.Mails(id)})
}

func show(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v)
}

func problem(rw http.ResponseWriter, status int, err error) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": err.Error(),
	})
}
