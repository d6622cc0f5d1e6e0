package qemu

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// byHand starts the boot-sector guest as a user does, with a monitor at the path that
// is returned.
func byHand(t *testing.T, spec hypervisor.Spec, further ...string) (monitor string, process *os.Process) {
	t.Helper()
	needQEMU(t)
	binary, err := New("").Binary()
	if err != nil {
		t.Fatal(err)
	}
	monitor = filepath.Join(filepath.Dir(spec.DatastorePath), "mine")
	serial := "socket,id=s0,path=" + placesOf(spec.RunDir, spec.Marker()).dir + ".serial,server=on,wait=off,logfile=" + filepath.Join(spec.DatastorePath, "tick.log") + ",logappend=on"
	args := slices.Concat([]string{"-name", "by-hand", "-accel", "tcg,tb-size=4", "-M", "pc", "-m", "1", "-nodefaults", "-display", "none", "-chardev", serial, "-serial", "chardev:s0",
		"-qmp", "unix:" + monitor + ",server=on,wait=off"}, further)
	cmd := exec.Command(binary, args...)
	cmd.Dir = spec.DatastorePath
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	hypervisortest.Until(t, "QEMU listens", func() bool { _, err := os.Stat(monitor); return err == nil })
	return monitor, cmd.Process
}

// TestTakeOver takes a guest over that somebody has started by hand, without the guest's
// noticing, has it switch itself off, and starts it anew from what was read of it.
func TestTakeOver(t *testing.T) {
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	monitor, process := byHand(t, spec, "-drive", "if=ide,file=disk.img")
	serial := placesOf(spec.RunDir, spec.Marker()).dir + ".serial"
	ticking(t, spec)
	d := New("")
	g, err := d.Read(t.Context(), monitor, "", []hypervisor.Place{{Name: "other", Path: "/other"}, {Name: "nfs1", Path: spec.DatastorePath}})
	if err != nil || len(g.Problems) > 0 || g.Name != "by-hand" || g.Datastore != "nfs1" || g.Memory != 1<<20 || g.VM == uuid.Nil {
		t.Fatalf("read %+v, %v", g, err)
	}
	again, err := d.Read(t.Context(), monitor, "web", []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}})
	if err != nil || again.VM != g.VM || again.Name != "web" {
		t.Errorf("read again: %+v, %v", again, err)
	}
	spec.VM, spec.Definition = g.VM, g.Definition
	spec.CgroupRoot = ""
	if err := d.Validate(spec); err != nil {
		t.Fatal(err)
	}
	if err := d.Offer(t.Context(), monitor, g.VM, spec.RunDir); err != nil {
		t.Fatal(err)
	}
	before := count(t, spec)
	m := start(t, spec)
	if m.Handle().PID != process.Pid {
		t.Fatalf("started process %d beside %d", m.Handle().PID, process.Pid)
	}
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "it goes on", func() bool { return count(t, spec).Last > before.Last+2 })
	hypervisortest.Until(t, "the agent knows that it runs", func() bool { return m.Condition().Guest == "running" })
	found, err := d.Find(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 || found[0].Handle.PID != process.Pid || found[0].Newborn {
		t.Fatalf("found %+v, %v", found, err)
	}
	tellAt(t, serial, "q")
	_, _ = process.Wait() // it is a child of the test's, not of init
	hypervisortest.Ended(t, m, hypervisor.GuestShutDown)
	if boots := count(t, spec).Boots; boots != 1 {
		t.Errorf("the guest has booted %d times", boots)
	}
	spec.Generation++
	m = start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "it boots from its definition", func() bool {
		log, err := os.ReadFile(filepath.Join(spec.DatastorePath, "tick.log"))
		return err == nil && strings.Count(string(log), "BOOT") == 2
	})
	if err := m.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

// A guest that can't be taken care of at the last moment is its user's as before: when it switches
// itself off its QEMU ends.
func TestTakeOverFails(t *testing.T) {
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	monitor, process := byHand(t, spec, "-drive", "if=ide,file=disk.img,cache=none")
	serial := placesOf(spec.RunDir, spec.Marker()).dir + ".serial"
	ticking(t, spec)
	d := New("")
	g, err := d.Read(t.Context(), monitor, "", []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}})
	if err != nil || len(g.Problems) > 0 {
		t.Fatalf("read %+v, %v", g, err)
	}
	spec.VM, spec.Definition = g.VM, g.Definition
	if err := d.Offer(t.Context(), monitor, g.VM, spec.RunDir); err != nil {
		t.Fatal(err)
	}
	// Where its record would be a file is in the way.
	if err := os.WriteFile(hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := d.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "make the machine's run directory") {
		t.Fatalf("started %v, %v", m, err)
	}
	before := count(t, spec)
	hypervisortest.Until(t, "it runs on", func() bool { return count(t, spec).Last > before.Last+2 })
	ended := make(chan error, 1)
	go func() { _, err := process.Wait(); ended <- err }()
	tellAt(t, serial, "q")
	select {
	case <-ended:
	case <-time.After(hypervisortest.Limit):
		t.Error("its guest has switched itself off, and QEMU stays")
	}
}

func TestActionsOf(t *testing.T) {
	for words, want := range map[string]string{"": "poweroff shutdown", "-no-shutdown -m 1": "pause shutdown", "-action panic=none": "poweroff none",
		"-action shutdown=pause,panic=exit-failure,watchdog=none": "pause exit-failure"} {
		got := actionsOf(strings.Fields(words))
		if got["shutdown"]+" "+got["panic"] != want || len(got) != 2 {
			t.Errorf("%q: %v, want %s", words, got, want)
		}
	}
}

