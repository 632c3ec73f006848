package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/internal/sim"
)

// simView is what sim prints when it is ready.
type simView struct {
	Gateway string `json:"gateway"`
	Mail    string `json:"mail"`
	Admin   string `json:"admin"`
}

func newSim(a *app) *cobra.Command {
	var (
		cfg    sim.Config
		faults []string
	)
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run the pretended outside world: a payment gateway and a mail server, with faults to switch",
		Long: `Run the pretended outside world: a payment gateway (HTTP) and a mail server
(SMTP) on loopback. Faults are switched while it runs:

  curl -X PUT  $ADMIN/faults/payment -d '{"fault":"hang:50%"}'
  curl -X DELETE $ADMIN/faults/payment
  curl $ADMIN/counts

A fault is one or more of hang[:5s] errors throttle[:2s] late[:3s] cut drip[:1s]
latency:200ms declines, each with a share (errors:30%), joined by "+".`,
		Example: `  watertight sim --gateway-addr 127.0.0.1:8090 --mail-addr 127.0.0.1:2525 --admin-addr 127.0.0.1:8091
  watertight serve --gateway http://127.0.0.1:8090 --mail 127.0.0.1:2525
  watertight sim --fault 'payment=hang:5s:50%' --fault mail=errors:10%`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			world, err := sim.New(cfg)
			if err != nil {
				return usage(err)
			}
			defer world.Close()
			for _, f := range faults {
				target, line, err := sim.ParseFault(f)
				if err == nil {
					err = world.Set(target, line)
				}
				if err != nil {
					return usagef("--fault %s: %w", f, err)
				}
			}
			if err := a.announce(world); err != nil {
				return err
			}
			return errors.Join(world.Run(cmd.Context()), context.Cause(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.PaymentAddr, "gateway-addr", "127.0.0.1:0", "where the payment gateway listens")
	f.StringVar(&cfg.MailAddr, "mail-addr", "127.0.0.1:0", "where the mail server listens")
	f.StringVar(&cfg.AdminAddr, "admin-addr", "127.0.0.1:0", "where faults are switched and counts are read; whoever reaches it can do so")
	f.Uint64Var(&cfg.Seed, "seed", 0, "decides every throw of the dice")
	f.StringArrayVar(&faults, "fault", nil, "TARGET=FAULT from the start, such as payment=hang:50%; may be repeated")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

func (a *app) announce(world *sim.World) error {
	fmt.Fprintln(a.stderr, sim.Banner)
	v := simView{world.PaymentURL(), world.MailAddr(), world.AdminURL()}
	if a.output == formJSON {
		return writeJSON(a.stdout, v, false)
	}
	return table(a.stdout, []string{"GATEWAY", "MAIL", "ADMIN"}, [][]string{{v.Gateway, v.Mail, v.Admin}})
}
