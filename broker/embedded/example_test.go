package embedded_test

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
)

// A shop in one process: the server, its streams, an order that is stored.
func ExampleStart() {
	store, err := os.MkdirTemp("", "watertight-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(store) }()

	server, err := embedded.Start(embedded.Config{Store: store, Port: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Close() }()

	ctx := context.Background()
	conn, err := broker.Connect(ctx, broker.Config{Options: []nats.Option{server.InProcess()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	if _, err := conn.Provision(ctx, broker.Plan{OrderBytes: 1 << 20}, false); err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := conn.Store(ctx, broker.Message{Subject: broker.SubjectCreated, ID: "o-1", Data: []byte(`{"id":"o-1"}`)})
	fmt.Println(receipt.Stream, receipt.Seq, err)

	// One store, one server.
	_, err = embedded.Start(embedded.Config{Store: store})
	fmt.Println(err != nil)
	// Output:
	// ORDERS 1 <nil>
	// true
}
