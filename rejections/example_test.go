package rejections_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// What is noted is on record when the log has ended.
func ExampleLog() {
	ctx, end := context.WithCancel(context.Background())
	conn, stop := exampleBroker(ctx)
	defer stop()

	log := rejections.New(conn, rejections.Config{Instance: "shop-1"})
	ended := make(chan error)
	go func() { ended <- log.Run(ctx) }()
	log.Note(rejections.Rejection{Service: order.Payment, Where: rejections.Bulkhead, Reason: rejections.Full, OrderID: "o-1"})
	end()
	fmt.Println("ended:", <-ended)

	for r, err := range log.Read(context.Background(), time.Time{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Service, r.Where, r.Reason, r.OrderID, "by", r.Instance)
	}
	// Output:
	// ended: <nil>
	// payment bulkhead full o-1 by shop-1
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
	if _, err := conn.Provision(ctx, broker.Plan{OrderBytes: 1 << 20}, false); err != nil {
		panic(err)
	}
	return conn, func() {
		conn.Close()
		_ = server.Close()
		_ = os.RemoveAll(store)
	}
}
