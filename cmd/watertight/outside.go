package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// outsideConfig is the outside world of the services: a payment gateway, a mail
// server, a stock list; real or pretended.
type outsideConfig struct {
	sim      bool
	gateway  string
	mail     string
	mailFrom string
	stock    string

	seed    uint64       // of the pretended world
	network *sim.Network // on which the pretended world is; nil: that of the machine

	articles []inventory.Item // of the stock file, or the catalogue
}

func (c *outsideConfig) flags(f *pflag.FlagSet) {
	f.BoolVar(&c.sim, "sim", false, "pretend the payment gateway and the mail server: no card is charged, no mail is sent")
	f.StringVar(&c.gateway, "gateway", "", "base URL of the payment gateway")
	f.StringVar(&c.mail, "mail", "", "host:port of the mail server")
	f.StringVar(&c.mailFrom, "mail-from", defaultMailFrom, "sender of the mails")
	f.StringVar(&c.stock, "stock", "", "CSV file of sku,quantity: articles that the ledger doesn't know yet (with --sim: a built-in catalogue)")
}

// complete checks that what the services need is named.
func (c *outsideConfig) complete(services []order.Service) error {
	need := func(s order.Service, value, flag string) error {
		switch {
		case !slices.Contains(services, s):
			return nil
		case c.sim && value != "":
			return usagef("%s and --sim: choose one", flag)
		case !c.sim && value == "":
			return usagef("%s needs %s; or --sim to try without: charges and mails are pretended then", s, flag)
		}
		return nil
	}
	if err := errors.Join(need(order.Payment, c.gateway, "--gateway"), need(order.Notification, c.mail, "--mail")); err != nil {
		return usage(err)
	}
	if u, err := url.Parse(c.gateway); c.gateway != "" && (err != nil || u.Host == "" || u.RawQuery+u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https")) {
		return usagef("--gateway %q: want a base URL such as https://pay.example.com", withoutSecrets(c.gateway))
	}
	if _, _, err := net.SplitHostPort(c.mail); c.mail != "" && err != nil {
		return usagef("--mail %q: want host:port", c.mail)
	}
	if slices.Contains(services, order.Inventory) {
		return c.readStock()
	}
	return nil
}

// readStock reads the stock file; the pretended world has the catalogue of the
// load generator.
func (c *outsideConfig) readStock() (err error) {
	var in io.Reader
	switch {
	case c.stock != "":
		f, err := os.Open(c.stock)
		if err != nil {
			return usagef("--stock: %w", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	case c.sim:
		in = strings.NewReader(load.StockCSV())
	default:
		return nil
	}
	if c.articles, err = inventory.ParseStock(in, c.stock); err != nil {
		return usagef("--stock: %w", err)
	}
	return nil
}

// defaultMailFrom is a sender that no mail server takes for somebody's.
const defaultMailFrom = "shop@example.com"

// outside is the handlers of the services and what they need.
type outside struct {
	handlers map[order.Service]consumer.Handler
	checks   []check
	closers  []func()
	sim      *sim.World // nil: the world is real
}

func (o *outside) close() {
	for _, f := range slices.Backward(o.closers) {
		f()
	}
}

// open makes the handlers. What they need runs in group until ctx ends.
func (c *outsideConfig) open(ctx context.Context, conn *broker.Conn, services []order.Service, log zerolog.Logger, group *errgroup.Group) (*outside, error) {
	o := &outside{handlers: make(map[order.Service]consumer.Handler)}
	gateway, mail := c.gateway, c.mail
	if c.sim {
		pretend := sim.Config{Seed: c.seed}
		if c.network != nil {
			pretend.Listen = c.network.Listen
		}
		world, err := sim.New(pretend)
		if err != nil {
			return nil, fmt.Errorf("start the pretended outside world: %w", err)
		}
		group.Go(func() error { return world.Run(ctx) })
		o.sim = world
		gateway, mail = world.PaymentURL(), world.MailAddr()
		log.Warn().Str("event", "sim.started").Str("gateway", gateway).Str("mail", mail).Str("faults", world.AdminURL()+"/faults").Msg(sim.Banner)
	}
	for _, s := range services {
		h, err := c.handler(ctx, s, o, conn, gateway, mail, log, group)
		if err != nil {
			o.close()
			return nil, err
		}
		o.handlers[s] = o.deaf(s, h)
	}
	return o, nil
}

// deaf gives a handler of the pretended world the fault that is inside it.
func (o *outside) deaf(s order.Service, h consumer.Handler) consumer.Handler {
	if o.sim == nil {
		return h
	}
	target, err := sim.ParseTarget(string(s))
	if err != nil {
		return h // a service without a pretended counterpart
	}
	return o.sim.Deaf(target, h)
}

func (c *outsideConfig) handler(ctx context.Context, s order.Service, o *outside, conn *broker.Conn, gateway, mail string, log zerolog.Logger, group *errgroup.Group) (consumer.Handler, error) {
	switch s {
	case order.Payment:
		var client *http.Client // its own
		if c.network != nil {
			client = &http.Client{Transport: &http.Transport{DialContext: c.network.DialContext, MaxIdleConnsPerHost: 64}}
		}
		gw, err := payment.NewHTTP(gateway, client)
		if err != nil {
			return nil, usagef("--gateway: %w", err)
		}
		o.closers = append(o.closers, gw.Close)
		return &payment.Service{Gateway: gw}, nil
	case order.Notification:
		var cfg notification.SMTPConfig
		if c.network != nil {
			cfg.Dial = c.network.DialContext
		}
		mailer, err := notification.NewSMTP(mail, cfg)
		if err != nil {
			return nil, usagef("--mail: %w", err)
		}
		o.closers = append(o.closers, mailer.Close)
		return &notification.Service{Mailer: mailer, From: c.mailFrom}, nil
	default:
		stock := inventory.NewStockLog(conn)
		group.Go(func() error {
			// A log that can't be read is inventory's trouble alone: its orders
			// wait, readiness says why, and the other services go on.
			if err := stock.Run(ctx); err != nil {
				log.Error().Err(err).Str("event", "stock.broken").Msg("no reservation can be decided any more")
			}
			return nil
		})
		if err := stock.Add(ctx, c.articles); err != nil {
			return nil, err
		}
		o.checks = append(o.checks, check{"stock", stock.Check})
		return &inventory.Service{Ledger: stock}, nil
	}
}
