package guard

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// quietLog hands log lines to a goroutine and drops them when that is held up:
// a full disk or a stopped terminal must not hold the guard up.
type quietLog struct {
	lines   chan logLine
	written chan struct{} // closed once the last line is written
	dropped atomic.Uint64
}

type logLine struct {
	level   hclog.Level
	message string
	args    []any
}

// newQuietLog starts the goroutine. It may hang in the logger for ever.
func newQuietLog(to hclog.Logger) *quietLog {
	if to == nil {
		to = hclog.NewNullLogger()
	}
	l := &quietLog{lines: make(chan logLine, 256), written: make(chan struct{})}
	go func() {
		defer close(l.written)
		for line := range l.lines {
			if n := l.dropped.Swap(0); n > 0 {
				to.Warn("log lines were dropped because the log was held up", "count", n)
			}
			to.Log(line.level, line.message, line.args...)
		}
	}()
	return l
}

// close waits a moment for the last lines, and no longer.
func (l *quietLog) close() {
	close(l.lines)
	select {
	case <-l.written:
	case <-time.After(100 * time.Millisecond):
	}
}

func (l *quietLog) say(level hclog.Level, message string, args ...any) {
	select {
	case l.lines <- logLine{level, message, args}:
	default:
		l.dropped.Add(1)
	}
}
