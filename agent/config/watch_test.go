package config_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"storebeat/agent/config"
)

// patience is far beyond what any of these tests takes.
const patience = time.Minute

// withLevel is the content of a configuration that differs in its log level.
func withLevel(level string) string {
	return fmt.Sprintf("cluster {\n  name = \"lab\"\n  uuid = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\n  key_file = \"key\"\n}\nhost \"alpha\" {\n  id = 1\n  heartbeat = \"127.0.0.1\"\n}\ndatastore \"only\" {\n  path = \"/mnt/only\"\n  uuid = \"11111111-2222-4333-8444-555555555555\"\n}\nlog {\n  level = %q\n}\n", level)
}

// watched is a configuration under watch.
type watched struct {
	t       *testing.T
	path    string
	applied chan *config.Config
	log     *record
}

// record is a log that may be read while it is written to.
type record struct {
	sync.Mutex
	bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.Lock()
	defer r.Unlock()
	return r.Buffer.Write(p)
}

func (r *record) String() string {
	r.Lock()
	defer r.Unlock()
	return r.Buffer.String()
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watch loads the configuration at path and watches it until the test ends.
func watch(t *testing.T, path string, pace config.Pace, override ...func(*config.Config)) *watched {
	t.Helper()
	running, diags := config.Load(path)
	if diags.HasErrors() {
		t.Fatal(config.Describe(diags))
	}
	for _, with := range override {
		running.Override(with)
	}
	w := &watched{t: t, path: path, applied: make(chan *config.Config, 100), log: &record{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	log := hclog.New(&hclog.LoggerOptions{Output: w.log})
	go func() { ended <- config.Watch(ctx, running, pace, log, func(c *config.Config) { w.applied <- c }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
		goleak.VerifyNone(t)
	})
	return w
}

// notified relies on notifications alone.
var notified = config.Pace{Settle: 20 * time.Millisecond, Recheck: time.Hour}

// unnotified does without any, in effect.
var unnotified = config.Pace{Settle: 20 * time.Millisecond, Recheck: 50 * time.Millisecond}

// wants waits until the level has been applied. On a slow machine levels in
// between may be seen, or not.
func (w *watched) wants(level string) {
	w.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case c := <-w.applied:
			if c.Log.Level == level {
				return
			}
		case <-limit:
			w.t.Fatalf("level %q was not applied; log:\n%s", level, w.log)
		}
	}
}

// logs waits until the log contains text.
func (w *watched) logs(text string) {
	w.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(patience)
	for !strings.Contains(w.log.String(), text) {
		select {
		case <-poll.C:
		case <-limit:
			w.t.Fatalf("%q was not logged; log:\n%s", text, w.log)
		}
	}
}

func folderWith(t *testing.T, level string) (folder, path string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "storebeat")
	must(t, os.Mkdir(folder, 0o755))
	fill(t, folder, level)
	return folder, filepath.Join(folder, "storebeat.hcl")
}

var oneKey = config.NewKey()

func fill(t *testing.T, folder, level string) {
	t.Helper()
	must(t, config.WriteKey(filepath.Join(folder, "key"), oneKey))
	mustWrite(t, filepath.Join(folder, "storebeat.hcl"), withLevel(level))
}

// The ways in which editors, installers and people change a file.
func TestWatchSeesEveryWayToChangeAFile(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, folder, path, content string)
	}{
		{"truncated and written", func(t *testing.T, _, path, content string) { mustWrite(t, path, content) }},
		{"written in pieces", func(t *testing.T, _, path, content string) {
			f, err := os.Create(path)
			must(t, err)
			for _, piece := range strings.SplitAfter(content, "\n") {
				_, err = f.WriteString(piece)
				must(t, err)
			}
			must(t, f.Close())
		}},
		{"renamed over", func(t *testing.T, folder, path, content string) {
			mustWrite(t, filepath.Join(folder, ".new"), content)
			must(t, os.Rename(filepath.Join(folder, ".new"), path))
		}},
		{"kept as a backup, then written anew", func(t *testing.T, _, path, content string) {
			must(t, os.Rename(path, path+"~"))
			mustWrite(t, path, content)
		}},
		{"removed, then written anew", func(t *testing.T, _, path, content string) {
			must(t, os.Remove(path))
			mustWrite(t, path, content)
		}},
		{"replaced by a link", func(t *testing.T, folder, path, content string) {
			mustWrite(t, filepath.Join(folder, "real.hcl"), content)
			_ = os.Remove(filepath.Join(folder, ".link"))
			must(t, os.Symlink("real.hcl", filepath.Join(folder, ".link")))
			must(t, os.Rename(filepath.Join(folder, ".link"), path))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder, path := folderWith(t, "info")
			w := watch(t, path, notified)
			for _, level := range []string{"debug", "warn", "error"} {
				test.change(t, folder, path, withLevel(level))
				w.wants(level)
			}
		})
	}
}

