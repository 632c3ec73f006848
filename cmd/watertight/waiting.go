package main

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// waitingFlags is the user's choice of waiting retries.
type waitingFlags struct {
	service, orderID, tier string
	within                 time.Duration
}

// anyTime is no --due-within.
const anyTime = time.Duration(math.MinInt64)

func (f *waitingFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.service, "service", "", "only of this service")
	cmd.Flags().StringVar(&f.orderID, "order", "", "only of this order id")
	cmd.Flags().StringVar(&f.tier, "tier", "", "only in this tier: now, t1, t2, …")
	cmd.Flags().DurationVar(&f.within, "due-within", anyTime, "only what is due by then; 0s: what is due already")
	cmd.Flags().Lookup("due-within").DefValue = "0s" // not shown
}

func (f *waitingFlags) empty() bool { return *f == waitingFlags{within: anyTime} }

// filter returns the services and which of their retries.
func (f *waitingFlags) filter(now time.Time) ([]order.Service, consumer.WaitingFilter, error) {
	services, out := order.Services(), consumer.WaitingFilter{Tier: f.tier, OrderID: f.orderID}
	if f.service != "" {
		s, err := serviceNamed("--service", f.service)
		if err != nil {
			return nil, out, err
		}
		services = []order.Service{s}
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(f.tier, "t")); f.tier != "" && f.tier != broker.TierNow && (err != nil || n < 1 || f.tier != broker.Tier(n)) {
		return nil, out, usagef("--tier %q: want now, t1, t2, …", f.tier)
	}
	switch {
	case f.within >= 0:
		out.Due = now.Add(f.within)
	case f.within != anyTime:
		return nil, out, usagef("--due-within %v: must not be negative", f.within)
	}
	return services, out, nil
}

// serviceNamed returns the service of a name that the user gave, as an argument or by
// the flag that what says, or a usage error for one that no service can have.
func serviceNamed(what, name string) (order.Service, error) {
	s := order.Service(name)
	if !broker.ValidService(s) {
		return "", usagef("%s %q: 1 to 32 lower-case letters, digits and inner dashes", what, name)
	}
	return s, nil
}

// waitingView is a waiting retry as it is printed.
type waitingView struct {
	Service      order.Service `json:"service"`
	Seq          uint64        `json:"seq"`
	Tier         string        `json:"tier"`
	Since        time.Time     `json:"since"`
	Due          time.Time     `json:"due"`
	OrderID      string        `json:"order_id"`
	Attempt      int           `json:"attempt"` // the one to come
	Error        string        `json:"error"`
	Generation   int           `json:"generation"`
	Bytes        int           `json:"bytes"`
	FirstSeen    time.Time     `json:"first_seen,omitzero"`
	OriginStream string        `json:"origin_stream"`
	OriginSeq    uint64        `json:"origin_seq"`
}

func viewOf(w consumer.Waiting) waitingView {
	return waitingView{
		Service: w.Service, Seq: w.Seq, Tier: w.Tier, Since: w.Since, Due: w.Due, OrderID: w.Hop.OrderID, Attempt: w.Hop.Attempt,
		Error: w.Error, Generation: w.Hop.Generation, Bytes: len(w.Data), FirstSeen: w.Hop.FirstSeen,
		OriginStream: w.Hop.Origin.Stream, OriginSeq: w.Hop.Origin.Seq,
	}
}

func (v waitingView) row(now time.Time) []string {
	due := "in " + age(v.Due.Sub(now))
	if !now.Before(v.Due) {
		due = age(now.Sub(v.Due)) + " ago"
	}
	return []string{
		string(v.Service), strconv.FormatUint(v.Seq, 10), printable(v.Tier), due, strconv.Itoa(v.Attempt), printable(v.OrderID),
		deadletter.Line(v.Error, 90),
	}
}
