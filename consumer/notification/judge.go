package notification

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// stage is the part of a mail that a server's answer is about.
type stage string

const (
	atSender    stage = "sender"
	atRecipient stage = "recipient"
	atContent   stage = "content"
)

var enhanced = regexp.MustCompile(`^[245]\.(\d{1,3})\.(\d{1,3})\b`)

// judge decides what a server's refusal means for the order:
//
//	mailbox is no use   5.1.x and 5.2.x about the recipient, or 501, 550, 551 and 553
//	                    to RCPT without such a code                      *RefusedError
//	never this mail     5xx to the content                               order.Reject
//	everything else     4xx, 5xx to the sender, 5.7.x (policy: blocked, not
//	                    allowed to relay, log in first): trouble between the servers,
//	                    which a later attempt or an operator mends       a plain error
func judge(at stage, to string, reply *textproto.Error) error {
	said := strings.ReplaceAll(reply.Msg, to, "…") // the address is in the order, it needn't be in each log
	err := fmt.Errorf("mail server refused the %s: %d %s", at, reply.Code, clip(said))
	if reply.Code < 500 || at == atSender {
		return err
	}
	class, detail := "", ""
	if m := enhanced.FindStringSubmatch(reply.Msg); m != nil {
		class, detail = m[1], m[2]
	}
	switch {
	case class == "7", class == "1" && (detail == "7" || detail == "8"): // policy; the sender's address
		return err
	case class == "1":
		return &RefusedError{Reason: fmt.Sprintf("no such mailbox (%d 5.1.%s)", reply.Code, detail)}
	case class == "2": // switched off, full
		return &RefusedError{Reason: fmt.Sprintf("mailbox takes no mail (%d 5.2.%s)", reply.Code, detail)}
	}
	switch reply.Code {
	case 501, 550, 551, 553:
		if at == atRecipient && class == "" {
			return &RefusedError{Reason: fmt.Sprintf("no such mailbox (%d)", reply.Code)}
		}
	case 502, 503, 504, 530, 534, 535, 538: // the conversation or the login, not the mail
		return err
	}
	if at == atContent {
		return order.Reject(err)
	}
	return err
}

// final reports whether err is the server's last word on this mail.
func final(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) || order.IsRejected(err)
}

// clip keeps what a stranger said short and on one line.
func clip(s string) string {
	const most = 200
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
