package notification_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// What happens between the handler and a mail server in trouble, judged by the
// mails that arrived. The clock is the bubble's.

type shop struct {
	*notification.Service
	world *sim.World
}

const from = "orders@shop.example"

// inBubble runs f with a handler and the simulated mail server it writes to.
func inBubble(t *testing.T, cfg notification.SMTPConfig, f func(t *testing.T, s shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1, Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dial = network.DialContext
		mailer, err := notification.NewSMTP(w.MailAddr(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(t, shop{Service: &notification.Service{Mailer: mailer, From: from}, world: w})
		mailer.Close()
		w.Close()
	})
}

// set puts the mail server under a fault line.
func (s shop) set(t *testing.T, line string) {
	t.Helper()
	fs, err := sim.ParseFaults(line)
	if err == nil {
		err = s.world.Set(sim.Mail, fs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// within handles the order once and gives up after d, as a bulkhead's timeout
// does. It returns how long the attempt took.
func within(t *testing.T, d time.Duration, h sim.Handler, o order.Order) (order.Outcome, time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	out, err := h.Handle(ctx, o)
	return out, time.Since(start), err
}

func anOrder() order.Order {
	return order.Order{
		ID: "019b2f6e-0000-7000-8000-000000000001", Customer: "c-1", Currency: "EUR", Email: "ann@example.org",
		Lines: []order.Line{{SKU: "BIKE", Quantity: 2, UnitPrice: 64950}, {SKU: "BELL", Quantity: 1, UnitPrice: 5}},
	}
}

const messageID = "019b2f6e-0000-7000-8000-000000000001.created@shop.example"

func wantMails(t *testing.T, w *sim.World, want int) {
	t.Helper()
	if got := w.Mails(messageID); got != want {
		t.Errorf("mails %s: got %d, want %d", messageID, got, want)
	}
}

func TestHandle_SendsOneMail(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		out, _, err := within(t, time.Second, s, anOrder())
		if want := (order.Outcome{Result: order.Sent, Ref: messageID}); err != nil || out != want {
			t.Fatalf("Handle: got %+v, %v, want %+v", out, err, want)
		}
		wantMails(t, s.world, 1)
	})
}

func TestHandle_SendsNothingToNobody(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		o := anOrder()
		o.Email = ""
		out, _, err := within(t, time.Second, s, o)
		if want := (order.Outcome{Result: order.Sent, Reason: "no address"}); err != nil || out != want {
			t.Errorf("Handle: got %+v, %v, want %+v", out, err, want)
		}
		if c := s.world.Counts().Mail; c.Connections != 0 {
			t.Errorf("counts: got %+v, want the server not asked", c)
		}
	})
}

func TestHandle_NoSuchMailboxIsAnAnswer(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		s.set(t, "declines")
		out, _, err := within(t, time.Second, s, anOrder())
		if want := (order.Outcome{Result: order.Refused, Reason: "no such mailbox (550 5.1.1)"}); err != nil || out != want {
			t.Errorf("Handle: got %+v, %v, want %+v", out, err, want)
		}
		s.world.Clear(sim.Mail)
		if out, _, err := within(t, time.Second, s, anOrder()); err != nil || out.Result != order.Sent {
			t.Errorf("the next mail: got %+v, %v, want sent", out, err)
		}
		if c := s.world.Counts().Mail; c.Connections != 1 || c.Mails != 1 || c.Refused != 1 {
			t.Errorf("counts: got %+v, want one refused and one taken on one connection", c)
		}
	})
}

// However an attempt ends, the mail is sent again; a receiver can tell.
func TestHandle_FailsUnderFaultsAndSendsAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   string
		took    time.Duration // of an attempt that is given 2 s
		mails   int           // after the failed attempt
		all     int           // after the retry
		timeout bool
	}{
		"a hang ends with the attempt":            {fault: "hang", took: 2 * time.Second, all: 1, timeout: true},
		"a mail may be taken before a late word":  {fault: "late:5s", took: 2 * time.Second, mails: 1, all: 2, timeout: true},
		"lines that drip keep nobody longer":      {fault: "drip:100ms", took: 2 * time.Second, mails: 1, all: 2, timeout: true},
		"latency beyond the attempt goes unheard": {fault: "latency:3s", took: 2 * time.Second, all: 2, timeout: true},
		"a cut connection leaves it open":         {fault: "cut", mails: 1, all: 2},
		"an error is the server's trouble":        {fault: "errors", all: 1},
		"throttling is the server's trouble":      {fault: "throttle", all: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
				s.set(t, tt.fault)
				out, took, err := within(t, 2*time.Second, s, anOrder())
				if err == nil || order.IsRejected(err) || out != (order.Outcome{}) {
					t.Fatalf("Handle: got %+v, %v, want an error that is tried again", out, err)
				}
				if got := errors.Is(err, context.DeadlineExceeded); got != tt.timeout {
					t.Errorf("Handle: got %v, is it the deadline? want %t", err, tt.timeout)
				}
				if took != tt.took {
					t.Errorf("attempt took %v, want %v", took, tt.took)
				}
				wantMails(t, s.world, tt.mails)

				synctest.Wait() // the server has seen the client go
				s.world.Clear(sim.Mail)
				out, _, err = within(t, time.Second, s, anOrder())
				if err != nil || out.Result != order.Sent {
					t.Errorf("retry: got %+v, %v, want sent", out, err)
				}
				time.Sleep(time.Minute)
				wantMails(t, s.world, tt.all)
				if c := s.world.Counts().Mail; c.Held != 0 || c.Repeated != tt.all-1 {
					t.Errorf("counts: got %+v, want %d repeated and none held", c, tt.all-1)
				}
			})
		})
	}
}

