package notification

import (
	"bytes"
	"fmt"

	gomail "github.com/wneessen/go-mail"

	"github.com/watertight-go/watertight/order"
)

// render returns the mail as it goes over the wire. A mail that can't be
// rendered never can.
func render(m Mail) ([]byte, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(m.From); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrom, err)
	}
	if err := msg.To(m.To); err != nil {
		return nil, &RefusedError{Reason: "not an e-mail address"}
	}
	msg.SetMessageIDWithValue(m.ID)
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office replies, please
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, order.Reject(fmt.Errorf("write mail: %w", err))
	}
	return b.Bytes(), nil
}
