package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/qemu/bootsector"
	"storebeat/agent/hypervisor/qmp"
	"storebeat/test/faultfs"
)

func TestMain(m *testing.M) {
	hypervisortest.DieAsAgent(New(""))
	os.Exit(m.Run())
}

// needQEMU skips a test that can't have real guests.
func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := New("").Binary(); err != nil {
		t.Skip(err)
	}
}

const guest = `{"memory_mib": 1, "disks": [{"path": "disk.img", "interface": "ide"}], "serial_log": "tick.log"}`

// defineGuest puts the boot-sector guest on the datastore.
func defineGuest(t testing.TB, spec hypervisor.Spec) []byte {
	t.Helper()
	if err := bootsector.WriteDisk(filepath.Join(spec.DatastorePath, "disk.img")); err != nil {
		t.Fatal(err)
	}
	return []byte(guest)
}

func TestConformance(t *testing.T) {
	needQEMU(t)
	hypervisortest.Run(t, hypervisortest.Fixture{
		New:    func() hypervisor.Driver { return New("") },
		Define: defineGuest, HasDisk: true,
		Count: count,
		SwitchOff: func(t testing.TB, spec hypervisor.Spec, _ hypervisor.Machine) {
			tell(t, spec, "q")
		},
		Broken: map[string][]byte{
			"no such disk":    []byte(`{"memory_mib": 1, "disks": [{"path": "none.img"}]}`),
			"no such machine": []byte(`{"memory_mib": 1, "machine": "abacus"}`),
			"wrong format":    []byte(`{"memory_mib": 1, "disks": [{"path": "disk.img", "format": "qcow2"}]}`),
			"no such option":  []byte(`{"memory_mib": 1, "args": ["-abacus"]}`),
		},
	})
}

func count(t testing.TB, spec hypervisor.Spec) hypervisortest.Count {
	t.Helper()
	return hypervisortest.CountIn(t, filepath.Join(spec.DatastorePath, "tick.log"))
}

// tell sends a byte to the guest's serial port.
func tell(t testing.TB, spec hypervisor.Spec, command string) {
	t.Helper()
	tellAt(t, SerialSocket(spec), command)
}

