package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is something to be stored.
type Message struct {
	Subject string
	ID      string // what makes it the same message when it is stored again; empty: nothing does
	Header  nats.Header
	Data    []byte
}

// Receipt is the broker's word that a message is stored.
type Receipt struct {
	Stream    string
	Seq       uint64
	Duplicate bool // it was stored before, under the same ID within two minutes
}

// Store publishes m and waits for the broker's ack: nil means stored. It
// returns ErrFull when the stream is at its limit, and ErrNotStored when no
// answer came by ctx's end (or within 5 s, when ctx has none): then the message
// may be stored or not, and storing it again with the same ID is safe within
// two minutes. Without an ID it is another message each time.
func (c *Conn) Store(ctx context.Context, m Message) (Receipt, error) {
	ack, err := c.js.PublishMsg(ctx, m.wire())
	if err != nil {
		return Receipt{}, storeError(m.Subject, err)
	}
	return receipt(ack), nil
}

// MaxAsync is how many messages of one connection may be under way in
// StoreAsync at a time; a caller bounds itself to that.
const MaxAsync = 4000

// asyncTimeout is how long StoreAsync waits for an answer.
const asyncTimeout = 5 * time.Second

// StoreAsync publishes m and returns at once; answer is called once, on another
// goroutine, with what Store would have returned, within five seconds. At most
// MaxAsync may be under way on a connection.
func (c *Conn) StoreAsync(m Message, answer func(Receipt, error)) {
	future, err := c.js.PublishMsgAsync(m.wire())
	if err != nil {
		go answer(Receipt{}, storeError(m.Subject, err))
		return
	}
	go func() {
		select {
		case ack := <-future.Ok():
			answer(receipt(ack), nil)
		case err := <-future.Err():
			answer(Receipt{}, storeError(m.Subject, err))
		}
	}()
}

func (m Message) wire() *nats.Msg {
	h := make(nats.Header, len(m.Header)+1)
	for k, vs := range m.Header {
		if !IsReserved(k) {
			h[k] = vs
		}
	}
	if m.ID != "" {
		h[jetstream.MsgIDHeader] = []string{m.ID}
	}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

func receipt(ack *jetstream.PubAck) Receipt {
	return Receipt{Stream: ack.Stream, Seq: ack.Sequence, Duplicate: ack.Duplicate}
}

// jsStreamStoreFailed is the broker's code for every refused store; the text
// says which limit it was.
const jsStreamStoreFailed jetstream.ErrorCode = 10077

func storeError(subject string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jsStreamStoreFailed:
		return fmt.Errorf("store %s: %w: %w", subject, ErrFull, err)
	case errors.As(err, &api), errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("store %s: %w", subject, err)
	default:
		return fmt.Errorf("store %s: %w: %w", subject, ErrNotStored, err)
	}
}
