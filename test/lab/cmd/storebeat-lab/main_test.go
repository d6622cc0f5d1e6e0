package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/test/lab"
)

// TestByHand plays a person who makes a lab, strikes it and takes it down.
func TestByHand(t *testing.T) {
	if err := lab.Available(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"storebeat-lab", "storebeat"} {
		from := map[string]string{"storebeat-lab": ".", "storebeat": "storebeat/cmd/storebeat"}[name]
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), from).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", name, err, out)
		}
	}
	var where []string
	call := func(words ...string) (string, error) {
		t.Helper()
		out, err := exec.Command(filepath.Join(dir, "storebeat-lab"), append(words, where...)...).CombinedOutput()
		t.Logf("storebeat-lab %v:\n%s", words, out)
		return string(out), err
	}
	must := func(words ...string) string {
		t.Helper()
		out, err := call(words...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for words, says := range map[string]string{"up --machines=-1": "choose 0 or more", "up --profile quick": "fast default relaxed", "up --binary /nowhere": "/nowhere",
		"fault": "say what to do", "exec host1": "exec HOST PROGRAM"} {
		if out, err := call(strings.Fields(words)...); err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %q does not say %q", words, out, says)
		}
	}
	up := must("up", "--machines", "2")
	for line := range strings.Lines(up) {
		if line := strings.TrimSpace(line); filepath.IsAbs(line) {
			where = []string{"--lab", line}
		}
	}
	if len(where) == 0 {
		t.Fatal("up does not say where the lab is")
	}
	t.Cleanup(func() {
		if _, err := os.Stat(where[1]); err == nil {
			_, _ = call("down")
		}
	})
	look := func() (s status) {
		t.Helper()
		if err := json.Unmarshal([]byte(must("status", "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	victim := look().Machines[0].Host
	must("fault", "hang", victim, "hypervisor")
	for deadline := time.Now().Add(time.Minute); look().Machines[0].Silent < time.Second; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the guest counts on, though its hypervisor hangs")
		}
	}
	must("fault", "unhang", victim, "hypervisor")
	must("fault", "power-off", victim)
	for deadline := time.Now().Add(time.Minute); look().Machines[0].Runs < 2; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the machine is not started again")
		}
	}
	if out, err := call("fault", "power-off", "nobody"); err == nil || !strings.Contains(out, "host1") {
		t.Errorf("a host that does not exist: %q", out)
	}
	if out, err := call("fault", "storage", "all", "ds1", "hang", "ops=nonsense"); err == nil || !strings.Contains(out, "fsync") {
		t.Errorf("an operation that does not exist: %q", out)
	}
	s := look()
	if len(s.Faults) > 0 {
		t.Error(s.Faults)
	}
	words := append(slices.Clone(where), "exec", s.Machines[0].Host, "storebeat", "status")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out, err := exec.Command(filepath.Join(dir, "storebeat-lab"), words...).CombinedOutput()
		if err == nil && strings.Contains(string(out), "2 running") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("storebeat status on %s: %v: %s", s.Machines[0].Host, err, out)
		}
	}
	must("down")
	if _, err := os.Stat(where[1]); !os.IsNotExist(err) {
		t.Errorf("after down, %s: %v", where[1], err)
	}
}
