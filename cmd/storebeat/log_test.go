package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"storebeat/agent/config"
)

// written logs a line of each level to a file, which is the journal or is not.
func written(t *testing.T, l config.Log, journal bool) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer file.Close()
	var stat unix.Stat_t
	must(t, unix.Fstat(int(file.Fd()), &stat))
	if !journal {
		stat.Ino++
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
	log := newLog(file, l).Named("guard")
	log.Trace("a")
	log.Debug("b")
	log.Info("c", "vm", 1)
	log.Warn("d")
	log.Error("e")
	content, err := os.ReadFile(file.Name())
	must(t, err)
	return string(content)
}

func TestLogInTheJournalHasPriorities(t *testing.T) {
	want := "<7>storebeat.guard: a\n<7>storebeat.guard: b\n<6>storebeat.guard: c: vm=1\n<4>storebeat.guard: d\n<3>storebeat.guard: e\n"
	if got := written(t, config.Log{Level: "trace", Format: "text"}, true); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLogElsewhereHasTimes(t *testing.T) {
	for _, l := range []struct {
		config.Log
		journal bool
		first   string
	}{
		{config.Log{Level: "info", Format: "text"}, false, "2"},
		{config.Log{Level: "info", Format: "json"}, false, "{"},
		{config.Log{Level: "info", Format: "json"}, true, "{"},
	} {
		got := written(t, l.Log, l.journal)
		if !strings.HasPrefix(got, l.first) || !strings.Contains(strings.ToUpper(got), "WARN") {
			t.Errorf("%+v: got %s", l, got)
		}
	}
}

// A log that nobody reads holds up nobody, and says how much of it is missing once it is read.
func TestAHungLogHoldsUpNobody(t *testing.T) {
	reader, writer := io.Pipe() // takes nothing until it is read
	log, flush := newQueuedLog(writer, config.Log{Level: "info", Format: "text"})
	const lines = 3 * mostLines
	for i := range lines {
		log.Info("a line", "number", i)
	}
	text := make(chan string)
	go func() {
		content, _ := io.ReadAll(reader)
		text <- string(content)
	}()
	flush()
	writer.Close()
	got := <-text
	dropped := 0
	for _, told := range regexp.MustCompile(`held up: count=(\d+)`).FindAllStringSubmatch(got, -1) {
		n, err := strconv.Atoi(told[1])
		must(t, err)
		dropped += n
	}
	if written := strings.Count(got, "a line"); written+dropped != lines || dropped == 0 {
		t.Errorf("%d lines were written and %d dropped, of %d", written, dropped, lines)
	}
}
