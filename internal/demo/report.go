package demo

import (
	"strings"
	"time"

	"github.com/watertight-go/watertight/internal/figure"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// Phase is a part of the demonstration as it was measured.
type Phase struct {
	Name     string
	Window   load.Phase
	Lateness load.Delay
	Stats    []load.Stats // in the order of Plan.Services; none of a phase that isn't judged
}

// Account is where the stored orders of one service are.
type Account struct {
	Service order.Service
	Sent    int // stored by the broker: Done + Dead + Waiting + Lost
	Done    int
	Dead    int
	Waiting int // running, or waiting for their turn or their retry
	Lost    int // nowhere
	Twice   int // settled twice
	Pending int // told "pending" by the fallback before they were settled
	Ghosts  int // the most slots held at once by handlers that outlived their timeout
}

// Group is dead letters of one kind.
type Group struct {
	Service order.Service
	Reason  string
	Error   string // of one of them
	Count   int
	Seq     uint64 // one of them
}

// Effects is what the outside world was really asked to do.
type Effects struct {
	Charged       int // cards
	ChargedTwice  int // orders
	Mails         int
	MailsRepeated int
}

// Result is a demonstration that has ended.
type Result struct {
	Plan     Plan
	Phases   []Phase
	Measured Measured
	Verdict  Verdict
	Accounts []Account
	Groups   []Group
	Effects  Effects

	// Command is how the user runs this program with these arguments.
	Command func(args string) string
}

// Document is the report as JSON.
type Document struct {
	Verdict     Word                      `json:"verdict"`
	Headline    string                    `json:"headline"`
	Causes      []string                  `json:"causes,omitempty"`
	Isolation   []isolationView           `json:"isolation"`
	Accounting  map[string]accountingView `json:"accounting"`
	Effects     effectsView               `json:"effects"`
	DeadLetters []groupView               `json:"dead_letters"`
	Phases      []phaseView               `json:"phases"`
	Thresholds  []Rule                    `json:"thresholds"`
	Plan        planView                  `json:"plan"`
}

type isolationView struct {
	Service             order.Service `json:"service"`
	BaselineW50         float64       `json:"baseline_w50_ms"`
	BaselineW99         float64       `json:"baseline_w99_ms"`
	FaultW50            float64       `json:"fault_w50_ms"`
	FaultW99            float64       `json:"fault_w99_ms"`
	Finished            float64       `json:"finished"`
	ControlFinished     float64       `json:"control_finished"`
	ControlP50AtLeastMS float64       `json:"control_p50_ms_at_least"`
}

type accountingView struct {
	Sent         int `json:"sent"`
	Done         int `json:"done"`
	Dead         int `json:"dead"`
	Waiting      int `json:"waiting"`
	Lost         int `json:"lost"`
	HandledTwice int `json:"handled_twice"`
	Fallbacks    int `json:"fallbacks"`
	Ghosts       int `json:"ghosts"`
}

type effectsView struct {
	Charged       int `json:"cards_charged"`
	ChargedTwice  int `json:"orders_charged_twice"`
	Mails         int `json:"mails"`
	MailsRepeated int `json:"mails_repeated"`
}

type groupView struct {
	Service order.Service `json:"service"`
	Reason  string        `json:"reason"`
	Error   string        `json:"error"`
	Count   int           `json:"count"`
	Seq     uint64        `json:"example_seq"`
}

type phaseView struct {
	Name        string      `json:"name"`
	From        time.Time   `json:"from"`
	Seconds     float64     `json:"seconds"`
	Orders      int         `json:"orders,omitempty"`
	LatenessW99 float64     `json:"generator_lateness_w99_ms"`
	LatenessP99 float64     `json:"generator_lateness_p99_ms"`
	Services    []statsView `json:"services,omitempty"`
}

type statsView struct {
	Service        order.Service `json:"service"`
	Samples        int           `json:"samples"`
	Finished       float64       `json:"finished"`
	Windows        int           `json:"windows"`
	W50            float64       `json:"w50_ms"`
	W99            float64       `json:"w99_ms"`
	P50            float64       `json:"p50_ms"`
	P99            float64       `json:"p99_ms"`
	Max            float64       `json:"max_ms"`
	UncorrectedP99 float64       `json:"uncorrected_p99_ms"`
}

type planView struct {
	Rate      float64       `json:"rate"`
	Seed      uint64        `json:"seed"`
	Faulty    order.Service `json:"faulty"`
	Fault     string        `json:"fault"`
	Slots     int           `json:"slots"`
	Pool      int           `json:"shared_pool_slots"`
	TimeoutMS float64       `json:"timeout_ms"`
}

// Document returns the report as JSON has it.
func (r Result) Document() Document {
	p := r.Plan
	d := Document{
		Verdict:     r.Verdict.Word,
		Headline:    r.Headline(),
		Causes:      r.Verdict.Causes,
		Isolation:   []isolationView{},
		Accounting:  make(map[string]accountingView, len(r.Accounts)),
		Effects:     effectsView{r.Effects.Charged, r.Effects.ChargedTwice, r.Effects.Mails, r.Effects.MailsRepeated},
		DeadLetters: []groupView{},
		Thresholds:  r.Verdict.Rules,
		Plan:        planView{p.Rate, p.Seed, p.Faulty, p.Fault, p.Slots, p.Pool(), figure.MS(p.Timeout)},
	}
	for _, i := range r.Measured.Isolation {
		if i.Service == p.Faulty {
			continue
		}
		d.Isolation = append(d.Isolation, isolationView{
			i.Service, figure.MS(i.Baseline.W50), figure.MS(i.Baseline.W99), figure.MS(i.Struck.W50), figure.MS(i.Struck.W99),
			i.Struck.Finished, i.Control.Finished, figure.MS(i.Control.P50),
		})
	}
	for _, a := range r.Accounts {
		d.Accounting[string(a.Service)] = accountingView{a.Sent, a.Done, a.Dead, a.Waiting, a.Lost, a.Twice, a.Pending, a.Ghosts}
	}
	for _, g := range r.Groups {
		d.DeadLetters = append(d.DeadLetters, groupView(g))
	}
	for _, ph := range r.Phases {
		v := phaseView{
			Name: ph.Name, From: ph.Window.From.UTC(), Seconds: ph.Window.To.Sub(ph.Window.From).Seconds(),
			Orders: ph.Lateness.Orders, LatenessW99: figure.MS(ph.Lateness.W99), LatenessP99: figure.MS(ph.Lateness.P99),
		}
		for _, s := range ph.Stats {
			v.Services = append(v.Services, statsView{
				s.Service, s.Samples, s.Finished, s.Windows, figure.MS(s.W50), figure.MS(s.W99), figure.MS(s.P50), figure.MS(s.P99), figure.MS(s.Max), figure.MS(s.Uncorrected99),
			})
		}
		d.Phases = append(d.Phases, v)
	}
	return d
}

// Headline is the one line a reader understands.
func (r Result) Headline() string {
	var healthy, sunk []string
	for _, i := range r.Measured.Isolation {
		if i.Service == r.Plan.Faulty {
			continue
		}
		healthy = append(healthy, string(i.Service)+" p50 "+figure.Millis(i.Baseline.W50)+" → "+figure.Millis(i.Struck.W50)+", "+figure.Percent(i.Struck.Finished)+" finished")
		sunk = append(sunk, figure.Percent(i.Control.Finished))
	}
	return string(r.Plan.Faulty) + " " + r.Plan.struck() + ": " + strings.Join(healthy, "; ") +
		". The same fault on one shared pool: " + strings.Join(sunk, " and ") + " finished"
}

// struck says what the fault does, in a word.
func (p Plan) struck() string {
	for _, w := range []struct{ kind, word string }{{"hang", "hung"}, {"deaf", "hung"}, {"errors", "failed"}, {"latency", "was slow"}} {
		if strings.Contains(p.Fault, w.kind) {
			return w.word
		}
	}
	return "was struck (" + p.Fault + ")"
}
