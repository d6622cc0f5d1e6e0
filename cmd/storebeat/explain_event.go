package main

import (
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"

	"storebeat/agent/core"
)

func newExplainEvent(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "event [KIND]", Short: "Explain what a kind of event means and what to do, or list all kinds",
		Example: `  storebeat explain event lease-lapsed
  storebeat explain event`,
		Args: arguments(0, 1), ValidArgsFunction: completeKinds,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listKinds()
			}
			return a.explainKind(args[0])
		},
	}
}

func (a *app) explainKind(name string) error {
	about, err := findKind(name)
	if err != nil {
		return err
	}
	return a.print(about, func() error {
		p := a.pairs()
		p.add("Event", "%s", about.Kind)
		p.add("Severity", "%s", about.Severity)
		p.add("Means", "%s", about.Meaning)
		p.add("What to do", "%s", firstOf(about.Remedy, "Nothing."))
		if about.Shared {
			p.add("Recorded by", "%s", "each host that sees it; only the master notifies of it")
		}
		return p.flush()
	})
}

func (a *app) listKinds() error {
	all := core.Kinds()
	return a.print(all, func() error {
		rows := [][]string{{"KIND", "SEVERITY", "MEANING"}}
		for _, about := range all {
			first, _, _ := strings.Cut(about.Meaning, ". ")
			rows = append(rows, []string{string(about.Kind), string(about.Severity), strings.TrimSuffix(first, ".")})
		}
		return a.table(rows)
	})
}

// findKind looks up a kind that a user has named.
func findKind(name string) (core.About, error) {
	if about, ok := core.AboutKind(core.Kind(name)); ok {
		return about, nil
	}
	if near := nearKinds(name); len(near) > 0 {
		return core.About{}, fail(exitUsage, "there is no event of kind %q; did you mean %s?", name, strings.Join(near, " or "))
	}
	return core.About{}, fail(exitUsage, "there is no event of kind %q; `storebeat explain event` lists all", name)
}

// nearKinds are those that a name may have been meant for, the nearest first.
func nearKinds(name string) (near []string) {
	const reach = 3
	for distance := range reach + 1 {
		for _, kind := range kindNames() {
			at := levenshtein.Distance(name, kind, nil)
			if len(name) > reach && strings.Contains(kind, name) {
				at = min(at, reach)
			}
			if at == distance {
				near = append(near, kind)
			}
		}
	}
	return near[:min(len(near), 5)]
}

func kindNames() (names []string) {
	for _, about := range core.Kinds() {
		names = append(names, string(about.Kind))
	}
	return names
}

func severityNames() (names []string) {
	for _, s := range core.Severities {
		names = append(names, string(s))
	}
	return names
}

func completeKinds(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	kinds := slices.DeleteFunc(kindNames(), func(kind string) bool { return len(args) > 0 || !strings.HasPrefix(kind, begun) })
	return kinds, cobra.ShellCompDirectiveNoFileComp
}
