package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

func TestSuspects_AMarkCountsUntilItIsClearedAndIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := brokertest.New(t)
		marks, err := c.Suspects(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key := broker.SuspectKey(order.Payment, broker.StreamOrders, 17)
		want := func(crashes int) {
			t.Helper()
			if got, err := marks.Crashes(t.Context(), key); err != nil || got != crashes {
				t.Errorf("Crashes(%s) = %d, %v, want %d", key, got, err, crashes)
			}
		}
		want(0)
		for n := 1; n <= 2; n++ {
			if err := marks.Raise(t.Context(), key, n); err != nil {
				t.Fatal(err)
			}
			want(n)
		}
		if err := marks.Clear(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		want(0)
		if err := marks.Clear(t.Context(), key); err != nil {
			t.Errorf("Clear of a mark that isn't there = %v, want nil", err)
		}
		if _, err := c.JetStream().Publish(t.Context(), "$KV.suspects."+key, []byte("many")); err != nil {
			t.Fatal(err)
		}
		want(1)
		time.Sleep(8 * 24 * time.Hour)
		want(0)
	})
}

func TestSuspects_AStoreOfAnOlderProgramGetsItsPlaceForMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := brokertest.New(t)
		if err := c.JetStream().DeleteStream(t.Context(), broker.StreamSuspects); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Suspects(t.Context()); err == nil {
			t.Error("Suspects without a bucket = nil, want an error")
		}
		changes, err := c.Provision(t.Context(), brokertest.Plan(), false)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) != 1 || changes[0].Name != broker.StreamSuspects || changes[0].Action != broker.Created {
			t.Errorf("Provision did %v, want just the bucket created", changes)
		}
		if _, err := c.Suspects(t.Context()); err != nil {
			t.Errorf("Suspects = %v, want nil", err)
		}
	})
}
