package broker_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// Compare finds what Provision does afterwards, no more and no less, and leaves
// everything as it was.
func TestCompare_FindsWhatProvisionDoes(t *testing.T) {
	c := brokertest.Start(t).Connect()
	p := brokertest.Plan()

	compare := func() []broker.Change {
		t.Helper()
		got, err := c.Compare(t.Context(), p)
		if err != nil {
			t.Fatalf("Compare: %v", err)
		}
		return got
	}
	as := func(changes []broker.Change, from, to broker.Action) []broker.Change {
		renamed := make([]broker.Change, 0, len(changes))
		for _, ch := range changes {
			if ch.Action == from {
				ch.Action = to
			}
			renamed = append(renamed, ch)
		}
		return renamed
	}

	missing := compare()
	if again := compare(); len(missing) == 0 || !cmp.Equal(missing, again) {
		t.Fatalf("Compare twice on an empty broker: got %v, then %v", missing, again)
	}
	created, err := c.Provision(t.Context(), p, false)
	if err != nil {
		t.Fatalf("Provision: %v", err)
	}
	if diff := cmp.Diff(created, as(missing, broker.Missing, broker.Created)); diff != "" {
		t.Errorf("what was missing is what was created (-created +missing):\n%s", diff)
	}
	if got := compare(); len(got) != 0 {
		t.Fatalf("Compare after Provision: got %v, want nothing", got)
	}

	s, err := c.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxBytes *= 2
	if _, err := c.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := c.JetStream().DeleteConsumer(t.Context(), broker.StreamOrders, "payment"); err != nil {
		t.Fatal(err)
	}
	want := []broker.Change{
		{Kind: "stream", Name: "ORDERS", Action: broker.Drifted, Fields: []string{"max_bytes: 134217728, want 67108864"}},
		{Kind: "durable", Name: "ORDERS/payment", Action: broker.Missing},
	}
	if diff := cmp.Diff(want, compare()); diff != "" {
		t.Errorf("Compare (-want +got):\n%s", diff)
	}
	if _, err := c.JetStream().Consumer(t.Context(), broker.StreamOrders, "payment"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("durable payment after Compare: got %v, want it still missing", err)
	}
	if _, err := c.Provision(t.Context(), p, true); err != nil {
		t.Fatalf("Provision with update: %v", err)
	}
	if got := compare(); len(got) != 0 {
		t.Errorf("Compare after an update: got %v, want nothing", got)
	}
}
