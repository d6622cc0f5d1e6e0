package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// Pace says how patient a Watcher is.
type Pace struct {
	// Settle is how long a new content must stay the same before it counts.
	// Half-written files can be valid: the first half of a list of datastores is.
	Settle time.Duration
	// Recheck is how often the file is read without having been told of a
	// change: some file systems tell nobody, and a folder may be replaced whole.
	Recheck time.Duration
}

// DefaultPace suits people and configuration management alike.
var DefaultPace = Pace{Settle: 250 * time.Millisecond, Recheck: 30 * time.Second}

// Watch follows the file of the running configuration until ctx ends. For each
// new content that is sound, it logs what changed and calls apply with the
// running configuration in which the live changes are carried out; apply is not
// called when nothing changed live. A content that is broken, or a file that is
// gone, changes nothing and is logged once. Calls of apply never overlap.
func Watch(ctx context.Context, running *Config, pace Pace, log hclog.Logger, apply func(*Config)) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w; raise fs.inotify.max_user_instances, or restart the agent after changes", running.Path, err)
	}
	defer notify.Close()
	w := &watcher{running: running, pace: pace, log: log, apply: apply, notify: notify, seen: running.source}
	return w.run(ctx)
}

type watcher struct {
	running *Config
	pace    Pace
	log     hclog.Logger
	apply   func(*Config)
	notify  *fsnotify.Watcher

	seen      [sha256.Size]byte // the content that was judged last
	candidate [sha256.Size]byte // a newer one, which may still be growing
	complaint string            // the last failure to read, so that it is logged once
	broken    string            // what is wrong with the content that was judged last
	names     map[string]bool   // of files and folders that an event must concern
}

func (w *watcher) run(ctx context.Context) error {
	recheck := time.NewTicker(w.pace.Recheck)
	defer recheck.Stop()
	settle := time.NewTimer(w.pace.Settle)
	defer settle.Stop()
	w.look(settle) // what changed between Load and Watch is news, too
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-w.notify.Events:
			if !ok {
				return errors.New("watching the configuration: the notifier ended unasked")
			}
			if w.concerns(event) {
				w.look(settle)
			}
		case err := <-w.notify.Errors:
			w.log.Warn("notifications about the configuration were lost; reading it again", "error", err)
			w.look(settle)
		case <-recheck.C:
			w.look(settle)
			w.judgeAgain()
		case <-settle.C:
			w.settled(settle)
		}
	}
}

// look reads the file after something may have happened to it, and gives a new
// content time to settle.
func (w *watcher) look(settle *time.Timer) {
	w.follow()
	content, ok := w.read()
	if !ok {
		return
	}
	if s := sum(content); s != w.candidate {
		w.candidate = s
		settle.Reset(w.pace.Settle)
	}
}

// settled judges a content that stayed the same. It reads the file once more,
// for a writer that went on without the kernel's having told us yet.
func (w *watcher) settled(settle *time.Timer) {
	content, ok := w.read()
	if !ok {
		return
	}
	s := sum(content)
	if s != w.candidate {
		w.candidate = s
		settle.Reset(w.pace.Settle)
		return
	}
	if s == w.seen {
		return
	}
	w.seen = s
	w.judge()
}

// judge loads the file anew. Should its content have changed since it was
// summed, the next look finds out: it compares with the sum of what was loaded.
func (w *watcher) judge() {
	next, diags := Load(w.running.Path)
	if diags.HasErrors() {
		if text := strings.TrimSpace(Describe(diags)); text != w.broken {
			w.broken = text
			w.log.Error("the changed configuration has errors; the running one stays in force", "file", w.running.Path, "errors", text)
		}
		return
	}
	if w.running.override != nil {
		next.Override(w.running.override)
	}
	w.seen, w.broken = next.source, ""
	for _, d := range diags {
		w.log.Warn(d.Summary, "at", where(d.Subject), "detail", d.Detail)
	}
	applied, live, restart := Apply(w.running, next)
	for _, c := range restart {
		w.log.Warn("this change waits for a restart of the agent", "change", c.String())
	}
	for _, c := range live {
		w.log.Info("this change is in force", "change", c.String())
	}
	w.running = applied
	if len(live) > 0 {
		w.apply(applied)
	}
}

// judgeAgain looks whether an error has gone that was not in the file itself,
// such as the mode of the key file.
func (w *watcher) judgeAgain() {
	if w.broken != "" && w.seen == w.candidate {
		w.judge()
	}
}

// read reads the file, and logs once when it can't.
func (w *watcher) read() ([]byte, bool) {
	content, err := readFile(w.running.Path)
	if err == nil {
		w.complaint = ""
		return content, true
	}
	if err.Error() != w.complaint {
		w.complaint = err.Error()
		w.log.Error("the configuration can't be read; the running one stays in force", "error", err)
	}
	return nil, false
}

// follow watches every folder that decides what the path means: the file's own
// and, where it is a symbolic link, those of each link on the way, and the
// folders around these, for a folder that is switched as a whole. Folders and
// not files, because editors and installers put a new file in the old one's place.
func (w *watcher) follow() {
	const longestChain = 16
	w.names = map[string]bool{}
	path := w.running.Path
	for range longestChain {
		folder := filepath.Dir(path)
		w.names[filepath.Base(path)], w.names[filepath.Base(folder)] = true, true
		w.watchFolder(folder)
		w.watchFolder(filepath.Dir(folder))
		target, err := os.Readlink(path)
		if err != nil {
			return
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(folder, target)
		}
		path = target
	}
}

// concerns reports whether an event may have changed what the path leads to.
// The folders around may be busy ones, such as /tmp.
func (w *watcher) concerns(e fsnotify.Event) bool {
	return e.Op != fsnotify.Chmod && w.names[filepath.Base(e.Name)]
}

// watchFolder is repeated freely: the kernel knows what it watches already. What
// can't be watched is found by the next recheck.
func (w *watcher) watchFolder(folder string) {
	if err := w.notify.Add(folder); err != nil {
		w.log.Debug("can't watch a folder of the configuration", "folder", folder, "error", err)
	}
}
