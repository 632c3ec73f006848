package broker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

func small() broker.Plan {
	return broker.Plan{
		OrderBytes: 1 << 20,
		Services:   []broker.Service{{Name: order.Payment, Tiers: 2, AckWait: 30 * time.Second, FromStart: true}},
	}
}

func lines(changes []broker.Change) []string {
	out := make([]string, 0, len(changes))
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

func wantProvision(t *testing.T, b *broker.Conn, p broker.Plan, update bool, want ...string) {
	t.Helper()
	changes, err := b.Provision(t.Context(), p, update)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{}, want...), lines(changes)); diff != "" {
		t.Errorf("Provision: -want +got\n%s", diff)
	}
}

func TestProvision_CreatesWhatIsMissingAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		var all []string
		p := small()
		p.MaxPayload = b.MaxPayload()
		for _, s := range p.Topology().Streams {
			all = append(all, "stream "+s.Name+" created")
		}
		for _, d := range p.Topology().Durables {
			all = append(all, "durable "+d.Stream+"/"+d.Durable+" created")
		}
		wantProvision(t, b, small(), false, all...)
		wantProvision(t, b, small(), false)
		wantProvision(t, b, small(), true)

		more := small()
		more.Services[0].Tiers = 3
		more.Services = append(more.Services, broker.Service{Name: "gift-wrap", AckWait: time.Minute})
		wantProvision(t, b, more, false,
			"stream RETRY_GIFT_WRAP created", "durable RETRY_PAYMENT/payment-t3 created",
			"durable ORDERS/gift-wrap created", "durable RETRY_GIFT_WRAP/gift-wrap-now created")
	})
}

func TestProvision_ReportsDriftAndChangesItOnlyWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		brokertest.Provision(t, b, small())
		other := small()
		other.OrderBytes = 2 << 20
		other.Services[0].AckWait = time.Minute
		other.Services[0].Events = []string{"orders.created", "orders.canceled"}
		want := func(action string) []string {
			return []string{
				"stream ORDERS " + action + ": max_bytes: 1048576, want 2097152",
				"stream RETRY_PAYMENT " + action + ": max_bytes: 262144, want 524288",
				"durable ORDERS/payment " + action + ": filter_subjects: [orders.created], want [orders.canceled orders.created]; ack_wait: 30s, want 1m0s",
				"durable RETRY_PAYMENT/payment-now " + action + ": ack_wait: 30s, want 1m0s",
				"durable RETRY_PAYMENT/payment-t1 " + action + ": ack_wait: 30s, want 1m0s",
				"durable RETRY_PAYMENT/payment-t2 " + action + ": ack_wait: 30s, want 1m0s",
			}
		}
		of := func(update bool) (got []string) {
			changes, err := b.Provision(t.Context(), other, update)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if strings.Contains(c.Name, "ORDERS") || strings.Contains(c.Name, "PAYMENT") {
					got = append(got, c.String())
				}
			}
			return got
		}
		for _, tc := range []struct {
			update bool
			action string
		}{{false, "drifted"}, {false, "drifted"}, {true, "updated"}} {
			if diff := cmp.Diff(want(tc.action), of(tc.update)); diff != "" {
				t.Errorf("Provision, update %v: -want +got\n%s", tc.update, diff)
			}
		}
		wantProvision(t, b, other, true)
	})
}

// Retries may wait in tiers that the plan doesn't have any more: somebody takes them,
// for whom they have to be as the others.
func TestProvision_KeepsTiersBeyondThePlanInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		brokertest.Provision(t, b, small())
		fewer := small()
		fewer.Services[0].Tiers = 0
		wantProvision(t, b, fewer, true)
		fewer.Services[0].AckWait = time.Minute
		var want []string
		for _, d := range []string{"ORDERS/payment", "RETRY_PAYMENT/payment-now", "RETRY_PAYMENT/payment-t1", "RETRY_PAYMENT/payment-t2"} {
			want = append(want, "durable "+d+" updated: ack_wait: 30s, want 1m0s")
		}
		wantProvision(t, b, fewer, true, want...)
	})
}

