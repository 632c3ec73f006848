package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// guarded runs a server on which "shop" may do everything and "clerk" may not
// publish or pull what is denied.
func guarded(t *testing.T, denied ...string) *server.Server {
	t.Helper()
	ns, err := server.NewServer(&server.Options{
		ServerName: t.Name(), DontListen: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 2 << 20, NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "shop", Password: "x"},
			{Username: "clerk", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: denied}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatal("server not ready within 20 s")
	}
	return ns
}

func connectAs(t *testing.T, ns *server.Server, user string) *broker.Conn {
	t.Helper()
	c, err := broker.Connect(t.Context(), broker.Config{Options: []nats.Option{nats.InProcessServer(ns), nats.UserInfo(user, "x")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// What isn't allowed is found, what is allowed is not suspected, and nothing is
// left behind by asking.
func TestAccess_FindsWhatIsNotAllowed(t *testing.T) {
	ns := guarded(t, "rejections.>", "dlq.payment.>", "$KV.suspects.payment.>", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.inventory")
	shop, clerk := connectAs(t, ns, "shop"), connectAs(t, ns, "clerk")

	for _, a := range shop.Access(t.Context(), brokertest.Plan()) {
		if !errors.Is(a.Err, broker.ErrNotThere) {
			t.Fatalf("%s on an empty broker: got %v, want ErrNotThere", a.Does, a.Err)
		}
	}
	brokertest.Provision(t, shop, brokertest.Plan())
	for user, c := range map[string]*broker.Conn{"shop": shop, "clerk": clerk} {
		var denied []string
		for _, a := range c.Access(t.Context(), brokertest.Plan()) {
			switch {
			case errors.Is(a.Err, broker.ErrNoAnswer):
				denied = append(denied, a.Does)
			case a.Err != nil:
				t.Errorf("%s: %s: got %v", user, a.Does, a.Err)
			}
		}
		var want []string
		if user == "clerk" {
			want = []string{"publish rejections.bulkhead.full", "publish dlq.payment.exhausted", "publish $KV.suspects.payment.ORDERS.1", "pull ORDERS/inventory"}
		}
		if !slices.Equal(denied, want) {
			t.Errorf("%s: denied: got %q, want %q", user, denied, want)
		}
	}

	for info := range shop.JetStream().ListStreams(t.Context()).Info() {
		if info.State.LastSeq != 0 {
			t.Errorf("stream %s: asking left %d messages, want none", info.Config.Name, info.State.LastSeq)
		}
		s, err := shop.JetStream().Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		for d := range s.ListConsumers(t.Context()).Info() {
			if d.NumWaiting != 0 {
				t.Errorf("durable %s/%s: asking left %d pulls, want none", d.Stream, d.Name, d.NumWaiting)
			}
		}
	}
}
