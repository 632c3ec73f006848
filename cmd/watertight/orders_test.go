package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// lines returns orders as a file of them.
func lines(t *testing.T, all []order.Order) string {
	t.Helper()
	var b strings.Builder
	for _, o := range all {
		line, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	all := orders(5, 6)

	file := filepath.Join(t.TempDir(), "orders.jsonl")
	half := lines(t, all[:2]) + "{\"id\":\"nonsense\"}\n\n" + strings.Replace(lines(t, all[2:3]), `"currency"`, `"Currency"`, 1)
	if err := os.WriteFile(file, []byte(half), 0o600); err != nil {
		t.Fatal(err)
	}
	r := program(t, "", "publish", "-s", url, file)
	r.want(t, exitPartly, "line 1  "+all[0].ID+"  stored", "line 3", "id: must be a UUID of version 7", "line 5", `unknown field, did you mean "currency"?`, file+": 2 stored, 0 duplicate, 2 failed")

	// Mended and given again, with more: nothing is placed twice.
	r = program(t, lines(t, all), "publish", "-s", url, "-o", "ndjson")
	r.want(t, exitOK, "standard input: 4 stored, 2 duplicate, 0 failed")
	results := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(results) != len(all) {
		t.Fatalf("got %d result lines, want %d", len(results), len(all))
	}
	for i, line := range results {
		var got struct {
			Line   int
			ID     string
			Status string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		want := "stored"
		if i < 2 {
			want = "duplicate"
		}
		if got.Line != i+1 || got.ID != all[i].ID || got.Status != want {
			t.Errorf("result %d: got %+v, want order %s %s", i+1, got, all[i].ID, want)
		}
	}
	settled(t, url, all)
	s.nothingLost(url, len(all), 0)

	program(t, "not an order\n", "publish", "-s", url).want(t, exitFailure, "0 stored, 0 duplicate, 1 failed")
	program(t, "", "publish", "-s", url).want(t, exitOK, "0 stored, 0 duplicate, 0 failed")
	without := strings.Replace(lines(t, all[:1]), `"id":"`+all[0].ID+`",`, "", 1)
	program(t, without, "publish", "-s", url).want(t, exitFailure, "id: must be a UUID")
	program(t, without, "publish", "-s", url, "--generate-ids").want(t, exitOK, "1 stored")
}

// outsider stores bytes as an order, past the publisher's checks.
func outsider(t *testing.T, conn *broker.Conn, data []byte, schema string) {
	t.Helper()
	h := nats.Header{}
	if schema != "" {
		h[broker.HeaderSchema] = []string{schema}
	}
	if _, err := conn.Store(t.Context(), broker.Message{Subject: broker.SubjectCreated, ID: order.NewID(), Header: h, Data: data}); err != nil {
		t.Fatal(err)
	}
}

// letterJSON is what `dlq show -o json` prints.
type letterJSON struct {
	Seq        uint64        `json:"seq"`
	Service    order.Service `json:"service"`
	Reason     string        `json:"reason"`
	OrderID    string        `json:"order_id"`
	Error      string        `json:"error"`
	Attempts   int           `json:"attempts"`
	Generation int           `json:"generation"`
	Timeline   []any         `json:"timeline"`
	Data       *string       `json:"data"`
	DataBase64 *string       `json:"data_base64"`
}

func letters(t *testing.T, url string, args ...string) (all []letterJSON) {
	t.Helper()
	r := program(t, "", append([]string{"dlq", "ls", "-o", "json", "-s", url}, args...)...)
	r.want(t, exitOK)
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("dlq ls: %v\n%s", err, r.stdout)
	}
	return all
}

func TestServe_GivesUpWhatNobodyCanRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, url, http := s.serve()
	conn := connect(t, url)
	good := orders(6, 1)[0]
	encoded := strings.TrimSpace(lines(t, []order.Order{good}))
	quantity := fmt.Sprintf(`"quantity":%d`, good.Lines[0].Quantity)
	sku := fmt.Sprintf(`"sku":%q`, good.Lines[0].SKU)
	posted := follow(t, conn, broker.StreamDeadLetters)

	for name, tt := range map[string]struct {
		data   string
		schema string
		reason string
		says   string
		only   order.Service // which can't process it; all when empty
	}{
		"nothing":           {data: "", reason: "invalid", says: "not JSON"},
		"a negative amount": {data: strings.Replace(encoded, quantity, `"quantity":-1`, 1), reason: "invalid", says: "lines[0].quantity: must be 1 to 10000, got -1"},
		"1e308":             {data: strings.Replace(encoded, quantity, `"quantity":1e308`, 1), reason: "invalid", says: "lines[0].quantity"},
		"a body of 1 MiB":   {data: encoded + strings.Repeat(" ", 1<<20), reason: "invalid", says: "order too large"},
		"invalid UTF-8":     {data: strings.Replace(encoded, `"customer":"`, "\"customer\":\"\xff", 1), reason: "invalid", says: "invalid UTF-8"},
		"a key twice":       {data: `{"customer":"c-2",` + encoded[1:], reason: "invalid", says: "customer (byte"},
		"deep nesting":      {data: `{"lines":` + strings.Repeat("[", 20_000), reason: "invalid", says: "lines"},
		"a newer schema":    {data: encoded, schema: "order/99", reason: "schema", says: `unknown schema "order/99": this program reads "order/1"`},
		"an unknown SKU":    {data: strings.NewReplacer(sku, `"sku":"NO-SUCH-THING"`, good.ID, order.NewID()).Replace(encoded), reason: "rejected", says: "NO-SUCH-THING", only: order.Inventory},
	} {
		before := len(letters(t, url))
		outsider(t, conn, []byte(tt.data), tt.schema)
		services := order.Services()
		if tt.only != "" {
			services = []order.Service{tt.only}
		}
		for range services {
			posted()
		}
		got := letters(t, url)[before:]
		if len(got) != len(services) {
			t.Fatalf("%s: got %d letters, want %d: %+v", name, len(got), len(services), got)
		}
		for _, l := range got {
			whole := program(t, "", "dlq", "show", "-o", "json", "-s", url, fmt.Sprint(l.Seq))
			whole.want(t, exitOK)
			if err := json.Unmarshal([]byte(whole.stdout), &l); err != nil {
				t.Fatal(err)
			}
			if l.Reason != tt.reason || !strings.Contains(l.Error, tt.says) || l.Attempts != 1 || len(l.Timeline) != 1 {
				t.Errorf("%s: got a letter of %s, %s after %d attempts: %s\nwant %s after 1: %s", name, l.Service, l.Reason, l.Attempts, l.Error, tt.reason, tt.says)
			}
			if data := l.bytes(t); data != tt.data {
				t.Errorf("%s: the letter of %s has %d bytes, want the %d as they were received", name, l.Service, len(data), len(tt.data))
			}
		}
	}
	if status, _ := get(t, http+"/livez"); status != 200 {
		t.Errorf("GET /livez: got %d, want 200: the process lives", status)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitByTermSignal {
		t.Errorf("serve: exit code %d, want %d", code, exitByTermSignal)
	}
}

func TestDLQ_ReplaysAndDiscards(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	conn := connect(t, url)
	unknown := orders(7, 2)
	for i := range unknown {
		unknown[i].Lines[0].SKU = "NO-SUCH-THING"
		data, err := unknown[i].Encode()
		if err != nil {
			t.Fatal(err)
		}
		outsider(t, conn, data, "")
	}
	outsider(t, conn, []byte("{}"), "") // three letters
	posted := follow(t, conn, broker.StreamDeadLetters)
	for range 5 {
		posted()
	}

	program(t, "", "dlq", "ls", "-s", url).want(t, exitOK, "rejected", "NO-SUCH-THING", "5 dead letters")
	rejected := letters(t, url, "--reason", "rejected", "--service", "inventory")
	if len(rejected) != 2 {
		t.Fatalf("got %d rejected letters, want 2", len(rejected))
	}
	first := fmt.Sprint(rejected[0].Seq)
	program(t, "", "dlq", "show", "-s", url, first).want(t, exitOK, "service      inventory", "reason       rejected", rejected[0].OrderID)
	program(t, "", "dlq", "replay", "-s", url, first, "--dry-run").want(t, exitOK, first+"  would be replayed")

	// Still unknown: it comes back as another letter, of the next generation.
	program(t, "", "dlq", "replay", "-s", url, first).want(t, exitOK, first+"  replayed")
	for posted().Subject() != "dlq.inventory.rejected" { // the desk's record comes first
	}
	again := letters(t, url, "--reason", "rejected")
	if len(again) != 2 || again[1].Generation != 1 || again[1].Attempts != 1 {
		t.Errorf("after the replay: got %+v, want two letters, the last of generation 1 after 1 attempt", again)
	}
	program(t, "", "dlq", "show", "-s", url, first).want(t, exitNothing, "no such dead letter")

	program(t, "", "dlq", "discard", "-s", url, "--reason", "rejected", "--dry-run", "-o", "json").want(t, exitOK, `"status": "would be discarded"`)
	program(t, "", "dlq", "discard", "-s", url, "--reason", "rejected").want(t, exitOK, "discarded")
	program(t, "", "dlq", "discard", "-s", url, "--reason", "rejected").want(t, exitNothing, "no such dead letters")
	program(t, "", "dlq", "discard", "-s", url, "--all").want(t, exitOK)
	program(t, "", "dlq", "ls", "-s", url).want(t, exitOK, "no dead letters")
	program(t, "", "audit", "-s", url).want(t, exitOK)
}

func TestPause_LetsOrdersWait(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	program(t, "", "pause", "-s", url, "payment").want(t, exitOK, "ORDERS/payment ", "RETRY_PAYMENT/payment-t1", "paused until resumed")
	all := orders(9, 5)
	if rest := place(t, url, all, func() {}); len(rest) > 0 {
		t.Fatalf("%d orders could not be placed", len(rest))
	}
	posted := followOutcomes(t, connect(t, url))
	for others := 0; others < 2*len(all); { // the other services'
		others += len(posted())
	}
	if charged := s.world.Counts().Payment.Requests; charged != 0 {
		t.Errorf("the gateway was asked %d times during the pause", charged)
	}
	program(t, "", "pause", "-s", url, "payment", "--for", "1h", "-o", "json").want(t, exitOK, `"durable": "ORDERS/payment"`, `"paused": true`)
	program(t, "", "resume", "-s", url, "payment", "--dry-run").want(t, exitOK, "paused until 20")
	program(t, "", "resume", "-s", url, "payment").want(t, exitOK, "running")
	settled(t, url, all)
	s.nothingLost(url, len(all), 0)
	program(t, "", "pause", "-s", url, "shipping").want(t, exitFailure, `unknown service "shipping"`)
}

func TestDLQ_WatchFollows(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	conn := connect(t, url)
	posted := follow(t, conn, broker.StreamDeadLetters)
	watch := start(t, "dlq", "watch", "-s", url, "-o", "ndjson", "--service", "payment")
	var line string
	for tries := 0; line == ""; tries++ { // until it is there to see one
		if tries == 1000 {
			t.Fatal("1000 letters were posted and dlq watch printed none")
		}
		outsider(t, conn, []byte("{}"), "")
		for range order.Services() {
			posted()
		}
		select {
		case line = <-watch.lines:
		default:
		}
	}
	var l letterJSON
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		t.Fatal(err)
	}
	if l.Service != order.Payment || l.Reason != "invalid" {
		t.Errorf("got %+v, want an invalid letter of payment", l)
	}
	watch.signal(syscall.SIGINT)
	if code := watch.wait(); code != exitInterrupted {
		t.Errorf("exit code: got %d, want %d", code, exitInterrupted)
	}
}

// bytes is the body as it was received.
func (l letterJSON) bytes(t *testing.T) string {
	t.Helper()
	if l.DataBase64 == nil {
		if l.Data == nil {
			return ""
		}
		return *l.Data
	}
	b, err := base64.StdEncoding.DecodeString(*l.DataBase64)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
