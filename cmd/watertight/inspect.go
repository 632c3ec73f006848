package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
)

// inspection is a check under way.
type inspection struct {
	plan      broker.Plan
	provision string // the command line
	findings  []finding

	mu    sync.Mutex
	words []string
}

func (in *inspection) add(g grade, check, says, do string) {
	in.findings = append(in.findings, finding{g, check, says, do})
}

// heard takes down what a server says on its own accord: what isn't allowed.
func (in *inspection) heard(_ *nats.Conn, _ *nats.Subscription, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.words = append(in.words, err.Error())
}

// said is what heard took down.
func (in *inspection) said() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(in.words)))
}

func (in *inspection) connection(ctx context.Context, conn *broker.Conn) {
	nc := conn.NATS()
	rtt, err := nc.RTT()
	if err != nil {
		in.add(gradeFail, "connection", err.Error(), "look at the network between here and "+conn.URL())
		return
	}
	in.add(gradeOK, "connection", fmt.Sprintf("%s, nats-server %s, at %s, %v away; this is watertight %s",
		nc.ConnectedServerName(), nc.ConnectedServerVersion(), conn.URL(), rtt.Round(10*time.Microsecond), version()), "")

	account, err := conn.JetStream().AccountInfo(ctx)
	if err != nil {
		in.add(gradeFail, "account", err.Error(), "see whether the cluster has a leader, then check again")
		return
	}
	limit := account.Limits.MaxStore
	if limit <= 0 {
		in.add(gradeOK, "account", size(account.Store)+" stored; no limit of its own", "")
		return
	}
	g, do := gradeOK, ""
	if percent(account.Store, limit) >= nearlyFull {
		g, do = gradeWarn, "raise the account's limit before it refuses orders"
	}
	in.add(g, "account", fmt.Sprintf("%s of %s stored", size(account.Store), size(uint64(limit))), do)
}

// nearlyFull is the percentage from which on there is something to do.
const nearlyFull = 80

func percent(used uint64, limit int64) uint64 { return used * 100 / uint64(limit) }

// size reads well: "1.5 GiB".
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.4g %s", f, units[i])
}

// permissions asks for all that the services do.
func (in *inspection) permissions(ctx context.Context, conn *broker.Conn) {
	var silent, unclear []string
	for _, a := range conn.Access(ctx, in.plan) {
		switch {
		case errors.Is(a.Err, broker.ErrNoAnswer):
			silent = append(silent, a.Does)
		case a.Err != nil && !errors.Is(a.Err, broker.ErrNotThere): // of which other lines speak
			unclear = append(unclear, a.Does+": "+a.Err.Error())
		}
	}
	switch said := in.said(); {
	case len(silent) > 0 && len(said) > 0:
		in.add(gradeFail, "permissions", "this user may not "+few(silent)+" ("+few(said)+")", "grant it")
	case len(silent)+len(unclear) > 0:
		in.add(gradeFail, "permissions", "no answer to "+few(append(silent, unclear...)), "see whether the streams have leaders, then check again")
	default:
		in.add(gradeOK, "permissions", "this user may publish and pull what the services do", "")
	}
}

// few is some of a list, to be read on one line.
func few(list []string) string {
	const most = 3
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// streams looks at what each stream holds, and at its replicas.
func (in *inspection) streams(ctx context.Context, conn *broker.Conn) {
	for _, want := range in.plan.Topology().Streams {
		s, err := conn.JetStream().Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound): // of which drift speaks
		case err != nil:
			in.add(gradeFail, want.Name, err.Error(), "see whether enough servers run to elect the stream's leader")
		default:
			in.findings = append(in.findings, aboutStream(s.CachedInfo()))
		}
	}
}

// aboutStream judges a stream by what it says of itself.
func aboutStream(info *jetstream.StreamInfo) finding {
	state, cfg := info.State, info.Config
	f := finding{Check: cfg.Name, Says: fmt.Sprintf("%d messages, %s", state.Msgs, size(state.Bytes))}
	if cfg.MaxBytes > 0 {
		f.Says += " of " + size(uint64(cfg.MaxBytes))
		if cfg.Discard == jetstream.DiscardNew && percent(state.Bytes, cfg.MaxBytes) >= nearlyFull {
			f.Result, f.Do = gradeWarn, "see which service doesn't settle its orders, or make it larger: when it is full it refuses"
			if cfg.Name == broker.StreamDeadLetters {
				f.Do = "replay or discard letters: when it is full no service can give up an order"
			}
		}
	}
	var away []string
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				away = append(away, peer.Name)
			}
		}
	}
	f.Says += fmt.Sprintf(", %d of %d replicas", cfg.Replicas-len(away), cfg.Replicas)
	if len(away) > 0 {
		f.Says += " (not " + strings.Join(away, ", ") + ")"
		f.Result = max(f.Result, gradeWarn)
		f.Do = cmp.Or(f.Do, "start that server again, or wait until it has caught up")
	}
	return f
}

// drift compares what is there with the topology.
func (in *inspection) drift(ctx context.Context, conn *broker.Conn) {
	changes, err := conn.Compare(ctx, in.plan)
	if err != nil {
		in.add(gradeFail, "topology", err.Error(), "see whether the cluster has a leader, then check again")
		return
	}
	var missing, drifted []string
	for _, c := range changes {
		if c.Action == broker.Missing {
			missing = append(missing, c.Kind+" "+c.Name)
			continue
		}
		drifted = append(drifted, fmt.Sprintf("%s %s (%s)", c.Kind, c.Name, strings.Join(c.Fields, "; ")))
	}
	if len(missing) > 0 {
		in.add(gradeFail, "topology", "missing: "+few(missing), "`"+in.provision+"` creates it")
	}
	if len(drifted) > 0 {
		in.add(gradeWarn, "topology", "differs: "+few(drifted), "`"+in.provision+"` changes it; the same --replicas, --timeout and --retry here and there")
	}
	if len(changes) == 0 {
		in.add(gradeOK, "topology", "all streams and durables are as planned", "")
	}
}

// serverView is what of a server's monitoring is looked at.
type serverView struct {
	Name      string `json:"server_name"`
	Version   string `json:"version"`
	JetStream struct {
		Config *struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	} `json:"jetstream"`
}

// servers asks the servers themselves whether they write through to the disk.
func (in *inspection) servers(ctx context.Context, monitors []string) {
	if len(monitors) == 0 {
		in.add(gradeWarn, "sync_interval", "not known: a client isn't told whether the servers write through to the disk", "name their monitoring with --monitor")
	}
	for _, m := range monitors {
		var v serverView
		code, body, err := fetch(ctx, m, probeTimeout)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%s answers %d", withoutSecrets(m), code)
		}
		if err == nil {
			err = json.Unmarshal(body, &v)
		}
		switch c := v.JetStream.Config; {
		case err != nil:
			in.add(gradeFail, "sync_interval", err.Error(), "start that server, or name its monitoring address")
		case c == nil:
			in.add(gradeFail, "sync_interval", v.Name+" has no JetStream", "add a jetstream block to its configuration")
		case !c.SyncAlways:
			in.add(gradeWarn, "sync_interval", fmt.Sprintf("%s (%s) syncs every %v: a power cut loses what was acknowledged since", v.Name, v.Version, c.SyncInterval),
				"set sync_interval: always in its jetstream block")
		default:
			in.add(gradeOK, "sync_interval", fmt.Sprintf("%s (%s) writes through to the disk before it acknowledges", v.Name, v.Version), "")
		}
	}
}

// probeTimeout is how long a page about a process may take.
const probeTimeout = 3 * time.Second
