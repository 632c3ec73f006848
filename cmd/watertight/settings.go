package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting is a flag as configuration sees it. The flags are the only list of
// settings there is; the other names follow from theirs and from their verb:
//
//	serve --mail-from a@b    WATERTIGHT_SERVE_MAIL_FROM=a@b    serve: {mail-from: a@b}
//
// The flag goes before the variable, the variable before the file, the file before
// the default. The verb is part of the name because a variable reaches every
// process of a container, so that --timeout of serve must not be that of its
// healthcheck, and because Kubernetes sets WATERTIGHT_PORT for a service that is
// called watertight.
type setting struct {
	key      string // in the file: serve.mail-from
	variable string
	flags    []*pflag.Flag // several verbs may share one; they are alike
	by       source
}

// source is where a value comes from.
type source struct {
	kind  origin
	where string // the flag, the variable, the line of the file
}

// origin ranks sources.
type origin int

const (
	byDefault origin = iota
	byFile
	byEnv
	byFlag
)

// String returns the name of the kind, as it is printed.
func (o origin) String() string { return [...]string{"default", "file", "env", "flag"}[o] }

// String returns it as it is printed: "env NATS_URL".
func (s source) String() string { return strings.TrimSpace(s.kind.String() + " " + s.where) }

// Annotations of flags, from which their settings' names follow.
const (
	annotationShared   = "watertight_shared"
	annotationVariable = "watertight_variable"
)

// shared makes one setting, outside of all sections, of flags that several verbs
// have and that must be the same there.
func shared(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(f.Lookup(name), annotationShared)
	}
}

// variable names the variable of a flag, where there is a name that people know.
func variable(f *pflag.FlagSet, name, variable string) {
	flag := f.Lookup(name)
	annotate(flag, annotationVariable, variable)
	flag.Usage += " (env " + variable + ")"
}

func annotate(f *pflag.Flag, key string, values ...string) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[key] = values
}

// byHand are the verbs that have no settings, as those of dlq and retry have none:
// what they act on is said each time. A variable that somebody forgot must not choose
// the letters that are buried.
var byHand = []string{"pause", "resume"}

const keyConfig = "config"

// settingsOf returns the settings of all verbs, --config being the first.
func settingsOf(root *cobra.Command) []*setting {
	var all []*setting
	byKey := make(map[string]*setting)
	add := func(section string, f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		s := &setting{key: f.Name}
		if _, everywhere := f.Annotations[annotationShared]; section != "" && !everywhere {
			s.key = section + "." + f.Name
		}
		if known := byKey[s.key]; known != nil {
			known.flags = append(known.flags, f)
			return
		}
		s.variable = "WATERTIGHT_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.key))
		if v := f.Annotations[annotationVariable]; len(v) > 0 {
			s.variable = v[0]
		}
		s.flags = []*pflag.Flag{f}
		byKey[s.key] = s
		all = append(all, s)
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { add("", f) })
	for _, verb := range root.Commands() {
		if !slices.Contains(byHand, verb.Name()) {
			verb.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { add(verb.Name(), f) })
		}
	}
	slices.SortStableFunc(all, func(a, b *setting) int { return a.rank() - b.rank() })
	return all
}

// rank sorts what stands in no section before what does.
func (s *setting) rank() int {
	switch {
	case s.key == keyConfig:
		return 0
	case !strings.Contains(s.key, "."):
		return 1
	default:
		return 2
	}
}

// configure gives each flag that the command line doesn't name the value that the
// environment or the file has for it. What is wrong with a value is an error whichever
// verb runs, so that it comes out before it matters.
func (a *app) configure(cmd *cobra.Command) error {
	verb := cmd
	for verb.HasParent() && verb.Parent().HasParent() {
		verb = verb.Parent()
	}
	if name := verb.Name(); !verb.HasParent() || slices.Contains([]string{"completion", "help", "version"}, name) || strings.HasPrefix(name, "__complete") {
		return nil // they help whatever the configuration says
	}
	a.verb, a.settings = verb.Name(), settingsOf(cmd.Root())

	path := a.settings[0]
	if err := path.resolve(nil); err != nil {
		return usage(err)
	}
	file, wrong := readSettings(a.config, a.settings[1:])
	for _, s := range a.settings[1:] {
		wrong = append(wrong, s.resolve(file))
	}
	wrong = append(wrong, strangers(os.Environ(), a.settings)...)
	if err := errors.Join(wrong...); err != nil {
		return usage(err)
	}
	return errors.Join(
		a.rivals("server", "context", "--server and --context both name a server: choose one"),
		a.rivals("quiet", "verbose", "--quiet and --verbose: choose one"))
}

