package hypervisor_test

import (
	"os"
	"os/exec"
	"testing"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// ended records a process that has ended since, as the leading one of a generation.
func ended(t *testing.T, spec hypervisor.Spec, generation uint64, cgroup string) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := freeze.Of(cmd.Process.Pid, cgroup)
	if err != nil {
		t.Fatal(err)
	}
	marker := spec.Marker()
	marker.Generation = generation
	if err := os.MkdirAll(hypervisor.MachineDir(spec.RunDir, spec.VM, generation), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := hypervisor.WriteRecord(spec.RunDir, marker, "script", h); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func past(t *testing.T, spec hypervisor.Spec) []hypervisor.Found {
	t.Helper()
	all, err := hypervisor.Past(spec.Cluster, spec.Host, spec.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Of what ended while no agent was there the newest generation is told, unless its agent
// had been about to end it.
func TestPast(t *testing.T) {
	spec := hypervisortest.NewSpec(t)
	if all := past(t, spec); len(all) != 0 {
		t.Errorf("past: %+v", all)
	}
	ended(t, spec, 3, "")
	ended(t, spec, 12, "")
	if all := past(t, spec); len(all) != 1 || all[0].VM != spec.VM || all[0].Generation != 12 || all[0].Driver != "script" {
		t.Errorf("past: %+v", all)
	}
	if _, err := os.Stat(hypervisor.MachineDir(spec.RunDir, spec.VM, 3)); !os.IsNotExist(err) {
		t.Errorf("an older generation is still recorded: %v", err)
	}
	if err := hypervisor.NoteEnding(spec.RunDir, spec.VM, 12); err != nil {
		t.Fatal(err)
	}
	if all := past(t, spec); len(all) != 0 {
		t.Errorf("what its agent had begun to end is past: %+v", all)
	}
}

// The cgroup of a machine that ended while no agent was there is removed, and no other.
func TestPastRemovesEmptyCgroups(t *testing.T) {
	root, err := freeze.FindCgroupRoot()
	if err != nil {
		t.Skipf("needs a cgroup v2 hierarchy: %v", err)
	}
	spec := hypervisortest.NewSpec(t)
	create := func(name string) string {
		dir, err := freeze.NewCgroup(root, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := freeze.RemoveCgroup(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	own, other := create(spec.CgroupName()), create("storebeat-past-"+spec.VM.String())
	ended(t, spec, 2, other)
	ended(t, spec, 3, own)
	if all := past(t, spec); len(all) != 1 || all[0].Generation != 3 {
		t.Errorf("past: %+v", all)
	}
	if _, err := os.Stat(own); !os.IsNotExist(err) {
		t.Errorf("the machine's cgroup is left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("somebody else's cgroup is gone: %v", err)
	}
}
