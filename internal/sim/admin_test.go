package sim_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAdmin_SwitchesFaults(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		url := c.AdminURL()
		for _, step := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"GET", "/faults", "", 200, `{"inventory":"none","mail":"none","payment":"none"}`},
			{"PUT", "/faults/payment", `{"fault":"hang:5s:50%+latency:10ms"}`, 200, `{"inventory":"none","mail":"none","payment":"hang:5s:50%+latency:10ms"}`},
			{"PUT", "/faults/notification", `{"fault":"errors"}`, 200, `{"inventory":"none","mail":"errors","payment":"hang:5s:50%+latency:10ms"}`},
			{"DELETE", "/faults/payment", "", 204, ``},
			{"PUT", "/faults/mail", `{"fault":"none"}`, 200, `{"inventory":"none","mail":"none","payment":"none"}`},
			{"PUT", "/faults/paymet", `{"fault":"none"}`, 404, `did you mean \"payment\"?`},
			{"DELETE", "/faults/x", "", 404, `unknown target`},
			{"PUT", "/faults/payment", `{"fault":"hagn"}`, 422, `did you mean \"hang\"?`},
			{"PUT", "/faults/payment", `{"fault":"deaf"}`, 422, `no handler of this process can be deaf`},
			{"PUT", "/faults/payment", `hang`, 400, `want {\"fault\":`},
			{"PUT", "/faults/payment", `{}`, 400, `body has no \"fault\"`},
			{"PUT", "/faults/payment", `{"faults":"hang"}`, 400, `unknown field`},
			{"GET", "/faults", "", 200, `{"inventory":"none","mail":"none","payment":"none"}`},
			{"POST", "/faults/payment", "", 405, ``},
		} {
			status, body := c.do(t, step.method, url+step.path, step.body)
			if status != step.status || !strings.Contains(body, step.want) {
				t.Errorf("%s %s %s: got %d %s, want %d %s", step.method, step.path, step.body, status, body, step.status, step.want)
			}
		}
		status, _ := c.do(t, http.MethodPut, url+"/faults/payment", `{"fault":"hang"}`, "Sec-Fetch-Site", "cross-site")
		if status != http.StatusForbidden {
			t.Errorf("from another site's page: got %d, want 403", status)
		}
	})
}

func TestAdmin_Counts(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		_, _ = c.charge(t, "o1/authorize", "o1", 500)
		for path, want := range map[string]string{
			"/counts": `{"payment":{"connections":1,"requests":1,"charges":1,"orders_charged":1,"doubled_by_order":0,"doubled_by_key":0,` +
				`"declines":0,"conflicts":0,"invalid":0,"held":0},"mail":{"connections":0,"mails":0,"repeated":0,"refused":0,"held":0},` +
				`"deaf":{"inventory":0,"mail":0,"payment":0}}`,
			"/charges/o1":                    `{"order_id":"o1","charged":1,"decisions":[{"key":"o1/authorize","id":"` + c.Charges("o1")[0].ID + `","amount":500,"currency":"EUR"}]}`,
			"/charges/o2":                    `{"order_id":"o2","charged":0,"decisions":[]}`,
			"/mails/o1.created@shop.example": `{"message_id":"o1.created@shop.example","taken":0}`,
		} {
			if status, got := c.do(t, http.MethodGet, c.AdminURL()+path, ""); status != http.StatusOK || got != want {
				t.Errorf("GET %s: got %d %s, want %s", path, status, got, want)
			}
		}
	})
}
