package integration_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/watertight-go/watertight/publisher/load"
)

// What is deployed is what is tested: the Dockerfile's images are of the versions
// that go.mod names.
func TestDeploy_VersionsAgree(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ stage, image, line string }{
		{"broker", "nats:", `(?m)^\s*github\.com/nats-io/nats-server/v2 v(\S+)`},
		{"build", "golang:", `(?m)^go (\d+\.\d+)`},
	} {
		m := regexp.MustCompile(tt.line).FindSubmatch(mod)
		if m == nil {
			t.Fatalf("go.mod has no line like %s", tt.line)
		}
		got, err := dockerfileImage(tt.stage)
		if want := tt.image + string(m[1]); err != nil || got != want {
			t.Errorf("Dockerfile's stage %s: from %q (%v), and go.mod says %s", tt.stage, got, err, want)
		}
	}
}

// The compose file's stock is the catalogue that generated orders are made of.
func TestDeploy_StockIsTheCatalogue(t *testing.T) {
	csv, err := os.ReadFile("../deploy/stock.csv")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimPrefix(string(csv), "sku,quantity\n"); got != load.StockCSV() {
		t.Errorf("deploy/stock.csv:\n%s\nwant:\n%s", got, load.StockCSV())
	}
}
