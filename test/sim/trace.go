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
	w.trace.lines = append(w.trace.lines, fmt.Sprintf("%s %-8s %s", w.stamp(w.now), who, fmt.Sprintf(format, args...)))
}

// stamp shows an instant in seconds since the world began, or since its scenario did.
func (w *World) stamp(at time.Duration) string {
	return fmt.Sprintf("%12.6f", (at - w.zero).Seconds())
}

// last returns the last n lines.
func (t *Trace) last(n int) []string {
	return slices.Clone(t.lines[max(0, len(t.lines)-n):])
}

// about returns the last n lines that mention any of some names, in their order.
func (t *Trace) about(names []string, n int) (found []string) {
	for i := len(t.lines) - 1; i >= 0 && len(found) < n; i-- {
		line := t.lines[i]
		if slices.ContainsFunc(names, func(name string) bool { return mentions(line, name) }) || strings.Contains(line, " scenario ") {
			found = append(found, line)
		}
	}
	slices.Reverse(found)
	return found
}

// mentions reports whether a text contains a name as a word.
func mentions(text, name string) bool {
	for {
		i := strings.Index(text, name)
		if i < 0 {
			return false
		}
		end := i + len(name)
		if (i == 0 || !partOfName(text[i-1])) && (end == len(text) || !partOfName(text[end])) {
			return true
		}
		text = text[i+1:]
	}
}

func partOfName(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
