package check

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// withDeadline is far longer than any check takes, even on a busy computer.
func withDeadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// worst returns the worst status of the findings of each name.
func worst(r Report) map[string]Status {
	by := make(map[string]Status)
	for _, f := range r.Findings {
		by[f.Name] = max(by[f.Name], f.Status)
	}
	return by
}

// expectClean asserts that only the datastore's own folder is in dir.
func expectClean(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// checkAll runs a whole check and asserts what holds on every working file system.
func checkAll(t *testing.T, dir string) Report {
	t.Helper()
	r, err := Run(withDeadline(t), dir, Options{Writes: 20})
	if err != nil {
		t.Fatal(err)
	}
	expectClean(t, dir)
	by := worst(r)
	for _, name := range []string{
		"exclusive names", "exclusive names between processes", "rename and fsync", "file locks", "extended attributes", "new names",
	} {
		if s, ok := by[name]; !ok || s != OK {
			t.Errorf("%s: found %v, status %v", name, ok, s)
		}
	}
	if !r.Complete || r.Latency == nil || r.Latency.Writes == 0 || len(r.Unseen) == 0 {
		t.Errorf("incomplete: %+v", r)
	}
	for _, f := range r.Findings {
		if f.What == "" || (f.Status == OK) != (f.Remedy == "") {
			t.Errorf("finding without words, or a remedy that does not fit: %+v", f)
		}
	}
	if t.Failed() {
		text, _ := json.MarshalIndent(r, "", " ")
		t.Logf("%s", text)
	}
	return r
}

func TestRunTempDir(t *testing.T) { checkAll(t, t.TempDir()) }

func TestRunTmpfs(t *testing.T) {
	r := checkAll(t, mount(t, "tmpfs", "size=32m"))
	by := worst(r)
	if by["file system"] != Unsafe || by["mount point"] != OK || by["mount options"] != OK || by["free space"] != Warning {
		t.Errorf("%v", by)
	}
	if r.Barrier.Kind != datastorehb.BarrierNone || by["write barrier"] != Unsafe || r.Restart.Expected != 5*time.Second {
		t.Errorf("barrier %+v, restart %+v", r.Barrier, r.Restart)
	}
}

func TestRunLoopExt4(t *testing.T) {
	dir := mountLoop(t)
	r := checkAll(t, dir)
	by := worst(r)
	if by["file system"] != Warning || by["mount point"] != OK || by["direct I/O"] != OK || !r.Latency.Direct {
		t.Errorf("%v, %+v", by, r.Latency)
	}
}

func TestRunReadOnly(t *testing.T) {
	dir := mount(t, "tmpfs", "ro")
	r, err := Run(withDeadline(t), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	by := worst(r)
	if by["scratch folder"] != Unsafe || by["mount options"] != Unsafe || !r.Complete {
		t.Errorf("%v", by)
	}
	if _, ok := by["exclusive names"]; ok {
		t.Error("a step that writes was made without a scratch folder")
	}
}

func TestRunRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + "-absent"} {
		_, err := Run(withDeadline(t), path, Options{})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "give the folder") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestRunLeavesTheDatastoreAlone(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, ".storebeat")
	if err := errors.Join(os.Mkdir(own, 0o755), os.WriteFile(filepath.Join(own, "region"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(own)
	if err != nil {
		t.Fatal(err)
	}
	checkAll(t, dir)
	after, err := os.Stat(own)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the folder was changed: %v, %v, %v", before.ModTime(), after.ModTime(), err)
	}
	if content, err := os.ReadFile(filepath.Join(own, "region")); string(content) != "x" {
		t.Errorf("content %q, %v", content, err)
	}
}

func TestRunReportsProgress(t *testing.T) {
	var seen []Progress
	r, err := Run(withDeadline(t), t.TempDir(), Options{Writes: 1, Progress: func(p Progress) { seen = append(seen, p) }})
	if err != nil {
		t.Fatal(err)
	}
	findings := 0
	for i, p := range seen {
		if p.Number != i/2+1 || p.Of != len(allSteps()) || p.Done != (i%2 == 1) || p.Step == "" {
			t.Errorf("call %d: %+v", i, p)
		}
		findings += len(p.Findings)
	}
	if len(seen) != 2*len(allSteps()) || findings != len(r.Findings) {
		t.Errorf("%d calls with %d findings, the report has %d", len(seen), findings, len(r.Findings))
	}
}

func TestRunStopsWhenToldTo(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(withDeadline(t))
	r, err := Run(ctx, dir, Options{Progress: func(p Progress) {
		if p.Step == "write latency" {
			cancel()
		}
	}, Writes: 1 << 30, Budget: time.Hour, Grace: time.Minute})
	if !errors.Is(err, context.Canceled) || r.Complete || r.Status() != Unsafe {
		t.Errorf("%v, complete %v, %v", err, r.Complete, r.Status())
	}
	if worst(r)["direct I/O"] > Warning {
		t.Errorf("what was found before is missing: %+v", r.Findings)
	}
	expectClean(t, dir)
}

// TestRunWhileHung has a step that does not come back, as on a dead server: Run
// returns, and the scratch folder goes when the step comes back.
func TestRunWhileHung(t *testing.T) {
	dir := t.TempDir()
	answer, back := make(chan struct{}), make(chan struct{})
	steps := []step{
		{"scratch folder", false, checkScratch},
		{"hang", true, func(*probe) []Finding { <-answer; defer close(back); return nil }},
		{"never", true, func(*probe) []Finding { t.Error("a step was made after the end"); return nil }},
	}
	ctx, cancel := context.WithCancel(withDeadline(t))
	opts := Options{Grace: time.Millisecond, Progress: func(p Progress) {
		if p.Step == "hang" {
			cancel()
		}
	}}
	r, err := runSteps(ctx, dir, opts.withDefaults(), steps)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"hang"`) || r.Complete {
		t.Errorf("%v, %+v", err, r)
	}
	if worst(r)["hang"] != Unsafe {
		t.Errorf("%+v", r.Findings)
	}
	close(answer)
	<-back
	left := func() bool {
		found, err := filepath.Glob(filepath.Join(dir, scratchPrefix+"*"))
		return err != nil || len(found) > 0
	}
	for limit := time.Now().Add(time.Minute); left(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the scratch folder was left behind")
		}
	}
}

// TestOutOfTimeWhileTidying ends a check while it removes its scratch folder: it says so,
// and blames no step that has come to its end.
func TestOutOfTimeWhileTidying(t *testing.T) {
	var c collector
	c.take(event{Progress: Progress{Step: "slow"}})
	c.take(event{Progress: Progress{Step: "slow", Done: true, Findings: one("slow", OK, "done", "")}})
	ctx, cancel := context.WithCancel(withDeadline(t))
	cancel()
	r, err := c.hung(ctx)
	if !errors.Is(err, context.Canceled) || worst(r)["slow"] != OK || worst(r)[tidying] != Unsafe {
		t.Errorf("%v, %+v", err, r.Findings)
	}
}

func TestReportJSON(t *testing.T) {
	r, err := Run(withDeadline(t), t.TempDir(), Options{Writes: 1, Fence: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Barrier.Kind != datastorehb.BarrierFence {
		t.Errorf("the configuration says fence: %+v", r.Barrier)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(text), `"status":"ok"`) || !strings.Contains(string(text), `"kind":"fence"`) {
		t.Errorf("%s", text)
	}
}

// mount mounts a file system without a device, for the time of the test.
func mount(t *testing.T, fsType, options string) string {
	t.Helper()
	dir := t.TempDir()
	var flags uintptr
	if options == "ro" {
		flags, options = unix.MS_RDONLY, ""
	}
	if err := unix.Mount("none", dir, fsType, flags, options); err != nil {
		t.Skipf("mounting %s needs root: %v", fsType, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

func TestStatusText(t *testing.T) {
	for s := OK; s <= Unsafe; s++ {
		text, _ := s.MarshalText()
		var back Status
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("%v came back as %v, %v", s, back, err)
		}
	}
	if new(Status).UnmarshalText([]byte("fine")) == nil {
		t.Error("an unknown status was accepted")
	}
}

func TestWithLockFaultThereIsNoBarrier(t *testing.T) {
	info := device.Info{Mount: device.Mount{FSType: "nfs4"}, NFS: &device.NFS{Version: "4.2", LockLease: 10 * time.Second}}
	tests := []struct {
		name     string
		probe    probe
		kind     datastorehb.WriteBarrier
		expected time.Duration
		status   map[string]Status
	}{
		{"locks work", probe{info: info}, datastorehb.BarrierLock, 15 * time.Second, map[string]Status{"write barrier": OK, "restart time": OK}},
		{"locks fail", probe{info: info, lockFault: "ENOLCK"}, datastorehb.BarrierNone, 5 * time.Second, map[string]Status{"write barrier": Unsafe, "restart time": OK}},
		{"the risk is taken", probe{info: info, lockFault: "ENOLCK", opts: Options{NoBarrier: true}}, datastorehb.BarrierNone, 5 * time.Second, map[string]Status{"write barrier": Warning, "restart time": OK}},
		{"long lease", probe{info: longLeased(info)}, datastorehb.BarrierLock, 95 * time.Second, map[string]Status{"write barrier": OK, "restart time": Warning}},
	}
	for _, tt := range tests {
		tt.probe.opts = tt.probe.opts.withDefaults()
		got := worst(Report{Findings: checkBarrier(&tt.probe)})
		if diff := cmp.Diff(tt.status, got); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
		if tt.probe.barrier.Kind != tt.kind || tt.probe.restart.Expected != tt.expected {
			t.Errorf("%s: %v, %v", tt.name, tt.probe.barrier, tt.probe.restart)
		}
	}
}

func longLeased(info device.Info) device.Info {
	nfs := *info.NFS
	nfs.LockLease = 90 * time.Second
	info.NFS = &nfs
	return info
}