func tellAt(t testing.TB, socket, command string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command)); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, spec hypervisor.Spec) hypervisor.Machine {
	t.Helper()
	m, err := New("").Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ticking(t *testing.T, spec hypervisor.Spec) {
	t.Helper()
	hypervisortest.Until(t, "the guest ticks", func() bool { return count(t, spec).Last >= 2 })
}

func TestSecondStartOnLockedDisk(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	first := start(t, spec)
	other := hypervisortest.NewSpec(t)
	other.DatastorePath, other.Definition = spec.DatastorePath, spec.Definition
	disk := filepath.Join(spec.DatastorePath, "disk.img")
	for _, when := range []string{"never let go", "running", "frozen"} {
		switch when {
		case "running":
			hypervisortest.Thaw(t, first.Handle())
			ticking(t, spec)
		case "frozen":
			hypervisortest.Freeze(t, first.Handle())
		}
		_, err := New("").Start(t.Context(), other)
		if !errors.Is(err, hypervisor.ErrLocked) || !strings.Contains(err.Error(), disk) {
			t.Errorf("%s: second start: %v; want %v naming %s", when, err, hypervisor.ErrLocked, disk)
		}
	}
	if err := first.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Kill is true only once the lock is free.
	start(t, other)
}

func TestGuestPanicIsCrash(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	m := start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	ticking(t, spec)
	tell(t, spec, "p")
	hypervisortest.Ended(t, m, hypervisor.Crashed)
	if !strings.Contains(m.Exit().Detail, "panicked") {
		t.Errorf("exit %v does not mention the panic", m.Exit())
	}
	expectIncident(t, m, hypervisor.GuestPanicked)
}

// expectIncident waits for an incident and takes it, with those before it.
func expectIncident(t *testing.T, m hypervisor.Machine, kind hypervisor.IncidentKind) (i hypervisor.Incident) {
	t.Helper()
	hypervisortest.Until(t, fmt.Sprintf("incident %d is told", kind), func() bool {
		select {
		case i = <-m.Incidents():
			return i.Kind == kind
		default:
			return false
		}
	})
	return i
}

// with runs the boot-sector guest with further settings.
func with(t *testing.T, settings string) (hypervisor.Spec, hypervisor.Machine) {
	t.Helper()
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	spec.Definition = []byte(strings.TrimSuffix(guest, "}") + ", " + settings + "}")
	m := start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	ticking(t, spec)
	return spec, m
}

// A guest that hangs and does not feed its watchdog has crashed, or is reset, as its
// user likes it.
func TestWatchdog(t *testing.T) {
	t.Run("crash", func(t *testing.T) {
		spec, m := with(t, `"watchdog": {"model": "ib700"}`)
		tell(t, spec, "w")
		hypervisortest.Ended(t, m, hypervisor.Crashed)
		if !strings.Contains(m.Exit().Detail, "watchdog") {
			t.Errorf("exit %v does not mention the watchdog", m.Exit())
		}
		expectIncident(t, m, hypervisor.GuestWatchdog)
	})
	t.Run("reset", func(t *testing.T) {
		spec, m := with(t, `"watchdog": {"model": "ib700", "action": "reset"}`)
		tell(t, spec, "w")
		expectIncident(t, m, hypervisor.GuestWatchdog)
		expectIncident(t, m, hypervisor.GuestReset)
		hypervisortest.Until(t, "the guest boots again", func() bool {
			log, err := os.ReadFile(filepath.Join(spec.DatastorePath, "tick.log"))
			return err == nil && strings.Count(string(log), "BOOT") == 2
		})
		if exit := m.Exit(); exit.Kind != hypervisor.NotEnded {
			t.Errorf("the guest has ended: %v", exit)
		}
	})
}

// What a user does in a monitor of their own is told, and an end by it is their will.
func TestUserOfTheMonitor(t *testing.T) {
	spec, m := with(t, `"args": ["-qmp", "unix:{{datastore}}/mine,server=on,wait=off"]`)
	mine, err := qmp.Dial(t.Context(), filepath.Join(spec.DatastorePath, "mine"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	hypervisortest.Until(t, "the agent knows that it runs", func() bool { return m.Condition().Guest == "running" })
	do := func(command string) {
		t.Helper()
		if err := mine.Execute(t.Context(), command, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	do("stop")
	expectIncident(t, m, hypervisor.GuestPaused)
	do("cont")
	expectIncident(t, m, hypervisor.GuestResumed)
	do("system_reset")
	if i := expectIncident(t, m, hypervisor.GuestReset); !strings.Contains(i.Detail, "host-qmp") {
		t.Errorf("told as %+v", i)
	}
	do("quit")
	hypervisortest.Ended(t, m, hypervisor.Destroyed)
}

func TestGuestSwitchedOffWithoutAgent(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	first := start(t, spec).(*machine)
	hypervisortest.Thaw(t, first.Handle())
	ticking(t, spec)
	// The agent is as good as dead once it has let go of the monitor. It must
	// not come back by itself either, so the socket's name is taken away.
	hidden := first.at.monitor + ".hidden"
	if err := os.Rename(first.at.monitor, hidden); err != nil {
		t.Fatal(err)
	}
	first.mu.Lock()
	_ = first.session.Close()
	first.mu.Unlock()
	hypervisortest.Until(t, "session is over", func() bool { return first.Condition().Monitor == hypervisor.Connecting })
	tell(t, spec, "q")
	before := count(t, spec)
	hypervisortest.Until(t, "the guest has stopped", func() bool {
		now := count(t, spec)
		same := now == before
		before = now
		return same && diskAgrees(t, spec, now)
	})
	if err := os.Rename(hidden, first.at.monitor); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Ended(t, first, hypervisor.GuestShutDown)
}

// An agent may die before it has stopped the QEMU it has just started. Who
// adopts that must not be the one to let it run.
func TestAdoptNewborn(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	first, config, err := New("").prepare(spec)
	if err != nil {
		t.Fatal(err)
	}
	if first.Process, err = leader.Start(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	found, err := New("").Find(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 || !found[0].Newborn {
		t.Fatalf("found %+v, %v", found, err)
	}
	m, err := New("").Adopt(t.Context(), found[0])
	if err != nil {
		t.Fatal(err)
	}
	if state, err := m.Handle().State(); err != nil || state != freeze.Frozen {
		t.Errorf("a newborn machine is %v after adoption, %v", state, err)
	}
	if c := count(t, spec); c.Boots != 0 {
		t.Errorf("a newborn machine has executed: %+v", c)
	}
	again, err := New("").Find(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(again) != 1 || again[0].Newborn {
		t.Errorf("after adoption found %+v, %v", again, err)
	}
	hypervisortest.Thaw(t, m.Handle())
	ticking(t, spec)
}

func diskAgrees(t *testing.T, spec hypervisor.Spec, c hypervisortest.Count) bool {
	t.Helper()
	return uint64(hypervisortest.CountOn(t, filepath.Join(spec.DatastorePath, "disk.img"))) == c.Last
}

func TestConditionTellsFrozenFromRunning(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	m := start(t, spec)
	if c := m.Condition(); c.Monitor == hypervisor.Answering {
		t.Errorf("a frozen QEMU answers: %+v", c)
	}
	hypervisortest.Until(t, "the monitor counts as silent", func() bool { return m.Condition().Monitor == hypervisor.Silent })
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "the guest is said to run", func() bool {
		c := m.Condition()
		return c.Monitor == hypervisor.Answering && c.Guest == "running"
	})
	if err := m.Shutdown(t.Context()); err != nil {
		t.Errorf("ask a guest that has no ears for power buttons: %v", err)
	}
	ticking(t, spec)
	if exit := m.Exit(); exit.Kind != hypervisor.NotEnded {
		t.Errorf("the guest has ended: %v", exit)
	}
}

// TestFailedDiskIsTriedAgain has a guest's disk fail: the guest is stopped and does not
// hear of it, and goes on by itself when the disk works again.
func TestFailedDiskIsTriedAgain(t *testing.T) {
	needQEMU(t)
	if err := faultfs.Available(); err != nil {
		t.Skip(err)
	}
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	disk := filepath.Join(spec.DatastorePath, "disk.img")
	mount, err := faultfs.New(spec.DatastorePath, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mount.Close() })
	spec.DatastorePath, spec.Definition = mount.Path(), []byte(`{"memory_mib": 1, "disks": [{"path": "disk.img", "interface": "ide"}]}`)
	m := start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	newest := func() uint32 { return hypervisortest.CountOn(t, disk) }
	hypervisortest.Until(t, "the guest writes", func() bool { return newest() >= 2 })
	mount.Fail(syscall.EIO)
	tried := mount.Counts()[faultfs.Write]
	hypervisortest.Until(t, "the guest is stopped, and what failed is tried again in vain", func() bool {
		return m.Condition().Guest == ioError && mount.Counts()[faultfs.Write] > tried+1
	})
	expectIncident(t, m, hypervisor.GuestDiskFailed)
	was := newest()
	mount.Heal()
	hypervisortest.Until(t, "the guest goes on", func() bool { return m.Condition().Guest == "running" && newest() > was+2 })
	if i := expectIncident(t, m, hypervisor.GuestDiskRecovered); i.Detail != "" {
		t.Errorf("told as %+v", i)
	}
	heedsAPauseMeanwhile(t, m.(*machine))
	if err := m.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRunDirTooLong(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	spec.Definition = defineGuest(t, spec)
	spec.RunDir = filepath.Join(spec.RunDir, strings.Repeat("x", 80))
	_, err := New("").Start(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), spec.RunDir) || !strings.Contains(err.Error(), "107") {
		t.Errorf("start: %v; want an error with the path and the limit", err)
	}
}

// A datastore that this host can't use is named, with those that it can.
func TestOtherDatastores(t *testing.T) {
	spec := hypervisor.Spec{Name: "name", DatastorePath: "/ds", Others: []hypervisor.Place{{Name: "fast", Path: "/fast"}}, Definition: []byte(`{"memory_mib": 1, "disks": [{"path": "a"}, {"path": "b", "datastore": "slow"}]}`)}
	if err := New("").Validate(spec); err == nil || !strings.Contains(err.Error(), `"slow"`) || !strings.Contains(err.Error(), `"fast"`) {
		t.Errorf("got %v", err)
	}
}

// TestTwoDisks boots a guest with a disk on another datastore, and sees both locked.
func TestTwoDisks(t *testing.T) {
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "data.img"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Others = []hypervisor.Place{{Name: "fast", Path: other}}
	spec.Definition = []byte(`{"memory_mib": 1, "disks": [{"path": "disk.img", "interface": "ide"}, {"path": "data.img", "datastore": "fast"}], "serial_log": "tick.log"}`)
	m := start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	ticking(t, spec)
	second := hypervisortest.NewSpec(t)
	second.Others, second.Definition = spec.Others, []byte(`{"memory_mib": 1, "disks": [{"path": "data.img", "datastore": "fast"}]}`)
	if _, err := New("").Start(t.Context(), second); !errors.Is(err, hypervisor.ErrLocked) || !strings.Contains(err.Error(), "data.img") {
		t.Errorf("the second disk is not locked: %v", err)
	}
	second.Others = []hypervisor.Place{}
	if _, err := New("").Start(t.Context(), second); err == nil || !strings.Contains(err.Error(), `datastore "fast" can't be used`) {
		t.Errorf("started without its second datastore: %v", err)
	}
}

func TestPin(t *testing.T) {
	needQEMU(t)
	types, err := New("").types(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pc, q35 := types["pc"], types["q35"]
	if pc == "pc" || q35 == "q35" || types[pc] != pc {
		t.Fatalf("types %v", types)
	}
	old, err := json.Marshal(Definition{MemoryMiB: 1, Machine: "pc-i440fx-4.2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		machine, want string
		before        []byte
	}{{"", pc, nil}, {"pc", pc, nil}, {"q35", q35, nil}, {"pc-q35-6.2", "pc-q35-6.2", nil}, {"pc", "pc-i440fx-4.2", old}, {"q35", q35, old}, {pc, pc, old}} {
		pinned, err := New("").Pin(t.Context(), []byte(`{"memory_mib": 1, "machine": "`+c.machine+`", "disks": [{"path": "{{vm}}.img"}]}`), c.before)
		var d Definition
		if err != nil || json.Unmarshal(pinned, &d) != nil || d.Machine != c.want || d.Disks[0].Path != "{{vm}}.img" {
			t.Errorf("%q became %s, %v; want %s", c.machine, pinned, err, c.want)
		}
	}
	if _, err := New("").Pin(t.Context(), []byte(`{"memory_mib": 1, "machine": "pc-q35-99.9"}`), nil); err == nil || !strings.Contains(err.Error(), q35) || strings.Contains(err.Error(), "i440fx") {
		t.Errorf("an unknown type: %v", err)
	}
	spec := hypervisortest.NewSpec(t)
	spec.Definition = []byte(`{"memory_mib": 1, "machine": "pc-q35-99.9"}`)
	if _, err := New("").Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), q35) {
		t.Errorf("a start with an unknown type: %v", err)
	}
}

func TestValidate(t *testing.T) {
	disk := func(d Disk) string {
		text, err := json.Marshal(Definition{MemoryMiB: 1, Disks: []Disk{d}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tests := map[string]struct{ definition, want string }{
		"good":              {guest, ""},
		"placeholder":       {disk(Disk{Path: "{{datastore}}/{{name}}/{{vm}}-{{generation}}.img", Format: "qcow2"}), ""},
		"empty":             {``, "JSON"},
		"no object":         {`[]`, "JSON"},
		"unknown field":     {`{"memory_mib": 1, "disk": 1}`, "disk"},
		"two objects":       {`{"memory_mib": 1}{}`, "goes on"},
		"no memory":         {`{}`, "memory_mib is 0"},
		"negative cpus":     {`{"memory_mib": 1, "cpus": -1}`, "cpus is -1"},
		"machine options":   {`{"memory_mib": 1, "machine": "pc,accel=kvm"}`, "machine type"},
		"outside":           {disk(Disk{Path: "../other/disk.img"}), "outside"},
		"absolute":          {disk(Disk{Path: "/etc/passwd"}), "outside"},
		"no path":           {disk(Disk{}), "empty"},
		"bad format":        {disk(Disk{Path: "a", Format: "vhs"}), "vhs"},
		"bad interface":     {disk(Disk{Path: "a", Interface: "scart"}), "scart"},
		"bad placeholder":   {disk(Disk{Path: "{{host}}"}), "{{host}}"},
		"open placeholder":  {disk(Disk{Path: "{{vm"}), "{{vm"},
		"reserved":          {`{"memory_mib": 1, "args": ["--daemonize"]}`, "decided by the driver"},
		"log outside":       {`{"memory_mib": 1, "serial_log": "/var/log/x"}`, "serial_log"},
		"locks off":         {`{"memory_mib": 1, "args": ["-drive", "file={{datastore}}/a,cache=none,file.locking=off"]}`, "image lock"},
		"host's cache":      {`{"memory_mib": 1, "args": ["-drive", "file={{datastore}}/a"]}`, "cache=none"},
		"unsafe cache":      {`{"memory_mib": 1, "args": ["-drive", "file={{datastore}}/a,cache=unsafe"]}`, "cache=unsafe"},
		"good drive":        {`{"memory_mib": 1, "args": ["-drive", "file={{datastore}}/a,cache=none,if=virtio"]}`, ""},
		"other drive":       {`{"memory_mib": 1, "args": ["-drive", "file={{datastore nfs2}}/a,cache=directsync"]}`, ""},
		"drive elsewhere":   {`{"memory_mib": 1, "args": ["-drive", "file=/var/lib/a,cache=none"]}`, "no file on a datastore"},
		"drive by network":  {`{"memory_mib": 1, "args": ["-drive", "file=nbd://h/a,cache=none"]}`, "no file on a datastore"},
		"network node":      {`{"memory_mib": 1, "args": ["-blockdev", "driver=rbd,pool=a,image=b,node-name=x"]}`, "rbd"},
		"CD-ROM":            {`{"memory_mib": 1, "args": ["-drive", "file=/iso/debian.iso,media=cdrom"]}`, ""},
		"telling the guest": {`{"memory_mib": 1, "args": ["-device", "{\"driver\":\"ide-hd\",\"drive\":\"x\",\"werror\":\"report\"}"]}`, "werror=report"},
		"thrown away":       {`{"memory_mib": 1, "args": ["-drive", "file={{datastore}}/a,cache=none,snapshot=on"]}`, "snapshot=on"},
		"snapshot":          {`{"memory_mib": 1, "args": ["-snapshot"]}`, "decided by the driver"},
		"incoming":          {`{"memory_mib": 1, "args": ["-incoming", "tcp:0:4444"]}`, "decided by the driver"},
		"runas":             {`{"memory_mib": 1, "args": ["-runas", "nobody"]}`, "-runas"},
		"passthrough":       {`{"memory_mib": 1, "args": ["-device", "vfio-pci,host=01:00.0"]}`, "vfio-pci"},
		"vhost-user":        {`{"memory_mib": 1, "args": ["-netdev", "vhost-user,chardev=c"]}`, "vhost-user"},
		"shared folder":     {`{"memory_mib": 1, "args": ["-virtfs", "local,path=/"]}`, "folder"},
		"type in args":      {`{"memory_mib": 1, "args": ["-M", "q35"]}`, "pinned"},
		"bare image":        {`{"memory_mib": 1, "args": ["a.img"]}`, "page cache"},
		"half an option":    {`{"memory_mib": 1, "args": ["-drive"]}`, "no value"},
		"other datastore":   {disk(Disk{Path: "a", Datastore: "nfs2"}), ""},
		"out of the other":  {disk(Disk{Path: "../a", Datastore: "nfs2"}), "outside"},
		"both networks":     {`{"memory_mib": 1, "nics": [{"bridge": "br0", "tap": "t"}]}`, "either bridge or tap"},
		"group address":     {`{"memory_mib": 1, "nics": [{"bridge": "br0", "mac": "01:00:00:00:00:00"}]}`, "01:00"},
		"options in CPU":    {`{"memory_mib": 1, "cpu": "max -S"}`, "CPU model"},
		"firmware":          {`{"memory_mib": 1, "firmware": {"code": "x", "vars": "../v"}}`, "whole path"},
		"several":           {`{"memory_mib": 0, "cpus": 0, "args": ["-S"]}`, "args: -S"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := New("").Validate(hypervisor.Spec{Name: "name", DatastorePath: "/ds", Definition: []byte(test.definition)})
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not mention %q", err, test.want)
			}
		})
	}
}
