package sim_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/internal/sim"
)

func TestParseFault(t *testing.T) {
	for in, want := range map[string]struct {
		target sim.Target
		faults sim.Faults
		again  string // as String writes it, when that differs
	}{
		"payment=hang":              {sim.Payment, sim.Faults{{Kind: sim.Hang}}, ""},
		"payment=hang:5s":           {sim.Payment, sim.Faults{{Kind: sim.Hang, For: 5 * time.Second}}, ""},
		"payment=hang:5s:50%":       {sim.Payment, sim.Faults{{Kind: sim.Hang, For: 5 * time.Second, Share: 0.5}}, ""},
		"payment=hang:50%:5s":       {sim.Payment, sim.Faults{{Kind: sim.Hang, For: 5 * time.Second, Share: 0.5}}, "hang:5s:50%"},
		"payment=hang:50%+deaf:50%": {sim.Payment, sim.Faults{{Kind: sim.Hang, Share: 0.5}, {Kind: sim.Deaf, Share: 0.5}}, ""},
		"payment=errors:30%+hang":   {sim.Payment, sim.Faults{{Kind: sim.Errors, Share: 0.3}, {Kind: sim.Hang}}, ""},
		"payment=latency:200ms+declines:0.1%+late": {sim.Payment, sim.Faults{
			{Kind: sim.Latency, For: 200 * time.Millisecond}, {Kind: sim.Declines, Share: 0.001}, {Kind: sim.Late},
		}, ""},
		"mail=throttle:2s":   {sim.Mail, sim.Faults{{Kind: sim.Throttle, For: 2 * time.Second}}, ""},
		"notification=drip":  {sim.Mail, sim.Faults{{Kind: sim.Drip}}, ""},
		"inventory=deaf:10%": {sim.Inventory, sim.Faults{{Kind: sim.Deaf, Share: 0.1}}, ""},
		"payment=none":       {sim.Payment, nil, ""},
	} {
		t.Run(in, func(t *testing.T) {
			target, faults, err := sim.ParseFault(in)
			if err != nil || target != want.target {
				t.Fatalf("got %q, %v, want %q", target, err, want.target)
			}
			if diff := cmp.Diff(want.faults, faults); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if want.again == "" {
				_, want.again, _ = strings.Cut(in, "=")
			}
			if got := faults.String(); got != want.again {
				t.Errorf("String: got %s, want %s", got, want.again)
			}
		})
	}
}

func TestParseFault_SaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "want TARGET=FAULT",
		"hang":                                 "want TARGET=FAULT",
		"paymnt=hang":                          `did you mean "payment"?`,
		"warehouse=hang":                       "there are payment, mail, inventory",
		"payment=hng":                          `did you mean "hang"?`,
		"payment=explode":                      "there are hang, errors",
		"payment=":                             `unknown kind ""`,
		"payment=hang+":                        `unknown kind ""`,
		"payment=Hang":                         `did you mean "hang"?`,
		"payment=hang@50%":                     "a share follows a colon: hang:50%",
		"payment=hang:5s@10s+15s":              `"@" means nothing here`,
		"payment=hang:":                        "neither a duration",
		"payment=hang:5":                       "neither a duration",
		"payment=hang:0s":                      "not positive",
		"payment=hang:-5s":                     "not positive",
		"payment=hang:5s:5s":                   "given twice",
		"payment=hang:5%:5%":                   "given twice",
		"payment=hang:0%":                      "out of range",
		"payment=hang:101%":                    "out of range",
		"payment=hang:NaN%":                    "out of range",
		"payment=errors:5s":                    "errors takes no duration",
		"payment=latency":                      "latency needs a duration",
		"payment=hang+late":                    "give them shares: hang:50%+late:50%",
		"payment=hang:50%+hang:50%":            "hang stands twice",
		"payment=hang:60%+late:60%":            "add up to 120%",
		"payment=hang:100%+late":               "leave nothing for late",
		"inventory=hang":                       "inventory has no outside world",
		"payment=declines+none":                "unknown kind",
		"payment=" + strings.Repeat("x", 9999): "unknown kind",
	} {
		_, _, err := sim.ParseFault(in)
		if !errors.Is(err, sim.ErrFault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want it to say %q", in, err, want)
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	for _, s := range []string{"none", "hang:5s:50%+deaf:50%", "latency:200ms+declines:1%", "drip:1h2m3.5s:33.3333%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fs, err := sim.ParseFaults(s)
		if err != nil {
			return
		}
		again, err := sim.ParseFaults(fs.String())
		if err != nil || again.String() != fs.String() {
			t.Errorf("%q: read again as %q, %v", fs, again, err)
		}
	})
}
