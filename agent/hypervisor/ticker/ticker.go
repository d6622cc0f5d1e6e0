package ticker

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// exitVariable is process.EnvExit, spelt out here so that the ticker stays a
// program that knows nothing of drivers.
const exitVariable = "STOREBEAT_EXIT"

// Main runs the ticker: ticker [-every 100ms] [-id WORD] FILE. It returns the
// exit status.
func Main(args []string) int {
	flags := flag.NewFlagSet("ticker", flag.ContinueOnError)
	every := flags.Duration("every", 100*time.Millisecond, "time from one tick to the next")
	id := flags.String("id", "", "word added to every line, such as the host's name")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 || *every <= 0 {
		fmt.Fprintln(os.Stderr, "usage: ticker [-every 100ms] [-id WORD] FILE")
		return 2
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := run(flags.Arg(0), *id, *every, stop); err != nil {
		fmt.Fprintln(os.Stderr, "ticker:", err)
		return 1
	}
	return 0
}

// run ticks until stop.
func run(path, id string, every time.Duration, stop <-chan os.Signal) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	err = tick(f, id, every, stop)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if exit := os.Getenv(exitVariable); exit != "" {
		return os.WriteFile(exit, []byte("0\n"), 0o600)
	}
	return nil
}

func tick(w io.Writer, id string, every time.Duration, stop <-chan os.Signal) error {
	if err := line(w, "BOOT", id); err != nil {
		return err
	}
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for count := uint64(1); ; count++ {
		if err := line(w, fmt.Sprintf("T %08x", count), id); err != nil {
			return err
		}
		select {
		case <-ticks.C:
		case <-stop:
			return line(w, "DOWN", id)
		}
	}
}

// line appends one line in a single write, so that lines of two copies would
// never mix within a line.
func line(w io.Writer, what, id string) error {
	if id != "" {
		id = " " + id
	}
	_, err := fmt.Fprintf(w, "%s %s%s\n", what, time.Now().UTC().Format("15:04:05.000"), id)
	return err
}
