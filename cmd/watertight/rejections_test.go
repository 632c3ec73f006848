package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// note puts rejections on record.
func note(t *testing.T, conn *broker.Conn, all ...rejections.Rejection) {
	t.Helper()
	log := rejections.New(conn, rejections.Config{Instance: "shop-1/7"})
	ended, end := context.WithCancel(t.Context())
	end()
	for _, r := range all {
		log.Note(r)
		if err := log.Run(ended); err != nil { // it stores what waits
			t.Fatal(err)
		}
	}
}

func TestRejections(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{}).url
	run := func(args ...string) ran {
		t.Helper()
		return program(t, "", append([]string{"rejections", "-s", url}, args...)...)
	}
	run().want(t, exitFailure, "read rejections: ", "stream not found")
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	for form, stdout := range map[string]string{formTable: "", formJSON: "[]\n", formNDJSON: ""} {
		r := run("-o", form)
		if r.want(t, exitNothing, "nothing was turned away"); r.stdout != stdout {
			t.Errorf("-o %s of nothing: got %q, want %q", form, r.stdout, stdout)
		}
	}

	note(
		t, connect(t, url),
		rejections.Rejection{Where: rejections.Publisher, Reason: rejections.Full, OrderID: "o-1"},
		rejections.Rejection{Service: order.Payment, Where: rejections.Bulkhead, Reason: rejections.Full, OrderID: "o-2"},
		rejections.Rejection{Service: order.Payment, Where: rejections.Bulkhead, Reason: rejections.Full, OrderID: "o-3", Detail: "payment: no slot in time"},
		rejections.Rejection{Service: "\x1b[31mred", Where: rejections.Bulkhead, Reason: rejections.Breaker},
	)
	fields := func(s string) string {
		rows := strings.Split(strings.TrimSpace(s), "\n")
		for i := range rows {
			rows[i] = strings.Join(strings.Fields(rows[i]), " ")
			rows[i] = rows[i][:strings.LastIndex(rows[i], " ")] // how long ago that was
		}
		return strings.Join(rows, "\n")
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"by default":  {nil, "SERVICE REASON COUNT\npayment full 2\n- full 1\n" + `\u001b[31mred breaker 1`},
		"by reason":   {[]string{"--by", "reason", "--since", "1h"}, "REASON COUNT\nfull 3\nbreaker 1"},
		"by several":  {[]string{"--by", "where,reason"}, "WHERE REASON COUNT\nbulkhead full 2\nbulkhead breaker 1\npublisher full 1"},
		"by repeated": {[]string{"--by", "reason", "--by", "where"}, "REASON WHERE COUNT\nfull bulkhead 2\nbreaker bulkhead 1\nfull publisher 1"},
	} {
		r := run(tt.args...)
		r.want(t, exitOK, "4 rejections\n")
		if got := fields(r.stdout); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
	run("--by", "minute").want(t, exitOK, "MINUTE", ":00Z")
	run("--since", time.Now().Add(time.Hour).Format(time.RFC3339)).want(t, exitNothing, "nothing was turned away")

	var counts []rejections.Count
	r := run("-o", "json", "--by", "service,reason")
	r.want(t, exitOK)
	if err := json.Unmarshal([]byte(r.stdout), &counts); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if len(counts) != 3 || counts[0].Kind != (rejections.Kind{Service: order.Payment, Reason: rejections.Full}) || counts[0].Count != 2 || counts[0].First.After(counts[0].Last) {
		t.Errorf("document: got %+v", counts)
	}
	r = run("-o", "ndjson")
	r.want(t, exitOK)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	var third rejections.Rejection
	if err := json.Unmarshal([]byte(lines[min(2, len(lines)-1)]), &third); err != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v in %s", len(lines), err, r.stdout)
	}
	third.At = time.Time{}
	want := rejections.Rejection{
		Instance: "shop-1/7", Service: order.Payment, Where: rejections.Bulkhead, Reason: rejections.Full, OrderID: "o-3", Detail: "payment: no slot in time",
	}
	if third != want {
		t.Errorf("record: got %+v, want %+v", third, want)
	}
}

// What a full stream refuses is on record, whichever verb it was.
func TestRejections_OfOrdersOnTheirWayIn(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{}).url
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	conn := connect(t, url)
	s, err := conn.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	small := s.CachedInfo().Config
	small.MaxMsgs = 1
	if _, err := conn.JetStream().UpdateStream(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	program(t, lines(t, orders(9, 4)), "publish", "-s", url).want(t, exitPartly, "1 stored, 0 duplicate, 3 failed", `"event":"publisher.rejected"`)
	program(t, "", "rejections", "-s", url, "--by", "where,reason").want(t, exitOK, "publisher  full    3")
	program(t, "", "load", "-s", url, "--rate", "20", "--duration", "1s", "--drain", "1ms").want(t, exitFailure, "20 refused")
	program(t, "", "rejections", "-s", url, "--by", "where,reason").want(t, exitOK, "publisher  full    23")
}

// A process that serves keeps records, and counts.
func TestServe_PutsWhatItTurnsAwayOnRecord(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, url, http := s.serve()
	late := orders(10, 1)[0]
	late.Deadline = time.Now().Add(-time.Minute)
	noted := follow(t, connect(t, url), broker.StreamRejections)
	place(t, url, []order.Order{late}, func() {})
	for range order.Services() {
		noted()
	}
	p.await("consumer.rejected")
	program(t, "", "rejections", "-s", url).want(t, exitOK, "payment       deadline  1", "inventory     deadline  1", "notification  deadline  1")
	if _, text := get(t, http+"/metrics"); !strings.Contains(text, `watertight_rejected_total{reason="deadline",service="payment",where="consumer"} 1`) {
		t.Errorf("metrics: got %s, want the rejection counted", text)
	}
}

// What a compartment refuses to its callers is on record too, but not that it stops.
func TestPool_PutsRefusalsOnRecord(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{}).url
	program(t, "", "provision", "-s", url, "--replicas", "1").want(t, exitOK)
	log := rejections.New(connect(t, url), rejections.Config{})
	refuse := poolConfig(order.Payment, 1, time.Second, zerolog.Nop(), log).Hooks.Rejected
	for _, r := range []bulkhead.Reason{
		bulkhead.Full, bulkhead.WaitedTooLong, bulkhead.BreakerOpen, bulkhead.RateLimited, bulkhead.WouldBeLate, bulkhead.ShutDown,
	} {
		refuse(&bulkhead.Rejection{Bulkhead: "payment", Reason: r})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := log.Run(ended); err != nil { // it stores what waits
		t.Fatal(err)
	}
	got := make(map[string]rejections.Kind) // by what the bulkhead calls it
	for r, err := range log.Read(t.Context(), time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.Detail] = rejections.Kind{Service: r.Service, Where: r.Where, Reason: r.Reason}
	}
	of := func(r rejections.Reason) rejections.Kind {
		return rejections.Kind{Service: order.Payment, Where: rejections.Bulkhead, Reason: r}
	}
	want := map[string]rejections.Kind{
		"full": of(rejections.Full), "waited too long": of(rejections.Full), "breaker open": of(rejections.Breaker),
		"rate limited": of(rejections.Rate), "would be late": of(rejections.Deadline),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records: -want +got\n%s", diff)
	}
}
