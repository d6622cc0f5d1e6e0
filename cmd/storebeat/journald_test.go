package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// sent is what a log has sent to the journal.
type sent struct {
	all  []entry
	fail error
}

func (s *sent) send(text string, p journal.Priority, fields map[string]string) error {
	s.all = append(s.all, entry{text, p, fields})
	return s.fail
}

func TestJournalFields(t *testing.T) {
	var s sent
	var file bytes.Buffer
	log := newJournalLog(journalWriter{s.send, &file}, hclog.Info)
	log.Debug("not shown")
	log.Named("guard").Warn("web is frozen", "event", "machines-frozen", "evidence", []string{"one thing", "another"}, "took-long", 1500*time.Millisecond, "n", 3, "why", "no path")
	log.SetLevel(hclog.Debug)
	log.Debug("shown")
	want := []entry{
		{`storebeat.guard: web is frozen: event=machines-frozen evidence=["one thing", "another"] took-long=1.5s n=3 why="no path"`, journal.PriWarning, map[string]string{
			"SYSLOG_IDENTIFIER": "storebeat", "STOREBEAT_EVENT": "machines-frozen", "STOREBEAT_EVIDENCE": "one thing\nanother", "STOREBEAT_TOOK_LONG": "1.5s", "STOREBEAT_N": "3", "STOREBEAT_WHY": "no path"}},
		{"storebeat: shown", journal.PriDebug, map[string]string{"SYSLOG_IDENTIFIER": "storebeat"}},
	}
	if diff := cmp.Diff(want, s.all); diff != "" || file.Len() > 0 {
		t.Errorf("sent (-want +got):\n%s\nwritten %q", diff, file.String())
	}
}

// What the journal does not take, and what is no entry, still comes to its file.
func TestJournalThatDoesNotTakeEntries(t *testing.T) {
	s := sent{fail: errors.New("no socket")}
	var file bytes.Buffer
	w := journalWriter{s.send, &file}
	newJournalLog(w, hclog.Info).Error("it failed", "host", "beta")
	if _, err := w.Write([]byte("[WARN]  storebeat: log lines were dropped\n")); err != nil {
		t.Fatal(err)
	}
	if got := file.String(); !strings.HasPrefix(got, "<3>storebeat: it failed: host=beta\n<4>storebeat: log lines were dropped\n") {
		t.Errorf("written %q", got)
	}
}