// A mounted configuration map: the file is a link into a folder that is itself
// a link, and only that one is switched.
func TestWatchSeesASwitchedFolder(t *testing.T) {
	root := t.TempDir()
	version := func(name, level string) {
		must(t, os.Mkdir(filepath.Join(root, name), 0o755))
		fill(t, filepath.Join(root, name), level)
		must(t, os.Symlink(name, filepath.Join(root, "..new")))
		must(t, os.Rename(filepath.Join(root, "..new"), filepath.Join(root, "..data")))
	}
	version("..1", "info")
	for _, name := range []string{"storebeat.hcl", "key"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(root, name)))
	}
	w := watch(t, filepath.Join(root, "storebeat.hcl"), notified)
	version("..2", "debug")
	w.wants("debug")
	must(t, os.RemoveAll(filepath.Join(root, "..1")))
	version("..3", "warn")
	w.wants("warn")
}

func TestWatchSeesALinkedFileElsewhere(t *testing.T) {
	_, real := folderWith(t, "info")
	link := filepath.Join(t.TempDir(), "storebeat.hcl")
	must(t, os.Symlink(real, link))
	must(t, config.WriteKey(filepath.Join(filepath.Dir(link), "key"), oneKey))
	w := watch(t, link, notified)
	mustWrite(t, real, withLevel("debug"))
	w.wants("debug")
}

func TestWatchOutlivesItsFolder(t *testing.T) {
	folder, path := folderWith(t, "info")
	w := watch(t, path, unnotified)
	must(t, os.Rename(folder, folder+".old"))
	w.logs("can't be read")
	must(t, os.Mkdir(folder, 0o755))
	fill(t, folder, "debug")
	w.wants("debug")
	mustWrite(t, path, withLevel("warn"))
	w.wants("warn")
}

func TestWatchSeesWhatChangedBeforeItBegan(t *testing.T) {
	_, path := folderWith(t, "info")
	running, _ := config.Load(path)
	mustWrite(t, path, withLevel("debug"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var level string
	must(t, config.Watch(ctx, running, notified, hclog.NewNullLogger(), func(c *config.Config) {
		level = c.Log.Level
		cancel()
	}))
	if level != "debug" {
		t.Errorf("applied level %q", level)
	}
}

func TestABrokenFileChangesNothingAndIsLoggedOnce(t *testing.T) {
	folder, path := folderWith(t, "info")
	w := watch(t, path, unnotified)
	replace := func(level string) { // at once: an empty file would be another error
		mustWrite(t, filepath.Join(folder, ".new"), withLevel(level))
		must(t, os.Rename(filepath.Join(folder, ".new"), path))
	}
	replace("loud")
	w.logs("running one stays in force")
	for range 3 { // the same content again, in another file
		replace("loud")
	}
	replace("debug")
	w.wants("debug")
	if n := strings.Count(w.log.String(), "running one stays in force"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, w.log)
	}
	if !strings.Contains(w.log.String(), `storebeat.hcl:15:3: error: Invalid value: level:`) {
		t.Errorf("the log does not say what is wrong:\n%s", w.log)
	}
}

func TestAnErrorOutsideTheFileIsFoundToBeGone(t *testing.T) {
	folder, path := folderWith(t, "info")
	w := watch(t, path, unnotified)
	must(t, os.Chmod(filepath.Join(folder, "key"), 0o644))
	mustWrite(t, path, withLevel("debug"))
	w.logs("chmod 600")
	must(t, os.Chmod(filepath.Join(folder, "key"), 0o600))
	w.wants("debug")
}

func TestWhatNeedsARestartIsNamedInTheLog(t *testing.T) {
	_, path := folderWith(t, "info")
	w := watch(t, path, notified)
	mustWrite(t, path, withLevel("debug")+"timing {\n  profile = \"fast\"\n}\n")
	w.wants("debug")
	for _, want := range []string{
		`waits for a restart of the agent: change="timing.profile: \"default\" → \"fast\" (line 18)"`,
		`is in force: change="log.level: \"info\" → \"debug\" (line 15)"`,
	} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, w.log)
		}
	}
}

// What the command line says in place of the file is no change of the file, the
// first time or later.
func TestOverridesAreNoChanges(t *testing.T) {
	_, path := folderWith(t, "info")
	w := watch(t, path, notified, func(c *config.Config) { c.Guard.Spawn, c.ControlSocket = false, "/run/other.sock" })
	for _, level := range []string{"warn", "error"} {
		mustWrite(t, path, withLevel(level))
		w.wants(level)
	}
	mustWrite(t, path, withLevel("debug")+"run_directory = \"/run/elsewhere\"\n")
	w.logs("run_directory")
	w.wants("debug")
	if log := w.log.String(); strings.Contains(log, "guard.spawn") || strings.Contains(log, "control_socket") {
		t.Errorf("told as a change:\n%s", log)
	}
}
