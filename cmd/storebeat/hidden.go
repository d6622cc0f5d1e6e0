package main

import (
	"errors"

	"github.com/spf13/cobra"

	"storebeat/agent/hypervisor/ticker"
	"storebeat/agent/journal"
)

// newJournalStore is the process in which the agent keeps its journal.
func newJournalStore(a *app) *cobra.Command {
	return &cobra.Command{
		Use: journal.StoreCommand + " DIR", Short: "Keep the journal for an agent", Hidden: true,
		Args: arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error { return journal.StoreMain(args[0], a.in, a.out) },
	}
}

// newTicker is the smallest machine there is, for the demo and for trying out.
func newTicker() *cobra.Command {
	return &cobra.Command{
		Use: "ticker [-every 100ms] [-id WORD] FILE", Short: "Write a growing count to a file, as a machine to try with", Hidden: true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if status := ticker.Main(args); status != 0 {
				return &failure{status, errors.New("")}
			}
			return nil
		},
	}
}