// rivals sees to it that one of two settings holds: the one of the higher source.
// Of two variables it is the first, as NATS_URL goes before NATS_CONTEXT.
func (a *app) rivals(first, second, refusal string) error {
	var pair []*setting
	for _, s := range a.settings {
		if f := s.flags[0]; (s.key == first || s.key == second) && f.Value.String() != f.DefValue {
			pair = append(pair, s)
		}
	}
	if len(pair) < 2 {
		return nil
	}
	slices.SortStableFunc(pair, func(a, b *setting) int { return int(b.by.kind - a.by.kind) })
	winner, loser := pair[0], pair[1]
	if winner.by.kind == loser.by.kind {
		if winner.by.kind != byEnv {
			return usage(errors.New(refusal))
		}
		if winner.key != first {
			winner, loser = loser, winner
		}
	}
	loser.by = winner.by
	return loser.flags[0].Value.Set(loser.flags[0].DefValue)
}

// resolve gives the flag the value of the highest source that has one. An empty
// variable is none, as what composes containers sets those it doesn't know.
func (s *setting) resolve(file map[string]*yaml.Node) error {
	if i := slices.IndexFunc(s.flags, func(f *pflag.Flag) bool { return f.Changed }); i >= 0 {
		s.by = source{byFlag, "--" + s.flags[i].Name}
		return nil
	}
	if value := os.Getenv(s.variable); value != "" && !kubernetes(s.variable, value) {
		if s.variable == "NO_COLOR" {
			value = "true" // whatever it says: no-color.org
		}
		s.by = source{byEnv, s.variable}
		return s.set(value, func(f *pflag.Flag) error { return f.Value.Set(value) })
	}
	if n := file[s.key]; n != nil {
		s.by = source{byFile, fmt.Sprintf("%s:%d", file[keyConfig].Value, n.Line)}
		return s.setNode(n)
	}
	return nil
}

// set sets a value and says what is wrong with it, and where it stands.
func (s *setting) set(value string, set func(*pflag.Flag) error) error {
	for _, f := range s.flags {
		if set(f) != nil { // in the words of Go's functions
			return fmt.Errorf("%s: %s %q: want %s", s.by.where, s.key, s.shown(value), wanted(f.Value.Type()))
		}
	}
	return nil
}

// wanted describes a type of flag.
func wanted(kind string) string {
	switch kind {
	case "bool":
		return "true or false"
	case "int", "uint64":
		return "a whole number"
	case "float64":
		return "a number"
	case "duration":
		return "a duration such as 90s"
	case "durationSlice":
		return "durations such as 1s,5s"
	default:
		return "a " + kind
	}
}

// kubernetes reports whether Kubernetes has set the variable, for a service whose
// name begins like ours: WATERTIGHT_SERVE_PORT=tcp://10.0.0.7:80.
func kubernetes(name, value string) bool {
	return strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// strangers returns what looks like one of our variables and is none. What looks
// like nothing we know is somebody else's.
func strangers(environ []string, settings []*setting) []error {
	names := make([]string, 0, len(settings))
	for _, s := range settings {
		names = append(names, s.variable)
	}
	var wrong []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		ours, found := strings.CutPrefix(name, "WATERTIGHT_")
		if !found || value == "" || slices.Contains(names, name) || kubernetes(name, value) {
			continue
		}
		if similar := suggest(name, names, func(known string) bool { return strings.HasSuffix(known, "_"+ours) }); similar != "" {
			wrong = append(wrong, fmt.Errorf("%s: there is no such setting%s", name, similar))
		}
	}
	return wrong
}

// origins says where the flags that an error speaks of got their values, when it
// wasn't on the command line.
func (a *app) origins(err error) string {
	var says strings.Builder
	for _, s := range a.settings {
		section, _, inSection := strings.Cut(s.key, ".")
		if s.by.kind != byEnv && s.by.kind != byFile || inSection && section != a.verb {
			continue
		}
		if name := "--" + s.flags[0].Name; strings.Contains(err.Error(), name) {
			fmt.Fprintf(&says, "\n  %s comes from %s", name, s.by.where)
		}
	}
	return says.String()
}
