// Command storebeat-lab gives a person a cluster to play with: hosts on this
// computer with their own network, storage paths, processes and power switch, on
// which the real program runs, and faults to strike them with.
//
// Guarantees: a lab goes on by itself until it is told to go down or its holder is
// killed; either way every process of it ends. What the guests show is watched all
// the time, and status says at once when a machine ran twice.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"storebeat/test/lab"
)

func main() {
	holding := len(os.Args) > 1 && os.Args[1] == holdCommand
	if holding || lab.IsFirst() {
		lab.Main()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if holding {
		ctx = context.Background() // lab.Main ends the lab on a signal
	}
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "storebeat-lab:", err)
		os.Exit(1)
	}
}
