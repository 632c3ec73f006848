package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// A lost order fails the audit and a double doesn't; both are told.
func TestAudit_FailsOnALostOrderOnly(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{}).url
	run := func(args ...string) ran {
		t.Helper()
		return program(t, "", append([]string{"audit", "-s", url}, args...)...)
	}
	run("payment").want(t, exitNothing, "payment", "not provisioned")
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	if r := run(); r.code != exitOK || r.stderr != "" || strings.Contains(r.stdout, "FINDING") {
		t.Errorf("nothing was accepted: got exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}

	conn := connect(t, url)
	doubled, lost := order.NewID(), order.NewID()
	for _, id := range []string{doubled, lost} {
		m := broker.Message{Subject: broker.SubjectCreated, ID: id, Header: broker.Hop{OrderID: id}.Header(nil), Data: []byte("{}")}
		if _, err := conn.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	of := func(subject string) {
		t.Helper()
		origin := broker.Origin{Stream: broker.StreamOrders, Seq: 1, Subject: broker.SubjectCreated}
		m := broker.Message{Subject: subject, ID: order.NewID(), Header: broker.Hop{OrderID: doubled, Origin: origin}.Header(nil)}
		if _, err := conn.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	of(broker.OutcomeSubject(order.Payment, order.Authorized))
	of(broker.DeadSubject(order.Payment, "exhausted"))
	run().want(t, exitOK, "payment       2         1     1", "done and dead", doubled, "dlq ls --order "+doubled, "nats stream get ORDERS 1")

	acknowledge(t, conn, order.Payment, 2)
	run().want(t, exitFailure, "lost", lost, "orders lost: 1")
	run("inventory").want(t, exitOK, "inventory  2         0     2")
	var v auditView
	r := run("payment", "-o", "json")
	r.want(t, exitFailure)
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if len(v.Services) != 1 || v.Services[0].Lost != 1 || v.Services[0].Double != 1 || len(v.Services[0].Findings) != 2 || v.Last != 2 {
		t.Fatalf("document: got %+v, want one service with an order lost and one double", v)
	}
	if f := v.Services[0].Findings[0]; f != (findingView{Kind: audit.Lost, Seq: 2, OrderID: lost}) {
		t.Errorf("first finding: got %+v, want order 2 lost", f)
	}
}

// acknowledge settles the first n orders for a service, without a trace.
func acknowledge(t *testing.T, conn *broker.Conn, s order.Service, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(s))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
		n--
	}
	if err := batch.Error(); err != nil || n != 0 {
		t.Fatalf("%d orders didn't come: %v", n, err)
	}
}
