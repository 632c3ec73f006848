package consumer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

func TestJudge(t *testing.T) {
	failed := errors.New("gateway answered 503")
	ladder := consumer.Policy{Retry: []time.Duration{time.Second, 10 * time.Second, time.Minute}}

	for name, tt := range map[string]struct {
		policy  consumer.Policy
		attempt consumer.Attempt
		err     error
		want    consumer.Verdict
	}{
		"no error is done": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, want: consumer.Verdict{Fate: consumer.Done},
		},
		"the first failure waits in the first tier": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: failed,
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 1, Delay: time.Second, Next: 2},
		},
		"the third failure waits in the third tier": {
			policy: ladder, attempt: consumer.Attempt{N: 3}, err: failed,
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 3, Delay: time.Minute, Next: 4},
		},
		"there is one attempt more than delays": {
			policy: ladder, attempt: consumer.Attempt{N: 4}, err: failed,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Exhausted},
		},
		"an attempt beyond the ladder, from another configuration, is the last": {
			policy: ladder, attempt: consumer.Attempt{N: 99}, err: failed,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Exhausted},
		},
		"without a ladder the first failure is final": {
			attempt: consumer.Attempt{N: 1}, err: failed,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Exhausted},
		},
		"a timeout is a failure": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: &bulkhead.TimeoutError{},
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 1, Delay: time.Second, Next: 2},
		},
		"an unknown SKU is final": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: fmt.Errorf("reserve: %w", order.Reject(failed)),
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Rejected},
		},
		"bytes that are no order are final": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: fmt.Errorf("decode: %w", order.ErrInvalid),
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Invalid},
		},
		"too many bytes are final": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: order.ErrTooLarge,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Invalid},
		},
		"an unknown schema is final, and has a reason of its own": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: order.ErrSchema,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Schema},
		},
		"asked for 2 s, it waits in the first tier that is long enough": {
			policy: ladder, attempt: consumer.Attempt{N: 1}, err: order.RetryAfter(2*time.Second, failed),
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 2, Delay: 10 * time.Second, Next: 2},
		},
		"asked for exactly a tier's delay, it waits there": {
			policy: ladder, attempt: consumer.Attempt{N: 2}, err: order.RetryAfter(10*time.Second, failed),
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 2, Delay: 10 * time.Second, Next: 3},
		},
		"asked for more than the last tier, it waits there and the attempt isn't counted": {
			policy: ladder, attempt: consumer.Attempt{N: 4}, err: order.RetryAfter(time.Hour, failed),
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 3, Delay: time.Minute, Next: 4},
		},
		"asked for a short while at the last attempt, it is exhausted": {
			policy: ladder, attempt: consumer.Attempt{N: 4}, err: order.RetryAfter(time.Second, failed),
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Exhausted},
		},
		"a retry just before the deadline is made": {
			policy: ladder, attempt: consumer.Attempt{N: 1, Bounded: true, Left: time.Second + 1}, err: failed,
			want: consumer.Verdict{Fate: consumer.Retry, Tier: 1, Delay: time.Second, Next: 2},
		},
		"a retry that would come at the deadline is dead at once": {
			policy: ladder, attempt: consumer.Attempt{N: 1, Bounded: true, Left: time.Second}, err: failed,
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Expired},
		},
		"done after the deadline is done": {
			policy: ladder, attempt: consumer.Attempt{N: 1, Bounded: true, Left: -time.Second},
			want: consumer.Verdict{Fate: consumer.Done},
		},
		"rejected after the deadline is rejected": {
			policy: ladder, attempt: consumer.Attempt{N: 1, Bounded: true, Left: -time.Second}, err: order.Reject(failed),
			want: consumer.Verdict{Fate: consumer.Dead, Reason: deadletter.Rejected},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.policy.Judge(tt.attempt, tt.err)); diff != "" {
				t.Errorf("Judge(%+v, %v): -want +got\n%s", tt.attempt, tt.err, diff)
			}
		})
	}
}
