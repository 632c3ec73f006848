package notification_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/order"
)

// received is what a real SMTP server was told about one mail.
type received struct {
	from, to, user string
	tls            bool
	raw            string
}

// inbox is a mail server on loopback that keeps what it takes.
type inbox struct {
	addr  string
	roots *x509.CertPool
	mails chan received
}

type inboxSession struct {
	in  *inbox
	got received
	c   *smtp.Conn
}

func (s *inboxSession) Reset()                                      {}
func (s *inboxSession) Logout() error                               { return nil }
func (s *inboxSession) Mail(from string, _ *smtp.MailOptions) error { s.got.from = from; return nil }
func (s *inboxSession) Rcpt(to string, _ *smtp.RcptOptions) error   { s.got.to += to; return nil }
func (s *inboxSession) AuthMechanisms() []string                    { return []string{sasl.Plain} }

func (s *inboxSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "secret" {
			return smtp.ErrAuthFailed
		}
		s.got.user = user
		return nil
	}), nil
}

func (s *inboxSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	_, encrypted := s.c.TLSConnectionState()
	s.in.mails <- received{s.got.from, s.got.to, s.got.user, encrypted, string(raw)}
	s.got.to = ""
	return err
}

// newInbox starts a server; configure may change it, and wrap its listener.
func newInbox(t *testing.T, configure func(s *smtp.Server, cert *tls.Config, l net.Listener) net.Listener) *inbox {
	t.Helper()
	https := httptest.NewTLSServer(nil) // only for its certificate
	defer https.Close()
	in := &inbox{roots: x509.NewCertPool(), mails: make(chan received, 10)}
	in.roots.AddCert(https.Certificate())
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &inboxSession{in: in, c: c}, nil
	}))
	srv.Domain = "localhost"
	srv.ErrorLog = log.New(io.Discard, "", 0)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in.addr = l.Addr().String()
	if configure != nil {
		l = configure(srv, &tls.Config{Certificates: https.TLS.Certificates, MinVersion: tls.VersionTLS12}, l)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return in
}

func offersTLS(s *smtp.Server, cert *tls.Config, l net.Listener) net.Listener {
	s.TLSConfig = cert
	return l
}

func isTLS(_ *smtp.Server, cert *tls.Config, l net.Listener) net.Listener {
	return tls.NewListener(l, cert)
}

// try sends one order and returns what becomes of it.
func (in *inbox) try(t *testing.T, cfg notification.SMTPConfig, o order.Order) (string, error) {
	t.Helper()
	mailer, err := notification.NewSMTP(in.addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer mailer.Close()
	out, _, err := within(t, 10*time.Second, &notification.Service{Mailer: mailer, From: from}, o)
	return steer(out, err), err
}

func TestSMTP_Encrypts(t *testing.T) {
	plain := func(_ *smtp.Server, _ *tls.Config, l net.Listener) net.Listener { return l }
	for name, tt := range map[string]struct {
		server     func(*smtp.Server, *tls.Config, net.Listener) net.Listener
		encryption notification.Encryption
		stranger   bool // the certificate isn't known
		user, pass string
		want       string
		encrypted  bool
	}{
		"when it is offered":                   {server: offersTLS, want: "sent", encrypted: true},
		"not when it isn't":                    {server: plain, want: "sent"},
		"never with a stranger":                {server: offersTLS, stranger: true, want: "retry"},
		"not when it shouldn't":                {server: offersTLS, encryption: notification.Plain, want: "sent"},
		"because it must":                      {server: offersTLS, encryption: notification.StartTLS, want: "sent", encrypted: true},
		"or sends nothing":                     {server: plain, encryption: notification.StartTLS, want: "retry"},
		"from the first byte":                  {server: isTLS, encryption: notification.TLS, want: "sent", encrypted: true},
		"from the first byte, not a stranger":  {server: isTLS, encryption: notification.TLS, stranger: true, want: "retry"},
		"and logs in":                          {server: offersTLS, user: "shop", pass: "secret", want: "sent", encrypted: true},
		"and logs in from the first byte":      {server: isTLS, encryption: notification.TLS, user: "shop", pass: "secret", want: "sent", encrypted: true},
		"and a wrong password is ours to mend": {server: offersTLS, user: "shop", pass: "guess", want: "retry"},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInbox(t, tt.server)
			cfg := notification.SMTPConfig{Encryption: tt.encryption, Username: tt.user, Password: tt.pass}
			if !tt.stranger {
				cfg.TLS = &tls.Config{RootCAs: in.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
			}
			got, err := in.try(t, cfg, anOrder())
			if got != tt.want {
				t.Fatalf("got %s (%v), want %s", got, err, tt.want)
			}
			if tt.pass != "" && err != nil && strings.Contains(err.Error(), tt.pass) {
				t.Errorf("the error tells the password: %v", err)
			}
			if tt.want != "sent" {
				return
			}
			if m := <-in.mails; m.tls != tt.encrypted || m.user != tt.user {
				t.Errorf("got encrypted=%t as %q, want %t as %q", m.tls, m.user, tt.encrypted, tt.user)
			}
		})
	}
}

func TestSMTP_SaysOnTheWire(t *testing.T) {
	in := newInbox(t, nil)
	o := anOrder()
	o.Lines = []order.Line{{SKU: "CAFÉ\r\n.\r\nBcc: x@y", Quantity: 1, UnitPrice: 5}}
	if got, err := in.try(t, notification.SMTPConfig{}, o); got != "sent" {
		t.Fatalf("got %s (%v), want sent", got, err)
	}
	m := <-in.mails
	if m.from != from || m.to != o.Email {
		t.Errorf("envelope: got %s to %s, want %s to %s", m.from, m.to, from, o.Email)
	}
	head, body, _ := strings.Cut(m.raw, "\r\n\r\n")
	var lines []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, _, ok := strings.Cut(line, ": "); ok && name == "Date" {
			line = "Date: now"
		}
		lines = append(lines, line)
	}
	want := []string{
		"Auto-Submitted: auto-generated",
		"Date: now",
		"MIME-Version: 1.0",
		"Message-ID: <" + messageID + ">",
		"Subject: We have your order 019b2f6e-0000-7000-8000-000000000001",
		"From: <orders@shop.example>",
		"To: <ann@example.org>",
		"Content-Transfer-Encoding: quoted-printable",
		"Content-Type: text/plain; charset=UTF-8",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if !strings.Contains(body, "CAF=C3=89  .  Bcc: x@y ") {
		t.Errorf("body: got\n%s\nwant the article on one line", body)
	}
}

func TestSMTP_InternationalAddresses(t *testing.T) {
	o := anOrder()
	o.Email = "änne@bücher.example"
	in := newInbox(t, func(s *smtp.Server, _ *tls.Config, l net.Listener) net.Listener {
		s.EnableSMTPUTF8 = true
		return l
	})
	if got, err := in.try(t, notification.SMTPConfig{}, o); got != "sent" {
		t.Errorf("a server that takes them: got %s (%v), want sent", got, err)
	} else if m := <-in.mails; m.to != o.Email {
		t.Errorf("recipient: got %s, want %s", m.to, o.Email)
	}
	if got, err := newInbox(t, nil).try(t, notification.SMTPConfig{}, o); got != "rejected" {
		t.Errorf("a server that doesn't: got %s (%v), want rejected", got, err)
	}
}