// Where a stream lives and how it is compressed is the operator's.
func TestProvision_AnUpdateLeavesWhatItDoesNotDecide(t *testing.T) {
	ctx := context.Background()
	b := brokertest.Start(t).Connect()
	brokertest.Provision(t, b, small())
	js := b.JetStream()
	s, err := js.Stream(ctx, broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Compression, cfg.Metadata = jetstream.S2Compression, map[string]string{"team": "sales"}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	d, err := js.Consumer(ctx, broker.StreamOrders, "payment")
	if err != nil {
		t.Fatal(err)
	}
	durable := d.CachedInfo().Config
	durable.Metadata, durable.MaxRequestBatch = map[string]string{"team": "payments"}, 77
	if _, err := js.UpdateConsumer(ctx, broker.StreamOrders, durable); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PauseConsumer(ctx, broker.StreamOrders, "payment", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}

	other := small()
	other.OrderBytes, other.Services[0].AckWait = 2<<20, time.Minute
	if _, err := b.Provision(ctx, other, true); err != nil {
		t.Fatal(err)
	}
	if s, err = js.Stream(ctx, broker.StreamOrders); err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config; got.Compression != jetstream.S2Compression || got.Metadata["team"] != "sales" || got.MaxBytes != 2<<20 {
		t.Errorf("after the update compression = %v, metadata = %v, max_bytes = %d; want s2, sales, %d", got.Compression, got.Metadata, got.MaxBytes, 2<<20)
	}
	if d, err = js.Consumer(ctx, broker.StreamOrders, "payment"); err != nil {
		t.Fatal(err)
	}
	got := d.CachedInfo()
	if !got.Paused || got.Config.Metadata["team"] != "payments" || got.Config.MaxRequestBatch != 77 || got.Config.AckWait != time.Minute {
		t.Errorf("after the update paused = %v, metadata = %v, max_batch = %d, ack_wait = %v; want true, payments, 77, 1m",
			got.Paused, got.Config.Metadata, got.Config.MaxRequestBatch, got.Config.AckWait)
	}
}

func TestProvision_SeveralAtOnceAgree(t *testing.T) {
	srv := brokertest.Start(t)
	var wg sync.WaitGroup
	for range 4 {
		b := srv.Connect()
		wg.Go(func() {
			changes, err := b.Provision(context.Background(), small(), false)
			if err != nil {
				t.Errorf("Provision beside others: %v", err)
			}
			for _, c := range changes {
				if c.Action != broker.Created {
					t.Errorf("Provision beside others: %v, want nothing but created", c)
				}
			}
		})
	}
	wg.Wait()
	wantProvision(t, srv.Connect(), small(), false)
}

// Two versions of the program that differ create one of both; the other one says
// so and lives with it.
func TestProvision_TwoPlansAtOnceMakeOneAndADrift(t *testing.T) {
	srv := brokertest.Start(t)
	var wg sync.WaitGroup
	for i := range 4 {
		b, p := srv.Connect(), small()
		p.OrderBytes <<= i % 2
		p.Services[0].AckWait += time.Duration(i%2) * time.Second
		wg.Go(func() {
			if _, err := b.Provision(context.Background(), p, false); err != nil {
				t.Errorf("Provision beside another plan: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestProvision_AServiceAddedLaterBeginsWithNewOrders(t *testing.T) {
	for name, tc := range map[string]struct {
		fromStart bool
		want      uint64
	}{"by default": {false, 1}, "from the start": {true, 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.publish(broker.SubjectCreated, 2)
				brokertest.Provision(t, s.b, broker.Plan{
					OrderBytes: 1 << 20,
					Services:   []broker.Service{{Name: "gift-wrap", AckWait: time.Minute, FromStart: tc.fromStart}},
				})
				s.publish(broker.SubjectCreated, 1)
				synctest.Wait() // the durable hears of it after the publisher
				d, err := s.b.JetStream().Consumer(t.Context(), broker.StreamOrders, "gift-wrap")
				if err != nil {
					t.Fatal(err)
				}
				if got := d.CachedInfo().NumPending; got != tc.want {
					t.Errorf("the new service has %d orders to handle, want %d", got, tc.want)
				}
			})
		})
	}
}

func TestPlan_RefusesWhatCanNotWork(t *testing.T) {
	for want, change := range map[string]func(*broker.Plan){
		"max_payload of at least": func(p *broker.Plan) { p.MaxPayload = 64 << 10 },
		"replicas must be 1 to 5": func(p *broker.Plan) { p.Replicas = 6 },
		"at least 1 MiB":          func(p *broker.Plan) { p.OrderBytes = 1000 },
		`service "Pay"`:           func(p *broker.Plan) { p.Services[0].Name = "Pay" },
		"ack wait must be":        func(p *broker.Plan) { p.Services[0].AckWait = 0 },
		"retry tiers must not be": func(p *broker.Plan) { p.Services[0].Tiers = -1 },
	} {
		p := small()
		p.MaxPayload = 1 << 20
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want an error with %q", err, want)
		}
	}
}
