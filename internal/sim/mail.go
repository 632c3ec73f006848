package sim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// session is one client's conversation with the mail server.
type session struct {
	w    *World
	conn *smtp.Conn
}

func (w *World) session(c *smtp.Conn) (smtp.Session, error) { return &session{w: w, conn: c}, nil }

var (
	errNoMailbox = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox (simulated)"}
	errTrouble   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try again later (simulated)"}
	errTooFast   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "slow down (simulated)"}
	errNoID      = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "a mail needs one Message-ID"}
)

var errGone = errors.New("client has gone")

func (*session) Reset()                               {}
func (*session) Logout() error                        { return nil }
func (*session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if !s.w.regimes[Mail].Load().declines(strings.ToLower(to)) {
		return nil
	}
	s.w.books.note(func(c *Counts) { c.Mail.Refused++ })
	return errNoMailbox
}

func (s *session) Data(body io.Reader) error {
	id, err := messageID(body)
	if err != nil {
		return err
	}
	w := s.w
	order, _, _ := strings.Cut(id, ".")
	r := w.regimes[Mail].Load()
	n := r.request(order)
	w.think(r, "mail", id, n)

	face := r.face(order, n)
	switch face.Kind {
	case Hang:
		if !s.held(r, face.For) {
			return errGone
		}
	case Errors:
		return errTrouble
	case Throttle:
		return errTooFast
	case Late, Cut, Drip, Latency, Declines, Deaf:
	}

	w.books.take(id)
	switch face.Kind {
	case Cut:
		_ = s.conn.Close()
		return errGone
	case Late:
		if !s.held(r, or(face.For, 3*time.Second)) {
			return errGone
		}
	case Drip:
		return s.drip(r, or(face.For, time.Second))
	case Hang, Errors, Throttle, Latency, Declines, Deaf:
	}
	return nil
}

// held waits as World.hold does, for a client whose silence is no sign of life.
func (s *session) held(r *regime, d time.Duration) bool {
	s.w.books.note(func(c *Counts) { c.Mail.Held++ })
	defer s.w.books.note(func(c *Counts) { c.Mail.Held-- })
	gone, stop := s.conn.Conn().(*watched).watch()
	defer stop()
	return s.w.hold(r.over, d, gone)
}

// dripLines is how many lines the slow answer to a mail has.
const dripLines = 60

// drip answers line by line. Each of them is a sign of life, so that only a
// client that bounds the whole gives up.
func (s *session) drip(r *regime, each time.Duration) error {
	for range dripLines {
		_ = s.conn.Conn().SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := io.WriteString(s.conn.Conn(), "250-2.0.0 still queuing (simulated)\r\n"); err != nil {
			return err
		}
		if !s.held(r, each) {
			return errGone
		}
	}
	return nil
}

// messageID reads a whole mail and returns its Message-ID without brackets.
func messageID(body io.Reader) (string, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return "", errNoID
	}
	ids := h["Message-Id"]
	if len(ids) != 1 {
		return "", errNoID
	}
	id := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(ids[0]), "<"), ">")
	if id == "" {
		return "", errNoID
	}
	return id, nil
}
