package brokertest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

func TestNew_StoresInsideABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		begin := time.Now()
		time.Sleep(time.Hour)
		receipt, err := b.Store(context.Background(), broker.Message{Subject: broker.SubjectCreated, ID: "a", Data: []byte("{}")})
		if err != nil {
			t.Fatalf("Store after an hour: %v", err)
		}
		if receipt.Stream != broker.StreamOrders || receipt.Seq != 1 {
			t.Errorf("receipt = %+v, want %s 1", receipt, broker.StreamOrders)
		}
		if got := time.Since(begin); got < time.Hour || got > time.Hour+time.Minute {
			t.Errorf("the bubble's clock moved %v, want about an hour", got)
		}
	})
}
