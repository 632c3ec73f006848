package deadletter_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/deadletter"
)

// All ends with all letters also when the broker stops delivering to it in the
// middle, as when a server has gone on which its consumer was.
func TestDesk_AllSurvivesTheLossOfItsConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const letters = 700 // more than the client asks for at a time
		conn := brokertest.New(t)
		d := deadletter.New(conn, "anna@ops-1")
		for n := range letters {
			post(t, d, letter(n+1))
		}
		got, began := 0, time.Now()
		for l, err := range d.All(t.Context(), deadletter.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if got++; l.Hop.OrderID != fmt.Sprintf("o-%d", got) {
				t.Fatalf("letter %d: got order %s", got, l.Hop.OrderID)
			}
			if got > 1 {
				continue
			}
			s, err := conn.JetStream().Stream(t.Context(), broker.StreamDeadLetters)
			if err != nil {
				t.Fatal(err)
			}
			for name := range s.ConsumerNames(t.Context()).Name() {
				if _, err := s.PauseConsumer(t.Context(), name, time.Now().Add(24*time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %v: it waited for a consumer that gives nothing", took)
		}
		if got != letters {
			t.Errorf("letters: got %d, want %d", got, letters)
		}
	})
}
