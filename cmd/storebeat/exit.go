package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"storebeat/agent/control"
	"storebeat/datastorehb/store"
)

// The exit status says what kind of error ended a command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotRunning  = 3
	exitNotFound    = 4
	exitRefused     = 5
	exitUnavailable = 6
)

// exitCodes is the help topic and part of docs/cli.md.
const exitCodes = `Every command ends with one of these statuses:

  0  it did what it was asked for
  1  it failed for another reason than those below
  2  the command line, a configuration or a machine file makes no sense as it stands,
     or can't be read
  3  the agent is not running, or its control socket may not be opened
  4  there is no such host, datastore or machine
  5  it was understood and refused: the present state or a rule forbids it
  6  not available now, or not known: a datastore or the agent did not answer in time;
     what was asked for may still have happened

A command that ends with another status than 0 has written one line to standard
error that begins with "storebeat: " and ends with what to do about it; a file
with several errors gets a line for each. With -o json, standard output then holds
nothing, or what was found out up to then.
`

func newExitCodes() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit status of a command means", Long: exitCodes}
}

// failure is an error whose exit status is known.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Errorf(format, args...)}
}

// statusOf returns the exit status for an error of a command that was begun.
func statusOf(err error) int {
	if err == nil {
		return exitOK
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.status
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		return statusOfCode(e.Code)
	}
	switch {
	case errors.Is(err, store.ErrExists):
		return exitRefused
	case errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	}
	return exitFailed
}

func statusOfCode(c control.Code) int {
	switch c {
	case control.Invalid:
		return exitUsage
	case control.NotFound:
		return exitNotFound
	case control.Refused:
		return exitRefused
	case control.Unavailable:
		return exitUnavailable
	case control.NotRunning, control.NotPermitted:
		return exitNotRunning
	}
	return exitFailed
}

// report writes an error to standard error and returns the exit status. An error
// from before a command began can only be one of the command line.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if !a.begun {
		fmt.Fprintf(a.errOut, "storebeat: %s: see %s --help\n", oneLine(err.Error()), cmd.CommandPath())
		return exitUsage
	}
	if text := err.Error(); text != "" {
		for line := range strings.Lines(text) {
			fmt.Fprintf(a.errOut, "storebeat: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return statusOf(err)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// failures gathers the errors of a command with several parts. Its status is
// that of the first.
type failures []error

func (f *failures) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

func (f failures) join() error {
	if len(f) == 0 {
		return nil
	}
	return &failure{statusOf(f[0]), errors.Join(f...)}
}
