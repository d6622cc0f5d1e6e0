package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
)

func main() {
	arguments, noSkips := split(os.Args[1:])
	summary, err := run(arguments, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
	}
	summary.print(os.Stdout)
	if err != nil || summary.failed > 0 || noSkips && summary.refused(os.Stdout) {
		os.Exit(1)
	}
}

// split takes the command's own flag out of the arguments for "go test".
func split(arguments []string) (rest []string, noSkips bool) {
	const flag = "-no-skips"
	rest = slices.DeleteFunc(slices.Clone(arguments), func(a string) bool { return a == flag })
	return rest, len(rest) < len(arguments)
}

// run runs "go test" and sums up what it reports.
func run(arguments []string, out io.Writer) (*summary, error) {
	s := newSummary(out)
	command := exec.Command("go", append([]string{"test", "-json"}, arguments...)...)
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := command.Start(); err != nil {
		return s, fmt.Errorf("starting go test: %w", err)
	}
	readErr := s.read(events)
	err = command.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && s.failed > 0 {
		err = nil // the failures have been shown and counted
	}
	return s, errors.Join(readErr, err)
}

// read takes in the stream of events. What is no event is passed on as it is.
func (s *summary) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				_, _ = s.out.Write(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the events of go test: %w", err)
		}
	}
}
