// Command storebeat is everything that Storebeat consists of: the agent and the
// guard that run on every host, and the commands by which people talk to them.
//
// Guarantees: what a command prints on standard output is its result and nothing
// else; errors go to standard error in one line that ends with the remedy. The
// exit status says what kind of error it was (storebeat help exit-codes).
//
// Non-guarantees: tables are for people and may change; use -o json in programs.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	os.Exit(status)
}

// run runs one command line and returns its exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, errOut: errOut}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	return a.report(root.ExecuteContextC(ctx))
}
