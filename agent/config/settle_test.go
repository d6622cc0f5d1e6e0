package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// Half a file can be a sound configuration. It must not come into force while
// the other half is on its way. No time passes here: the steps of the watcher
// are taken by hand.
func TestHalfAFileIsNotApplied(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "storebeat.hcl")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteKey(filepath.Join(folder, "cluster.key"), NewKey()); err != nil {
		t.Fatal(err)
	}
	first := string(Generate(Draft{}))
	write(first)
	running, diags := Load(path)
	if diags.HasErrors() {
		t.Fatal(Describe(diags))
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	var applied []int
	w := &watcher{running: running, pace: Pace{Settle: time.Hour}, log: hclog.NewNullLogger(), notify: notify, seen: running.source}
	w.apply = func(c *Config) {
		applied = append(applied, c.Heartbeat.Threshold)
	}
	settle := time.NewTimer(time.Hour)
	defer settle.Stop()

	with := func(threshold int) string {
		return strings.Replace(first, "#threshold = 25", fmt.Sprintf("threshold = %d", threshold), 1)
	}
	write(with(30))
	w.look(settle)
	write(with(40))
	w.settled(settle)
	if len(applied) != 0 || w.seen != running.source {
		t.Fatalf("a content that went on growing was judged: %v", applied)
	}
	w.settled(settle)
	if got := fmt.Sprint(applied); got != "[40]" {
		t.Errorf("applied thresholds %v, want the last alone", got)
	}
}
