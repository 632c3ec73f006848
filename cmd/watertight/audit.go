package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// auditView is the report as it is printed.
type auditView struct {
	At       time.Time     `json:"at"`
	First    uint64        `json:"first"`
	Last     uint64        `json:"last"`
	Services []accountView `json:"services"`
}

type accountView struct {
	Service   order.Service `json:"service"`
	Accepted  int           `json:"accepted"`
	Done      int           `json:"done"`
	Waiting   int           `json:"waiting"`
	Running   int           `json:"running"`
	Dead      int           `json:"dead"`
	Discarded int           `json:"discarded"`
	Lost      int           `json:"lost"`
	Double    int           `json:"double"`
	Findings  []findingView `json:"findings"`
}

type findingView struct {
	Kind       audit.Kind `json:"kind"`
	Seq        uint64     `json:"seq"`
	OrderID    string     `json:"order_id,omitempty"`
	Generation int        `json:"generation"`
}

func newAudit(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit [SERVICE…]",
		Short: "Say where every accepted order is, and which are nowhere",
		Long: `Say where every accepted order is, service by service:

  accepted = done + waiting + running + dead + discarded + lost

It reads what the broker holds and may be run at any time; an order on its way is
never taken for a lost one. Orders that were trimmed were settled by all services:
they are counted only while they wait or lie dead.

Exit code 1: an order is lost, that is, nowhere. A double (an order that ended twice
in one service, such as after a crash between storing and acknowledging) is listed
and is no failure: the services are idempotent by the order's id. Exit code 4: the broker doesn't know the service.

Of each service at most 100 lost orders and 100 doubles are listed; all are counted.`,
		Example: `  watertight audit
  watertight audit payment -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			services := order.Services()
			if len(args) > 0 {
				services = nil
			}
			for _, name := range args {
				s, err := serviceNamed("service", name)
				if err != nil {
					return err
				}
				services = append(services, s)
			}
			conn, err := a.connect(cmd.Context(), a.logger())
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := audit.Run(cmd.Context(), conn, services)
			if errors.Is(err, audit.ErrNotProvisioned) {
				return &exitError{exitNothing, err}
			}
			if err != nil {
				return err
			}
			if err := a.printAudit(r); err != nil {
				return err
			}
			if n := r.Lost(); n > 0 {
				return fmt.Errorf("orders lost: %d", n)
			}
			return nil
		},
	}
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

func (a *app) printAudit(r audit.Report) error {
	v := auditView{At: r.At.UTC(), First: r.First, Last: r.Last, Services: make([]accountView, 0, len(r.Services))}
	for _, s := range r.Services {
		account := accountView{s.Service, s.Accepted, s.Done, s.Waiting, s.Running, s.Dead, s.Discarded, s.Lost, s.Double, []findingView{}}
		for _, f := range s.Findings {
			account.Findings = append(account.Findings, findingView{f.Kind, f.Seq, f.OrderID, f.Generation})
		}
		v.Services = append(v.Services, account)
	}
	if a.output == formJSON {
		return writeJSON(a.stdout, v, true)
	}
	rows := make([][]string, 0, len(v.Services))
	for _, s := range v.Services {
		row := []string{string(s.Service)}
		for _, n := range []int{s.Accepted, s.Done, s.Waiting, s.Running, s.Dead, s.Discarded, s.Lost, s.Double} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	if err := table(a.stdout, []string{"SERVICE", "ACCEPTED", "DONE", "WAITING", "RUNNING", "DEAD", "DISCARDED", "LOST", "DOUBLE"}, rows); err != nil {
		return err
	}
	return a.printFindings(v.Services)
}

// printFindings lists what is wrong, and says how to see more of it.
func (a *app) printFindings(services []accountView) error {
	var (
		rows           [][]string
		order, letters string // the first of its kind, for a hint
	)
	for _, s := range services {
		for _, f := range s.Findings {
			seq := strconv.FormatUint(f.Seq, 10)
			rows = append(rows, []string{string(f.Kind), string(s.Service), seq, printable(f.OrderID), strconv.Itoa(f.Generation)})
			order = cmp.Or(order, seq)
			if f.Kind == audit.DeadTwice || f.Kind == audit.DoneAndDead {
				letters = cmp.Or(letters, f.OrderID)
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	if err := table(a.stdout, []string{"FINDING", "SERVICE", "SEQ", "ORDER", "GENERATION"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "`nats stream get %s %s` shows an order as it was accepted\n", broker.StreamOrders, order)
	if letters != "" {
		fmt.Fprintf(a.stderr, "`%s` lists the letters of an order\n", a.self("dlq ls --order "+letters))
	}
	return nil
}
