package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trace keeps what happened, line by line.
type Trace struct {
	lines []string
	off   bool
}

// String returns the whole trace.
func (t *Trace) String() string { return strings.Join(t.lines, "\n") }

// Tail returns the last n lines.
func (t *Trace) Tail(n int) string {
	return strings.Join(t.lines[max(0, len(t.lines)-n):], "\n")
}

// Find returns the lines that contain every one of the words.
func (t *Trace) Find(words ...string) (found []string) {
	for _, l := range t.lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) }) {
			found = append(found, l)
		}
	}
	return found
}

// note adds a line about somebody.
func (w *World) note(who, format string, args ...any) {
	if w.trace.off {
		return
	}
	w.trace.lines = append(w.trace.lines, fmt.Sprintf("%s %-8s %s", stamp(w.now), who, fmt.Sprintf(format, args...)))
}

func stamp(at time.Duration) string { return fmt.Sprintf("%12.6f", at.Seconds()) }
