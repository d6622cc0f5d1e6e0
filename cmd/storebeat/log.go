package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/agent/config"
)

// newLog makes the log of an agent or a guard. In the journal of systemd, lines
// have their level as the journal's priority ("journalctl -p warning") and no
// time, which the journal knows.
func newLog(to io.Writer, l config.Log) hclog.Logger { return logTo(to, to, l) }

// newQueuedLog makes a log that holds nobody up, however its reader is doing. Its
// last lines are written by flush. In the journal of systemd facts are fields.
func newQueuedLog(to io.Writer, l config.Log) (log hclog.Logger, flush func()) {
	if l.Format != "json" && isJournal(to) {
		q := newQueuedWriter(journalWriter{journal.Send, to})
		return newJournalLog(q, hclog.LevelFromString(l.Level)), q.flush
	}
	q := newQueuedWriter(to)
	return logTo(to, q, l), q.flush
}

// logTo makes a log in the form that suits a file, and writes it by a way to that file.
func logTo(file, by io.Writer, l config.Log) hclog.Logger {
	o := &hclog.LoggerOptions{Name: "storebeat", Level: hclog.LevelFromString(l.Level), JSONFormat: l.Format == "json", Output: by}
	if !o.JSONFormat && isJournal(file) {
		o.DisableTime, o.Output = true, prioritized{by}
	}
	return hclog.New(o)
}

const (
	// mostLines is how many lines may wait for who reads the log.
	mostLines = 1024
	// lastLines is how long the end of the program waits for its last lines.
	lastLines = time.Second
)

// queuedWriter hands lines to a goroutine and drops them when that is held up: a
// full disk, a stopped terminal or a journal that hangs must not hold up an agent,
// whose machines would stand still soon after.
type queuedWriter struct {
	to      io.Writer
	lines   chan queuedLine
	dropped atomic.Uint64
}

type queuedLine struct {
	text    []byte
	written chan struct{} // closed once everything before it is written
}

func newQueuedWriter(to io.Writer) *queuedWriter {
	q := &queuedWriter{to: to, lines: make(chan queuedLine, mostLines)}
	go q.work()
	return q
}

// Write never waits.
func (q *queuedWriter) Write(line []byte) (int, error) {
	select {
	case q.lines <- queuedLine{text: bytes.Clone(line)}:
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// work runs for as long as the program.
func (q *queuedWriter) work() {
	for line := range q.lines {
		if n := q.dropped.Swap(0); n > 0 {
			fmt.Fprintf(q.to, "[WARN]  storebeat: log lines were dropped because the log was held up: count=%d\n", n)
		}
		if line.written != nil {
			close(line.written)
			continue
		}
		_, _ = q.to.Write(line.text) // where else should it be told?
	}
}

// flush waits a moment for the last lines, and no longer.
func (q *queuedWriter) flush() {
	end, written := time.After(lastLines), make(chan struct{})
	select {
	case q.lines <- queuedLine{written: written}:
	case <-end:
		return
	}
	select {
	case <-written:
	case <-end:
	}
}

// isJournal tells whether a file is what systemd has connected to its journal,
// by the file's identity, which JOURNAL_STREAM names: a redirected one is another.
func isJournal(to io.Writer) bool {
	file, ok := to.(*os.File)
	if !ok {
		return false
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// prioritized turns the level that a line begins with into the priority that the
// journal reads. The log writes each line at once.
type prioritized struct{ to io.Writer }

var priorities = []struct{ level, priority string }{
	{"[TRACE] ", "<7>"}, {"[DEBUG] ", "<7>"}, {"[INFO]  ", "<6>"}, {"[WARN]  ", "<4>"}, {"[ERROR] ", "<3>"},
}

// Write passes on one line.
func (p prioritized) Write(line []byte) (int, error) {
	out := line
	for _, known := range priorities {
		if rest, ok := bytes.CutPrefix(line, []byte(known.level)); ok {
			out = append([]byte(known.priority), rest...)
		}
	}
	if _, err := p.to.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}
