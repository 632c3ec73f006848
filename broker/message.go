package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored is a message as it is read back.
type Stored struct {
	Seq     uint64
	Subject string
	At      time.Time   // when it was stored
	Header  nats.Header // with the broker's own; empty when it can't be read
	Data    []byte
}

// Get returns one message of a stream; found is false when it isn't there. The
// stream's leader is asked: a replica that lags may not have it yet, or have it
// still.
func (c *Conn) Get(ctx context.Context, stream string, seq uint64) (m Stored, found bool, err error) {
	m, found, err = c.get(ctx, stream, getRequest{Seq: seq})
	if err != nil {
		err = fmt.Errorf("get message %d of %s: %w", seq, stream, err)
	}
	return m, found, err
}

func (c *Conn) get(ctx context.Context, stream string, r getRequest) (m Stored, found bool, err error) {
	var answer struct {
		Message struct {
			Seq     uint64    `json:"seq"`
			Subject string    `json:"subject"`
			Time    time.Time `json:"time"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
		} `json:"message"`
	}
	err = c.api(ctx, "STREAM.MSG.GET."+stream, r, &answer)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	got := answer.Message
	m = Stored{Seq: got.Seq, Subject: got.Subject, At: got.Time, Header: nats.Header{}, Data: got.Data}
	if h, err := nats.DecodeHeadersMsg(got.Header); err == nil { // else as a client is given such a message: without
		m.Header = h
	}
	return m, true, nil
}

// Delete takes one message out of a stream. It is no error when it isn't there.
func (c *Conn) Delete(ctx context.Context, stream string, seq uint64) error {
	var done struct{}
	err := c.api(ctx, "STREAM.MSG.DELETE."+stream, map[string]any{"seq": seq, "no_erase": true}, &done)
	if _, refused := errors.AsType[*jetstream.APIError](err); refused {
		if _, found, looked := c.Get(ctx, stream, seq); looked == nil && !found {
			return nil // somebody else was faster
		}
	}
	if err != nil {
		return fmt.Errorf("delete message %d of %s: %w", seq, stream, err)
	}
	return nil
}