func TestHandle_EndsLateWithinItsTime(t *testing.T) {
	for fault, want := range map[string]time.Duration{
		"latency:200ms": 200 * time.Millisecond,
		"hang:5s":       5 * time.Second,
		"late":          3 * time.Second,
		"drip:10ms":     600 * time.Millisecond,
	} {
		t.Run(fault, func(t *testing.T) {
			inBubble(t, notification.SMTPConfig{Timeout: time.Hour}, func(t *testing.T, s shop) {
				s.set(t, fault)
				out, took, err := within(t, time.Hour, s, anOrder())
				if err != nil || out.Result != order.Sent || took != want {
					t.Errorf("got %+v, %v after %v, want sent after %v", out, err, took, want)
				}
				s.world.Clear(sim.Mail)
				if _, _, err := within(t, time.Second, s, anOrder()); err != nil {
					t.Errorf("the next mail: %v", err)
				}
				if c := s.world.Counts().Mail; c.Connections != 1 || c.Mails != 2 {
					t.Errorf("counts: got %+v, want two mails on one connection", c)
				}
			})
		})
	}
}

func TestHandle_GoesOnWhenTheHangIsCleared(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		s.set(t, "hang")
		done := make(chan order.Outcome)
		start := time.Now()
		go func() {
			out, _, _ := within(t, 10*time.Second, s, anOrder())
			done <- out
		}()
		synctest.Wait()
		if got := s.world.Counts().Mail.Held; got != 1 {
			t.Fatalf("held: got %d, want 1", got)
		}
		s.world.Clear(sim.Mail)
		if out := <-done; out.Result != order.Sent || time.Since(start) != 0 {
			t.Errorf("got %+v after %v, want sent at once", out, time.Since(start))
		}
		wantMails(t, s.world, 1)
	})
}

func TestSend_GivesUpByItselfWithoutADeadline(t *testing.T) {
	inBubble(t, notification.SMTPConfig{Timeout: 7 * time.Second}, func(t *testing.T, s shop) {
		s.set(t, "hang")
		_, took, err := within(t, time.Hour, s, anOrder())
		if !errors.Is(err, context.DeadlineExceeded) || took != 7*time.Second {
			t.Errorf("got %v after %v, want the deadline after 7s", err, took)
		}
	})
}

func TestSMTP_SharesFewConnections(t *testing.T) {
	inBubble(t, notification.SMTPConfig{Connections: 4}, func(t *testing.T, s shop) {
		s.set(t, "latency:100ms")
		start := time.Now()
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				o := anOrder()
				o.ID = order.NewID()
				if _, _, err := within(t, 10*time.Second, s, o); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("40 mails of 100 ms on 4 connections took %v, want 1s", took)
		}
		if c := s.world.Counts().Mail; c.Connections != 4 || c.Mails != 40 {
			t.Errorf("counts: got %+v, want 40 mails on 4 connections", c)
		}
	})
}

func TestSMTP_WaitsForAConnectionOnlyWhileItMay(t *testing.T) {
	inBubble(t, notification.SMTPConfig{Connections: 1}, func(t *testing.T, s shop) {
		s.set(t, "hang")
		first := make(chan struct{})
		go func() {
			defer close(first)
			_, _, _ = within(t, 20*time.Second, s, anOrder())
		}()
		synctest.Wait()
		_, took, err := within(t, time.Second, s, anOrder())
		if !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("got %v after %v, want the deadline after 1s", err, took)
		}
		<-first
		if got := s.world.Counts().Mail.Connections; got != 1 {
			t.Errorf("connections: got %d, want 1", got)
		}
	})
}

// The server hangs up after five quiet minutes.
func TestSMTP_OutlivesConnectionsThatTheServerClosed(t *testing.T) {
	for name, cfg := range map[string]notification.SMTPConfig{
		"it distrusts what was long idle":       {},
		"it finds out when nothing is said yet": {Idle: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cfg, func(t *testing.T, s shop) {
				for range 3 {
					var both sync.WaitGroup
					for range 2 {
						both.Go(func() {
							if out, _, err := within(t, time.Second, s, anOrder()); err != nil {
								t.Errorf("Handle: got %+v, %v, want sent", out, err)
							}
						})
					}
					both.Wait()
					time.Sleep(6 * time.Minute)
				}
				if c := s.world.Counts().Mail; c.Mails != 6 {
					t.Errorf("counts: got %+v, want 6 mails", c)
				}
			})
		})
	}
}

func TestSMTP_ClosedSendsNoMore(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		if _, _, err := within(t, time.Second, s, anOrder()); err != nil {
			t.Fatal(err)
		}
		s.Mailer.(*notification.SMTP).Close()
		if _, _, err := within(t, time.Second, s, anOrder()); !errors.Is(err, notification.ErrClosed) {
			t.Errorf("got %v, want %v", err, notification.ErrClosed)
		}
		wantMails(t, s.world, 1)
	})
}
