package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settingView is one setting as config show prints it.
type settingView struct {
	Setting string `json:"setting"`
	Value   any    `json:"value"`
	Source  string `json:"source,omitempty"` // flag, env, file, default
	Where   string `json:"where,omitempty"`  // the flag, the variable, the line of the file
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show what is configured, and where each value comes from",
		Long: `Show what is configured, and where each value comes from.

Each flag of a verb is a setting, which the environment and a YAML file may give
as well. A flag goes before the environment, the environment before the file, the
file before the default.

  on the command line   serve --mail-from shop@example.org
  in the environment    WATERTIGHT_SERVE_MAIL_FROM=shop@example.org
  in the file           serve:
                          mail-from: shop@example.org

The flags of all verbs stand in the file outside of the sections, and have no verb
in the environment (WATERTIGHT_VERBOSE); so do --timeout, --retry and --replicas,
which must be the same for serve, provision and check. NATS_URL, NATS_CONTEXT,
NATS_CREDS and NO_COLOR are called as everywhere. The file is that of --config or
WATERTIGHT_CONFIG; no other is read. dlq, retry, pause and resume take from them
where the server is, and nothing else: what they act on is said on the command line.

An unknown setting, one that is set twice or has a value of another kind is an
error, whichever verb it is for. An address with a secret (nats://user:secret@…)
belongs in the environment or the file, which other users can't see; it is never
printed.`,
		Example: `  watertight config show --sources --config watertight.yaml
  WATERTIGHT_SERVE_SLOTS=32 watertight config show -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigShow(a))
	return cmd
}

func newConfigShow(a *app) *cobra.Command {
	var sources bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show all settings, without secrets",
		Args:  args(cobra.NoArgs),
		RunE:  func(*cobra.Command, []string) error { return a.configShow(sources) },
	}
	cmd.Flags().BoolVar(&sources, "sources", false, "say where each value comes from: flag, env, file or default")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

func (a *app) configShow(sources bool) error {
	views := make([]settingView, 0, len(a.settings))
	header, rows := []string{"SETTING", "VALUE"}, make([][]string, 0, len(a.settings))
	if sources {
		header = append(header, "SOURCE")
	}
	for _, s := range a.settings {
		v := settingView{Setting: s.key, Value: s.value()}
		row := []string{s.key, cell(v.Value)}
		if sources {
			v.Source, v.Where = s.by.kind.String(), s.by.where
			row = append(row, printable(s.by.String()))
		}
		views, rows = append(views, v), append(rows, row)
	}
	if a.output == formJSON {
		return writeJSON(a.stdout, views, true)
	}
	return table(a.stdout, header, rows)
}

// value is what holds, as JSON has it, without secrets.
func (s *setting) value() any {
	v := s.flags[0].Value
	if list, ok := v.(pflag.SliceValue); ok {
		values := list.GetSlice()
		for i := range values {
			values[i] = s.shown(values[i])
		}
		return values
	}
	switch v.Type() {
	case "bool", "int", "uint64", "float64":
		return json.RawMessage(v.String())
	default:
		return s.shown(v.String())
	}
}

// cell is a value in one cell of a table.
func cell(value any) string {
	switch v := value.(type) {
	case []string:
		return printable(strings.Join(v, ","))
	case json.RawMessage:
		return string(v)
	default:
		return printable(fmt.Sprint(v))
	}
}
