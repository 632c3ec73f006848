package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// level looks at a stream, by its leader.
func (c *Conn) level(ctx context.Context, stream string) (level, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return level{}, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	st := info.State
	return level{
		Stream: stream, First: st.FirstSeq, Last: st.LastSeq, Msgs: st.Msgs, Bytes: st.Bytes,
		Maximum: uint64(max(0, info.Config.MaxBytes)), FirstTime: st.FirstTime,
	}, nil
}

// firstSince is the sequence of the first message stored at a time or later;
// beyond any sequence when there is none.
func (c *Conn) firstSince(ctx context.Context, stream string, at time.Time) (uint64, error) {
	m, found, err := c.find(ctx, stream, search{Time: &at, Subject: ">"})
	if err != nil || !found {
		return math.MaxUint64, err
	}
	return m.Seq, nil
}

// storedAt is when the first message at a sequence or after it was stored.
func (c *Conn) storedAt(ctx context.Context, stream string, seq uint64) (time.Time, error) {
	m, _, err := c.find(ctx, stream, search{Seq: seq, Subject: ">"})
	return m.Time, err
}

// search asks for the first message of a subject at a sequence, or a time, or
// after it.
type search struct {
	Seq       uint64     `json:"seq,omitempty"`
	Time      *time.Time `json:"start_time,omitempty"`
	Subject   string     `json:"next_by_subj"`
	NoHeaders bool       `json:"no_hdr"`
}

type place struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
}

// find asks the stream's leader, and not whichever replica is near as a direct
// get does: one that lags may not have the message yet.
func (c *Conn) find(ctx context.Context, stream string, s search) (place, bool, error) {
	s.NoHeaders = true
	var answer struct {
		Message place `json:"message"`
	}
	err := c.api(ctx, "STREAM.MSG.GET."+stream, s, &answer)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, fmt.Errorf("find a message of %s: %w", stream, err)
	}
	return answer.Message, true, nil
}

// purge takes away what is before a sequence, and returns how much that was.
func (c *Conn) purge(ctx context.Context, stream string, before uint64) (uint64, error) {
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	err := c.api(ctx, "STREAM.PURGE."+stream, map[string]uint64{"seq": before}, &answer)
	if err != nil {
		return 0, fmt.Errorf("purge %s before %d: %w", stream, before, err)
	}
	return answer.Purged, nil
}

// apiTimeout is how long the broker may take for one question.
const apiTimeout = 5 * time.Second

// api asks JetStream what the library has no words for.
func (c *Conn) api(ctx context.Context, subject string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	m, err := c.nc.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+subject, body)
	if err != nil {
		return err
	}
	var refusal struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &refusal); err != nil {
		return err
	}
	if refusal.Error != nil {
		return refusal.Error
	}
	return json.Unmarshal(m.Data, answer)
}
