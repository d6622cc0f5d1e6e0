package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/agent/config"
)

// newLog makes the log of an agent or a guard. In the journal of systemd, lines
// have their level as the journal's priority ("journalctl -p warning") and no
// time, which the journal knows.
func newLog(to io.Writer, l config.Log) hclog.Logger {
	o := &hclog.LoggerOptions{Name: "storebeat", Level: hclog.LevelFromString(l.Level), JSONFormat: l.Format == "json", Output: to}
	if !o.JSONFormat && isJournal(to) {
		o.DisableTime, o.Output = true, prioritized{to}
	}
	return hclog.New(o)
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
