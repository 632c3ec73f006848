package notification_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// script is a mail server that says what a test wants: for each command its
// reply, for the content the reply to ".", and 250 to what isn't mentioned. The
// reply "hang" says nothing, "close" hangs up, "babble" never stops.
type script map[string]string

// scripted runs f with a handler that writes to such a server, in a bubble.
func scripted(t *testing.T, says script, f func(t *testing.T, s *notification.Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		l, err := network.Listen("tcp", "mail:25")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() { says.converse(c) })
			}
		})
		mailer, err := notification.NewSMTP("mail:25", notification.SMTPConfig{Dial: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		f(t, &notification.Service{Mailer: mailer, From: from})
		mailer.Close()
		_ = l.Close()
		serving.Wait()
	})
}

func (s script) converse(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	if !s.reply(c, in, "greeting", "220 mail") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command := strings.ToUpper(strings.TrimSpace(strings.SplitN(line, " ", 2)[0]))
		if command != "DATA" {
			if !s.reply(c, in, command, "250 ok") {
				return
			}
			continue
		}
		if !s.reply(c, in, "DATA", "354 go on") {
			return
		}
		if s["DATA"] != "" {
			continue
		}
		for line != ".\r\n" {
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
		}
		if !s.reply(c, in, ".", "250 taken") {
			return
		}
	}
}

func (s script) reply(c net.Conn, in io.Reader, to, otherwise string) bool {
	say := otherwise
	if s[to] != "" {
		say = s[to]
	}
	switch say {
	case "hang":
		_, _ = io.Copy(io.Discard, in)
		return false
	case "close":
		return false
	case "babble":
		for {
			if _, err := io.WriteString(c, "250-and another thing\r\n"); err != nil {
				return false
			}
		}
	}
	_, err := io.WriteString(c, say+"\r\n")
	return err == nil
}

func TestSMTP_ReplySteersTheOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		says script
		want string
	}{
		"taken":                                {script{}, "sent"},
		"greylisted":                           {script{"RCPT": "450 4.7.1 greylisted, come back later"}, "retry"},
		"no such user":                         {script{"RCPT": "550 5.1.1 no such user"}, "refused"},
		"no such user, without enhanced codes": {script{"RCPT": "550 no such user"}, "refused"},
		"user moved":                           {script{"RCPT": "551 user not local"}, "refused"},
		"address not understood":               {script{"RCPT": "501 bad address"}, "refused"},
		"mailbox switched off":                 {script{"RCPT": "550 5.2.1 disabled"}, "refused"},
		"mailbox full for good":                {script{"RCPT": "552 5.2.2 full"}, "refused"},
		"mailbox full for now":                 {script{"RCPT": "452 4.2.2 full"}, "retry"},
		"relaying denied is ours to mend":      {script{"RCPT": "550 5.7.1 relaying denied"}, "retry"},
		"relaying denied in old words":         {script{"RCPT": "554 relay access denied"}, "retry"},
		"the sender's domain is ours to mend":  {script{"RCPT": "550 5.1.8 bad sender domain"}, "retry"},
		"commands out of order":                {script{"RCPT": "503 5.5.1 what?"}, "retry"},
		"sender refused is ours to mend":       {script{"MAIL": "550 5.1.0 who are you?"}, "retry"},
		"login required is ours to mend":       {script{"MAIL": "530 5.7.0 log in first"}, "retry"},
		"too many connections":                 {script{"MAIL": "421 4.7.0 too many"}, "retry"},
		"no data now":                          {script{"DATA": "451 4.3.0 disk full"}, "retry"},
		"no valid recipients":                  {script{"DATA": "554 5.5.1 no valid recipients"}, "rejected"},
		"content never":                        {script{".": "554 5.6.0 can't read this"}, "rejected"},
		"content too large":                    {script{".": "552 5.3.4 too large"}, "rejected"},
		"taken for spam is policy":             {script{".": "554 5.7.1 looks like spam"}, "retry"},
		"refused late, for the user":           {script{".": "550 5.1.1 no such user after all"}, "refused"},
		"content not now":                      {script{".": "451 4.3.0 scanner is down"}, "retry"},
		"hangs up in the middle":               {script{"DATA": "close"}, "retry"},
		"hangs up when all is said":            {script{".": "close"}, "retry"},
		"not a mail server":                    {script{"greeting": "HTTP/1.1 400 Bad Request"}, "retry"},
		"not taking mail today":                {script{"greeting": "554 go away"}, "retry"},
		"hangs up at once":                     {script{"greeting": "close"}, "retry"},
		"knows no EHLO and no HELO":            {script{"EHLO": "502 what?", "HELO": "502 what?"}, "retry"},
		"knows no EHLO":                        {script{"EHLO": "502 what?"}, "sent"},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, tt.says, func(t *testing.T, s *notification.Service) {
				out, took, err := within(t, time.Minute, s, anOrder())
				if got := steer(out, err); got != tt.want || took != 0 {
					t.Errorf("got %s (%+v, %v) after %v, want %s at once", got, out, err, took, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), anOrder().Email) {
					t.Errorf("the error names the address: %v", err)
				}
			})
		})
	}
}

// steer is what becomes of an order, in one word.
func steer(out order.Outcome, err error) string {
	switch {
	case err == nil:
		return string(out.Result)
	case order.IsRejected(err):
		return "rejected"
	default:
		return "retry"
	}
}

// A server may stop in the middle of anything.
func TestSMTP_NoServerKeepsAnAttemptBeyondItsTime(t *testing.T) {
	for _, at := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("hangs at "+at, func(t *testing.T) {
			scripted(t, script{at: "hang"}, func(t *testing.T, s *notification.Service) {
				_, took, err := within(t, 2*time.Second, s, anOrder())
				if !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Second {
					t.Errorf("got %v after %v, want the deadline after 2s", err, took)
				}
			})
		})
		t.Run("is left at "+at, func(t *testing.T) {
			scripted(t, script{at: "hang"}, func(t *testing.T, s *notification.Service) {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() {
					_, err := s.Handle(ctx, anOrder())
					done <- err
				}()
				synctest.Wait()
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want %v", err, context.Canceled)
				}
			})
		})
	}
}

func TestSMTP_StopsListeningToABabbler(t *testing.T) {
	for _, at := range []string{"EHLO", "MAIL", "."} {
		t.Run("at "+at, func(t *testing.T) {
			scripted(t, script{at: "babble"}, func(t *testing.T, s *notification.Service) {
				_, took, err := within(t, time.Hour, s, anOrder())
				if steer(order.Outcome{}, err) != "retry" || !strings.Contains(fmt.Sprint(err), "262144 bytes") || took != 0 {
					t.Errorf("got %v after %v, want it cut short at once", err, took)
				}
			})
		})
	}
}
