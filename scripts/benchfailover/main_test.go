package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-runs", "3", "-profiles", "fast", "-faults", "dark-host,storage-stall"})
	if err != nil {
		t.Fatal(err)
	}
	if o.runs != 3 || !slices.Equal(o.profiles, []string{"fast"}) || len(o.faults) != 2 || o.faults[1].Name != "storage-stall" {
		t.Errorf("it was taken for %+v", o)
	}
	for _, wrong := range [][]string{{"-runs", "0"}, {"-faults", "thunder"}, {"-storage", "tape"}, {"-faults", "link-down", "-storage", "NFS"}, {"-storm"}} {
		if _, err := parse(wrong); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(wrong[0], "-")) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

// Each fault is described, and says by which events its steps are known.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		if described[f.Name] == "" || f.strike == nil || f.moves != (len(f.noticed) > 0 && len(f.lost) > 0) {
			t.Errorf("%s is not whole", f.Name)
		}
	}
}

// Without names it is every fault that the storage has.
func TestChoose(t *testing.T) {
	local, err := choose("", "local")
	nfs, nfsErr := choose("", "NFS")
	if err != nil || nfsErr != nil || len(local) != len(faults) || len(nfs) != len(faults)-1 {
		t.Errorf("%d and %d of %d faults: %v, %v", len(local), len(nfs), len(faults), err, nfsErr)
	}
}

func TestSummarize(t *testing.T) {
	s := summarize("local", "fast", "power-off", 2, []row{
		{Noticed: 3, Lost: 4, Claimed: 5, Started: 6, Output: 7}, {Noticed: 1, Lost: 2, Claimed: 3, Started: 4, Output: 5}, {Noticed: 2, Lost: 3, Claimed: 4, Started: 5, Output: 9}})
	want := summary{Lab: "local", Profile: "fast", Fault: "power-off", Runs: 2, Machines: 3, Noticed: 2, Lost: 3, Claimed: 4, Started: 5, Min: 5, Median: 7, Max: 9}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

// A case that is measured again takes the place of what it was, in the file and
// on the page; all else stays.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	o := options{data: filepath.Join(dir, "data.json"), page: filepath.Join(dir, "page.md")}
	if err := os.WriteFile(o.page, []byte("before\n"+tableBegins+"old\n"+tableEnds+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []summary{
		{Lab: "local", Profile: "fast", Fault: "dark-host", Median: 1.5},
		{Lab: "local", Profile: "fast", Fault: "power-off", Median: 2.5},
		{Lab: "local", Profile: "fast", Fault: "dark-host", Median: 3.5},
	} {
		if err := o.write(s); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(o.page)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	off, dark := strings.Index(page, "2.50"), strings.Index(page, "3.50")
	if !strings.HasPrefix(page, "before\n") || !strings.HasSuffix(page, "after\n") || strings.Contains(page, "old") || strings.Contains(page, "1.50") || off < 0 || dark < off {
		t.Errorf("the page is\n%s", page)
	}
	if err := os.WriteFile(o.page, []byte("no place"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.write(summary{}); err == nil {
		t.Error("it was written to a page that has no place for it")
	}
	if err := os.WriteFile(o.data, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.write(summary{}); err == nil || !strings.Contains(err.Error(), o.data) {
		t.Errorf("a broken file: %v", err)
	}
}
