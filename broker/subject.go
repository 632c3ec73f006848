// Package broker is where it is said: every name that Watertight uses on NATS
// (streams, subjects, durables, headers, message ids) is written here and
// nowhere else, together with the connection and the one way to store a
// message.
//
//	orders.created ─▶ ORDERS ──┬─▶ durable payment       ┐
//	                           ├─▶ durable inventory     ├─▶ outcomes.<service>.<result> ─▶ OUTCOMES
//	                           └─▶ durable notification  ┘   retry.<service>.<tier>      ─▶ RETRY_<SERVICE>
//	                                                         dlq.<service>.<reason>      ─▶ DLQ
//
// What is stored is for ever, so names change only by adding.
package broker

import (
	"strconv"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// The streams. A service's retries have a stream of their own, RetryStream.
const (
	StreamOrders      = "ORDERS"     // every order, until all services settled it
	StreamOutcomes    = "OUTCOMES"   // what each service decided
	StreamDeadLetters = "DLQ"        // given up, whole
	StreamRejections  = "REJECTIONS" // what was turned away, for a day
	StreamStock       = "STOCK"      // the inventory ledger
	retryPrefix       = "RETRY_"     // one stream a service
	stockSubject      = "stock"      // stock.<shard>
	outcomeSubject    = "outcomes"   // outcomes.<service>.<result>
	retrySubject      = "retry"      // retry.<service>.<tier>
	deadSubject       = "dlq"        // dlq.<service>.<reason>
	rejectionSubject  = "rejections" // rejections.<where>.<reason>
)

// SubjectCreated is where orders are published. An event's subject is
// "orders." and its name.
const SubjectCreated = "orders.created"

// TierNow is the retry tier without a delay: the door for replays.
const TierNow = "now"

// Tier names the n-th retry tier, from 1: "t1".
func Tier(n int) string { return "t" + strconv.Itoa(n) }

// RetryStream names the stream of a service's waiting retries:
// "RETRY_PAYMENT".
func RetryStream(s order.Service) string {
	return retryPrefix + strings.ToUpper(strings.ReplaceAll(string(s), "-", "_"))
}

// OutcomeSubject is where a service's result is stored:
// "outcomes.payment.authorized".
func OutcomeSubject(s order.Service, r order.Result) string {
	return outcomeSubject + "." + string(s) + "." + string(r)
}

// SplitOutcome is the inverse of OutcomeSubject; ok is false for any other
// subject.
func SplitOutcome(subject string) (s order.Service, r order.Result, ok bool) {
	first, rest, _ := strings.Cut(subject, ".")
	service, result, found := strings.Cut(rest, ".")
	if first != outcomeSubject || !found || service == "" || !order.Result(result).Valid() {
		return "", "", false
	}
	return order.Service(service), order.Result(result), true
}

// RetrySubject is where a service's retry waits: "retry.payment.t1".
func RetrySubject(s order.Service, tier string) string {
	return retrySubject + "." + string(s) + "." + tier
}

// SplitRetry is the inverse of RetrySubject; ok is false for any other subject.
func SplitRetry(subject string) (s order.Service, tier string, ok bool) {
	first, rest, _ := strings.Cut(subject, ".")
	service, tier, found := strings.Cut(rest, ".")
	if first != retrySubject || !found || service == "" || tier == "" || strings.Contains(tier, ".") {
		return "", "", false
	}
	return order.Service(service), tier, true
}

// DeadSubject is where a dead letter is stored: "dlq.payment.exhausted". The
// wildcard "*" is allowed for either part.
func DeadSubject(s order.Service, reason string) string {
	return deadSubject + "." + string(s) + "." + reason
}

// SplitDead is the inverse of DeadSubject; ok is false for any other subject.
func SplitDead(subject string) (s order.Service, reason string, ok bool) {
	first, rest, _ := strings.Cut(subject, ".")
	service, reason, found := strings.Cut(rest, ".")
	if first != deadSubject || !found || service == "" || reason == "" || strings.Contains(reason, ".") {
		return "", "", false
	}
	return order.Service(service), reason, true
}

// RejectionSubject is where it is put on record that work was turned away:
// "rejections.bulkhead.full".
func RejectionSubject(where, reason string) string {
	return rejectionSubject + "." + where + "." + reason
}

// SplitRejection is the inverse of RejectionSubject; ok is false for any other
// subject.
func SplitRejection(subject string) (where, reason string, ok bool) {
	first, rest, _ := strings.Cut(subject, ".")
	where, reason, found := strings.Cut(rest, ".")
	if first != rejectionSubject || !found || where == "" || reason == "" || strings.Contains(reason, ".") {
		return "", "", false
	}
	return where, reason, true
}

// StockSubject is the log of one shard of the inventory ledger: "stock.0".
func StockSubject(shard int) string { return stockSubject + "." + strconv.Itoa(shard) }

// Durable names the consumer of a service on StreamOrders.
func Durable(s order.Service) string { return string(s) }

// TierDurable names the consumer of one retry tier of a service on its
// RetryStream: "payment-t1".
func TierDurable(s order.Service, tier string) string { return string(s) + "-" + tier }

// ValidService reports whether s can be part of a subject, a stream and a
// durable: 1 to 32 of lower-case letters, digits and inner dashes.
func ValidService(s order.Service) bool {
	if len(s) == 0 || len(s) > 32 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
