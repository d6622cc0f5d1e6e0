package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/hashicorp/go-hclog"
)

// entry is one line of the log on its way to systemd's journal, where each of its
// facts becomes a field: journalctl STOREBEAT_MACHINE=web-1.
type entry struct {
	Text     string
	Priority journal.Priority
	Fields   map[string]string
}

var journalPriorities = map[hclog.Level]journal.Priority{
	hclog.Trace: journal.PriDebug, hclog.Debug: journal.PriDebug, hclog.Info: journal.PriInfo, hclog.Warn: journal.PriWarning, hclog.Error: journal.PriErr,
}

// newJournalLog makes a log that writes entries, one at a time, to where a
// journalWriter reads them. It waits for nothing but that.
func newJournalLog(to io.Writer, level hclog.Level) hclog.Logger {
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "storebeat", Level: level, Output: io.Discard})
	log.RegisterSink(&entries{to, log.GetLevel})
	return log
}

// entries makes entries of what is logged.
type entries struct {
	to    io.Writer
	level func() hclog.Level
}

// Accept takes one line of the log in.
func (s *entries) Accept(name string, level hclog.Level, message string, args ...any) {
	if level < s.level() {
		return
	}
	e := entry{Text: name + ": " + message, Priority: journalPriorities[level], Fields: map[string]string{"SYSLOG_IDENTIFIER": "storebeat"}}
	for i := 0; i+1 < len(args); i += 2 {
		key := fmt.Sprint(args[i])
		short, full := worded(args[i+1])
		e.Text += map[bool]string{true: ": ", false: " "}[i == 0] + key + "=" + short
		e.Fields[fieldName(key)] = full
	}
	if line, err := json.Marshal(e); err == nil {
		_, _ = s.to.Write(line)
	}
}

// worded returns a value as it stands in a line, and as it stands alone.
func worded(value any) (inLine, alone string) {
	if list, ok := value.([]string); ok {
		quoted := make([]string, len(list))
		for i, text := range list {
			quoted[i] = strconv.Quote(text)
		}
		return "[" + strings.Join(quoted, ", ") + "]", strings.Join(list, "\n")
	}
	alone = fmt.Sprint(value)
	if alone == "" || strings.ContainsAny(alone, " \t\n\"=") {
		return strconv.Quote(alone), alone
	}
	return alone, alone
}

// fieldName makes the name of a journal's field.
func fieldName(key string) string {
	return "STOREBEAT_" + strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(key))
}

// journalWriter sends entries to systemd's journal, and writes what it can't send to
// the file that systemd has connected to it.
type journalWriter struct {
	send func(text string, p journal.Priority, fields map[string]string) error
	file io.Writer
}

// Write takes one entry, or any other line.
func (w journalWriter) Write(line []byte) (int, error) {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return prioritized{w.file}.Write(line)
	}
	if w.send(e.Text, e.Priority, e.Fields) == nil {
		return len(line), nil
	}
	if _, err := fmt.Fprintf(w.file, "<%d>%s\n", e.Priority, e.Text); err != nil {
		return 0, err
	}
	return len(line), nil
}
