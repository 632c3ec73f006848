package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// An operator looks at what payment has given up, and sends it back.
func ExampleDesk() {
	ctx := context.Background()
	conn, stop := exampleBroker(ctx)
	defer stop()

	desk := deadletter.New(conn, "anna@ops-1")
	err := desk.Post(ctx, deadletter.Letter{
		Service: order.Payment, Reason: deadletter.Exhausted, Error: "gateway answered 503", At: time.Now(),
		Hop:  broker.Hop{OrderID: "o-1", Origin: broker.Origin{Stream: broker.StreamOrders, Seq: 42}},
		Data: []byte(`{"id":"o-1"}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for letter, err := range desk.All(ctx, deadletter.Filter{Service: order.Payment}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(letter.Seq, letter.Reason, letter.Hop.OrderID, letter.Error)
		fmt.Println("replayed:", desk.Replay(ctx, letter.Seq))
		fmt.Println("again:", errors.Is(desk.Replay(ctx, letter.Seq), deadletter.ErrNotFound))
	}
	// Output:
	// 1 exhausted o-1 gateway answered 503
	// replayed: <nil>
	// again: true
}

// exampleBroker is a broker in the process, without a port.
func exampleBroker(ctx context.Context) (conn *broker.Conn, stop func()) {
	store, err := os.MkdirTemp("", "watertight-example-")
	if err != nil {
		panic(err)
	}
	server, err := embedded.Start(embedded.Config{Store: store, Port: -1})
	if err != nil {
		panic(err)
	}
	conn, err = broker.Connect(ctx, broker.Config{Options: []nats.Option{server.InProcess()}})
	if err != nil {
		panic(err)
	}
	plan := broker.Plan{OrderBytes: 1 << 20, Services: []broker.Service{{Name: order.Payment, AckWait: time.Minute}}}
	if _, err := conn.Provision(ctx, plan, false); err != nil {
		panic(err)
	}
	return conn, func() {
		conn.Close()
		_ = server.Close()
		_ = os.RemoveAll(store)
	}
}
