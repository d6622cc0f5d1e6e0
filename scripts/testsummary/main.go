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
	"strings"
)

func main() {
	o, arguments := split(os.Args[1:])
	summary := newSummary(os.Stdout)
	turns, err := o.turns(arguments, list)
	for _, turn := range turns {
		err = errors.Join(err, summary.run(turn))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
	}
	summary.print(os.Stdout)
	if err != nil || summary.failed > 0 || o.noSkips && summary.refused(os.Stdout) {
		os.Exit(1)
	}
}

// options are the command's own flags.
type options struct {
	noSkips bool
	last    string // pattern of the packages that are tested when all others have been
}

// split takes the command's own flags out of the arguments for "go test".
func split(arguments []string) (o options, rest []string) {
	for _, a := range arguments {
		switch pattern, last := strings.CutPrefix(a, "-last="); {
		case a == "-no-skips":
			o.noSkips = true
		case last:
			o.last = pattern
		default:
			rest = append(rest, a)
		}
	}
	return o, rest
}

// turns returns the arguments of each "go test" that is to be run, one after the other.
func (o options) turns(arguments []string, list func(patterns ...string) ([]string, error)) (turns [][]string, err error) {
	first := slices.IndexFunc(arguments, func(a string) bool { return strings.HasPrefix(a, "./") })
	if o.last == "" || first < 0 {
		return [][]string{arguments}, nil
	}
	end := first
	for end < len(arguments) && strings.HasPrefix(arguments[end], "./") {
		end++
	}
	all, err := list(arguments[first:end]...)
	if err != nil {
		return nil, err
	}
	last, err := list(o.last)
	if err != nil {
		return nil, err
	}
	isLast := func(p string) bool { return slices.Contains(last, p) }
	for _, packages := range [][]string{
		slices.DeleteFunc(slices.Clone(all), isLast),
		slices.DeleteFunc(all, func(p string) bool { return !isLast(p) }),
	} {
		if len(packages) > 0 {
			turns = append(turns, slices.Concat(arguments[:first], packages, arguments[end:]))
		}
	}
	return turns, nil
}

// list returns the packages that patterns stand for.
func list(patterns ...string) ([]string, error) {
	command := exec.Command("go", append([]string{"list"}, patterns...)...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(patterns, " "), err)
	}
	return strings.Fields(string(out)), nil
}

// run runs "go test" and sums up what it reports.
func (s *summary) run(arguments []string) error {
	before := s.failed
	command := exec.Command("go", append([]string{"test", "-json"}, arguments...)...)
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	readErr := s.read(events)
	err = command.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && s.failed > before {
		err = nil // the failures have been shown and counted
	}
	return errors.Join(readErr, err)
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
