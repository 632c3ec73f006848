package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// completions says what a shell may complete: names that are known without a
// broker, and files only where a file is meant.
func completions(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)

	files := cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	targets := words(sim.Targets())
	for i := range targets {
		targets[i] += "="
	}
	flags := map[string]cobra.CompletionFunc{
		"by":      cobra.FixedCompletions(words(rejections.Properties()), cobra.ShellCompDirectiveNoFileComp),
		"config":  cobra.FixedCompletions([]cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		"creds":   files,
		"fault":   cobra.FixedCompletions(targets, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace),
		"profile": cobra.FixedCompletions(slices.Sorted(maps.Keys(profiles)), cobra.ShellCompDirectiveNoFileComp),
		"reason":  cobra.FixedCompletions(words(deadletter.Reasons()), cobra.ShellCompDirectiveNoFileComp),
		"service": cobra.FixedCompletions(words(order.Services()), cobra.ShellCompDirectiveNoFileComp),
		"stock":   cobra.FixedCompletions([]cobra.Completion{"csv"}, cobra.ShellCompDirectiveFilterFileExt),
		"store":   cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	all := len(order.Services())
	arguments := map[string]cobra.CompletionFunc{
		"audit": services(all), "serve": services(all), "pause": services(1), "resume": services(1), "publish": files,
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if complete := arguments[cmd.Name()]; complete != nil && cmd.Parent() == root {
			cmd.ValidArgsFunction = complete
		}
		for name, complete := range flags {
			if cmd.LocalFlags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails when the verb knows better
			}
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}

// services completes so many different services.
func services(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		left := slices.DeleteFunc(words(order.Services()), func(s string) bool { return slices.Contains(args, s) })
		return left, cobra.ShellCompDirectiveNoFileComp
	}
}

func words[S ~string](names []S) []string {
	list := make([]string, 0, len(names))
	for _, n := range names {
		list = append(list, string(n))
	}
	return list
}