// A guest that can't be taken over runs on, and no second one is started beside it.
func TestTakeOverRefused(t *testing.T) {
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	disk := filepath.Join(spec.DatastorePath, "disk.img")
	// Nothing can be done about nodes that were given one by one.
	monitor, _ := byHand(t, spec, "-blockdev", "driver=file,filename="+disk+",node-name=f", "-blockdev", "driver=raw,file=f,node-name=r", "-device", "ide-hd,drive=r")
	ticking(t, spec)
	g, err := New("").Read(t.Context(), monitor, "", []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}})
	if err != nil || len(g.Problems) == 0 || g.Definition != nil || !strings.Contains(g.Problems[0], "cache.direct=on") {
		t.Errorf("read %+v, %v", g, err)
	}
	spec.VM, spec.Definition = g.VM, []byte(guest)
	if err := New("").Offer(t.Context(), monitor, g.VM, spec.RunDir); err != nil {
		t.Fatal(err)
	}
	if m, err := New("").Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "cache.direct=on") {
		t.Errorf("started %v, %v", m, err)
	}
	before := count(t, spec)
	hypervisortest.Until(t, "it runs on", func() bool { return count(t, spec).Last > before.Last+2 })
	elsewhere, err := New("").Read(t.Context(), monitor, "", []hypervisor.Place{{Name: "nfs1", Path: "/nowhere"}})
	if err != nil || len(elsewhere.Problems) == 0 || !strings.Contains(elsewhere.Problems[0], disk) {
		t.Errorf("read %+v, %v", elsewhere, err)
	}
}

// TestExport holds command lines against what becomes of them.
func TestExport(t *testing.T) {
	tests := map[string]struct {
		args []string
		want []string // "" for whatever there is
		says string   // among problems
	}{
		"plain": {[]string{"-m", "512", "-smp", "2", "-hda", "a.img", "-nographic", "-daemonize", "-pidfile", "/run/x", "-enable-kvm"},
			[]string{"-m", "512", "-smp", "2", "-drive", "file={{datastore}}/a.img,if=ide,index=0,media=disk,format=qcow2,cache=none", "-nographic"}, ""},
		"options of the machine": {[]string{"-machine", "q35,accel=kvm,usb=off", "-vnc", ":1"}, []string{"-machine", "usb=off", "-vnc", ":1"}, ""},
		"drives": {[]string{"-drive", "file=/ds/a.img,if=virtio,cache=writeback,werror=report", "-drive", "file=/fast/b.img,if=none,id=b,format=raw", "-device", "virtio-blk,drive=b"},
			[]string{"-drive", "file={{datastore}}/a.img,if=virtio,cache=none,format=qcow2", "-drive", "file={{datastore fast}}/b.img,if=none,id=b,format=raw,cache=none", "-device", "virtio-blk,drive=b", "-display", "none"}, ""},
		"monitors":   {[]string{"-chardev", "socket,id=m,path=/run/m,server=on", "-mon", "chardev=m,mode=control", "-monitor", "stdio", "-display", "none"}, []string{"-display", "none"}, ""},
		"elsewhere":  {[]string{"-drive", "file=/var/x.img"}, nil, "no file on a datastore"},
		"passed":     {[]string{"-device", "vfio-pci,host=1"}, nil, "vfio-pci"},
		"vhost-user": {[]string{"-netdev", "vhost-user,chardev=c"}, nil, "vhost-user"},
		"folder":     {[]string{"-virtfs", "local,path=/x"}, nil, "folder"},
		"no lock":    {[]string{"-drive", "file=/ds/a.img,file.locking=off"}, nil, "image lock"},
		"snapshot":   {[]string{"-snapshot"}, nil, "decided by the driver"},
		"braces":     {[]string{"-append", "{{x}}"}, nil, "{{"},
		"half":       {[]string{"-m"}, nil, "no value"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &running{args: test.args, folder: "/ds", VM: uuid.New(), Type: "pc-q35-7.2", Memory: 512 << 20}
			if err := json.Unmarshal([]byte(`[{"inserted": {"file": "/ds/a.img", "drv": "qcow2"}}]`), &r.Disks); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(test.args, func(a string) bool { return strings.Contains(a, "a.img") }) {
				r.args = slices.Concat([]string{"-drive", "file=a.img,if=virtio"}, r.args)
				if test.want != nil {
					test.want = slices.Concat([]string{"-drive", "file={{datastore}}/a.img,if=virtio,cache=none,format=qcow2"}, test.want)
				}
			}
			g, err := r.guest("web", []hypervisor.Place{{Name: "fast", Path: "/fast"}, {Name: "nfs1", Path: "/ds"}})
			if err != nil {
				t.Fatal(err)
			}
			if said := strings.Join(g.Problems, "; "); test.says != "" && !strings.Contains(said, test.says) || test.says == "" && said != "" {
				t.Fatalf("problems %q, want %q", said, test.says)
			}
			var d Definition
			if test.want == nil {
				return
			}
			if err := json.Unmarshal(g.Definition, &d); err != nil || !slices.Equal(d.Args, test.want) || d.MemoryMiB != 512 || d.Machine != "pc-q35-7.2" || !d.Bare {
				t.Errorf("%v\n got %q\nwant %q", err, d.Args, test.want)
			}
		})
	}
}

// What a watchdog was told to do by hand is lost with the next start, and that is said.
func TestExportOfWatchdogAction(t *testing.T) {
	for words, want := range map[string]bool{"-watchdog-action poweroff": true, "-action panic=none,watchdog=pause": true, "-watchdog-action reset": false, "-action panic=none": false} {
		e := exporting{running: &running{args: strings.Fields(words)}}
		e.definition()
		if got := strings.Contains(strings.Join(e.warnings, "; "), "its watchdog does"); got != want {
			t.Errorf("%s: warnings %q", words, e.warnings)
		}
	}
}
