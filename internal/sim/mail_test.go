package sim_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"

	"github.com/watertight-go/watertight/internal/sim"
)

// mailbox runs f with a client that is connected to the mail server.
func mailbox(t *testing.T, f func(t *testing.T, w *sim.World, c *smtp.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1, Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := network.DialContext(t.Context(), "tcp", w.MailAddr())
		if err != nil {
			t.Fatal(err)
		}
		c := smtp.NewClient(conn)
		f(t, w, c)
		_ = c.Close()
		w.Close()
	})
}

func send(c *smtp.Client, mail string) (code int) {
	err := c.SendMail("shop@shop.example", []string{"ann@example.org"}, strings.NewReader(strings.ReplaceAll(mail, "\n", "\r\n")))
	if refused, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return refused.Code
	}
	if err != nil {
		return -1
	}
	return 250
}

func TestMail_CountsByMessageID(t *testing.T) {
	mailbox(t, func(t *testing.T, w *sim.World, c *smtp.Client) {
		for _, mail := range []string{
			"Message-ID: <o1.created@shop>\n\nhello\n", "Message-Id: <o2.created@shop>\n\nhello\n",
			"Subject: again\nMESSAGE-ID:\n <o1.created@shop>\n\nhello\n",
		} {
			if code := send(c, mail); code != 250 {
				t.Fatalf("%q: got %d, want 250", mail, code)
			}
		}
		got, want := w.Counts().Mail, sim.MailCounts{Connections: 1, Mails: 3, Repeated: 1}
		if got != want || w.Mails("o1.created@shop") != 2 || w.Mails("o2.created@shop") != 1 {
			t.Errorf("counts: got %+v, %d and %d, want %+v, 2 and 1", got, w.Mails("o1.created@shop"), w.Mails("o2.created@shop"), want)
		}
	})
}

func TestMail_WantsOneMessageID(t *testing.T) {
	mailbox(t, func(t *testing.T, w *sim.World, c *smtp.Client) {
		for name, mail := range map[string]string{
			"none": "Subject: x\n\nMessage-ID: <in.the@body>\n", "two": "Message-ID: <a@b>\nMessage-ID: <c@d>\n\n",
			"an empty one": "Message-ID: <>\n\n", "no mail": "hello\n", "nothing": "",
		} {
			if code := send(c, mail); code != 554 {
				t.Errorf("%s: got %d, want 554", name, code)
			}
		}
		if got := w.Counts().Mail.Mails; got != 0 {
			t.Errorf("mails: got %d, want 0", got)
		}
	})
}

func TestMail_AShareOfMailboxesIsMissing(t *testing.T) {
	mailbox(t, func(t *testing.T, w *sim.World, c *smtp.Client) {
		mustSet(t, w, sim.Mail, "declines:50%")
		missing := 0
		for name := range strings.FieldsSeq("ann bob cid dan eve fay gus hal ian joe kim leo mia ned oda pat") {
			first := rcpt(t, c, name+"@example.org")
			if again := rcpt(t, c, strings.ToUpper(name)+"@example.org"); again != first {
				t.Errorf("%s: got %t and %t, want the same at each attempt", name, first, again)
			}
			if !first {
				missing++
			}
		}
		if missing < 4 || missing > 12 || w.Counts().Mail.Refused != 2*missing {
			t.Errorf("missing: got %d of 16, counted %d", missing, w.Counts().Mail.Refused)
		}
	})
}

// rcpt reports whether the mailbox exists.
func rcpt(t *testing.T, c *smtp.Client, address string) bool {
	t.Helper()
	if err := c.Mail("shop@shop.example", nil); err != nil {
		t.Fatal(err)
	}
	err := c.Rcpt(address, nil)
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	return err == nil
}
