package broker

import (
	"strconv"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// What an operator does with a dead letter is put on record beside the letters:
// desk.<service>.<action> in StreamDeadLetters, without the body. The record is
// stored before the letter is removed, so that an order whose letter is gone is
// never without a trace.
const (
	deskSubject = "desk"

	DeskReplayed  = "replayed"
	DeskDiscarded = "discarded"
)

// Headers of a record of the desk, beside those of the hop and Dlq-Reason.
const (
	HeaderDeskWho = "Desk-Who" // who did it
	HeaderDeskSeq = "Desk-Seq" // the letter's sequence
)

// DeskSubject is where an action on a letter is put on record:
// "desk.payment.discarded".
func DeskSubject(s order.Service, action string) string {
	return deskSubject + "." + string(s) + "." + action
}

// SplitDesk is the inverse of DeskSubject; ok is false for any other subject.
func SplitDesk(subject string) (s order.Service, action string, ok bool) {
	first, rest, _ := strings.Cut(subject, ".")
	service, action, found := strings.Cut(rest, ".")
	if first != deskSubject || !found || service == "" || action == "" || strings.Contains(action, ".") {
		return "", "", false
	}
	return order.Service(service), action, true
}

// DeskID is the message id of a record of the desk.
func DeskID(action string, seq uint64) string {
	return "desk/" + action + "/" + strconv.FormatUint(seq, 10)
}
