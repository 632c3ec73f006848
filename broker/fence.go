package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A fenced log is a subject to which a message is stored only if its writer knew
// all that was there. Its writers read it, decide, and store what they decided
// with StoreAfter; of several who do so at once, one succeeds.

// ErrConflict is returned when the subject's last message isn't the one that was
// named. Nothing was stored.
var ErrConflict = errors.New("somebody else has stored first")

// StoreAfter publishes data and waits for the broker's ack: nil means stored, at
// the sequence returned, as the message right after last on its subject. Zero
// for last means that it is the first.
//
// It returns ErrConflict when the subject's last message is another one, and the
// errors of Store otherwise. After ErrNotStored the message may be in the log, or
// may yet arrive there as long as nothing else has been stored after last: read
// the log to learn which. Storing again after the same last is safe, with other
// data too, since the broker takes at most one message after each.
//
// There is no message id. The fence keeps out repetitions for ever, not for two
// minutes, and an id by which the broker says "stored before" would say so of
// whatever had that id.
func (c *Conn) StoreAfter(ctx context.Context, subject string, data []byte, last uint64) (uint64, error) {
	ack, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{}, Data: data}, jetstream.WithExpectLastSequencePerSubject(last))
	if isConflict(err) {
		return 0, fmt.Errorf("store %s after %d: %w: %w", subject, last, ErrConflict, err)
	}
	if err != nil {
		return 0, storeError(subject, err)
	}
	return ack.Sequence, nil
}

// isConflict knows both codes: a replicated stream answers with the second while
// another message of the subject is being agreed on.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// LastSeq returns the sequence of the last message of a subject, or 0 when it
// has none. The stream's leader is asked, so that what was acknowledged before
// is counted.
func (c *Conn) LastSeq(ctx context.Context, stream, subject string) (uint64, error) {
	var answer struct {
		Message place `json:"message"`
	}
	err := c.api(ctx, "STREAM.MSG.GET."+stream, getRequest{LastFor: subject, NoHeaders: true}, &answer)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err == nil && answer.Message.Seq == 0 {
		err = errors.New("the broker named none")
	}
	if err != nil {
		return 0, fmt.Errorf("find the last message of %s: %w", subject, err)
	}
	return answer.Message.Seq, nil
}

// A round of reading: what is asked for at a time, small against what a
// connection buffers.
const (
	readMessages = 10_000
	readBytes    = 4 << 20
)

// ReadAfter yields what is stored on a subject, in which "*" stands for any token,
// after sequence last, oldest first, to its end. The end is that of the server that answers, which may be a
// replica some moments behind; LastSeq knows better. What the loop gets is
// without a gap. An error ends it; what came before is good, and reading can go
// on from there.
func (c *Conn) ReadAfter(ctx context.Context, stream, subject string, last uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		for more := true; more; {
			var err error
			if more, err = c.readRound(ctx, stream, subject, &last, yield); err != nil {
				yield(Stored{}, fmt.Errorf("read %s after %d: %w", subject, last, err))
				return
			}
		}
	}
}

type getRequest struct {
	Seq       uint64 `json:"seq,omitempty"`
	NextFor   string `json:"next_by_subj,omitempty"`
	LastFor   string `json:"last_by_subj,omitempty"`
	Batch     int    `json:"batch,omitempty"`
	MaxBytes  int    `json:"max_bytes,omitempty"`
	NoHeaders bool   `json:"no_hdr,omitempty"`
}

// readRound asks once and yields the answers. It reports whether there is more,
// and moves last on.
func (c *Conn) readRound(ctx context.Context, stream, subject string, last *uint64, yield func(Stored, error) bool) (more bool, err error) {
	request, err := json.Marshal(getRequest{Seq: *last + 1, NextFor: subject, Batch: readMessages, MaxBytes: readBytes})
	if err != nil {
		return false, err
	}
	sub, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		return false, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	if err := c.nc.PublishRequest(jetstream.DefaultAPIPrefix+"DIRECT.GET."+stream, sub.Subject, request); err != nil {
		return false, err
	}
	var before uint64 // in this round; the broker says of each message which was the one before
	for {
		m, err := nextWithin(ctx, sub)
		if err != nil {
			return false, err
		}
		if seq := headerNumber(m, jetstream.SequenceHeader); seq > 0 {
			if headerNumber(m, jetstream.LastSequenceHeader) != before {
				return false, errLost
			}
			at, err := time.Parse(time.RFC3339Nano, headerLast(m, jetstream.TimeStampHeaer))
			if err != nil {
				return false, fmt.Errorf("time of message %d: %w", seq, err)
			}
			before, *last = seq, seq
			if !yield(Stored{seq, headerLast(m, jetstream.SubjectHeader), at, m.Header, m.Data}, nil) {
				return false, nil
			}
			continue
		}
		switch status := m.Header.Get("Status"); status {
		case "": // a message whose headers can't be read, and so not the broker's word in them: the leader has another way
			m, found, err := c.get(ctx, stream, getRequest{Seq: *last + 1, NextFor: subject})
			if err != nil || !found {
				return false, err
			}
			*last = m.Seq
			return yield(m, nil), nil
		case "204": // the end of the round
			if headerNumber(m, jetstream.LastSequenceHeader) != before {
				return false, errLost
			}
			return headerNumber(m, "Nats-Num-Pending") > 0, nil
		case "404": // nothing at all
			return false, nil
		default:
			return false, fmt.Errorf("the broker says %s %s", status, m.Header.Get("Description"))
		}
	}
}

// errLost: a message that the broker sent didn't come, as when a client can't
// keep up.
var errLost = errors.New("a message was lost on the way")

func nextWithin(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// headerNumber reads a number that the broker wrote; zero is none.
func headerNumber(m *nats.Msg, key string) uint64 {
	n, err := strconv.ParseUint(headerLast(m, key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// headerLast is what the broker wrote. It writes behind what a message has, so the
// last value is the broker's.
func headerLast(m *nats.Msg, key string) string {
	vs := m.Header[key]
	if len(vs) == 0 {
		return ""
	}
	return vs[len(vs)-1]
}
