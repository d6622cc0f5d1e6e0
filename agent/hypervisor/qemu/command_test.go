package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/qmp"
)

func TestCommandLine(t *testing.T) {
	spec := hypervisor.Spec{VM: uuid.Nil, Name: "web,1", Generation: 2, DatastorePath: "/ds", Others: []hypervisor.Place{{Name: "fast", Path: "/fast"}}, RunDir: "/run/s"}
	d, err := decode([]byte(`{"memory_mib": 128, "cpus": 2, "cpu": "qemu64", "machine": "pc-q35-7.2", "disks": [{"path": "a,b\".img"}, {"path": "c", "datastore": "fast", "interface": "scsi"}],
		"serial_log": "l,og", "args": ["-nic", "user,id={{name}}", "-drive", "if=virtio,cache=none,file={{datastore fast}}/d"],
		"nics": [{"bridge": "br0"}, {"tap": "t0", "model": "e1000", "mac": "52:54:00:00:00:01"}], "vnc": "socket",
		"firmware": {"code": "/fw/code", "vars": "vars"}, "watchdog": {"action": "reset"}, "guest_agent": true}`), spec)
	if err != nil {
		t.Fatal(err)
	}
	at := placesOf(spec.RunDir, spec.Marker())
	got, err := commandLine("/bin/qemu", d, spec, at, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/bin/qemu", "-name", "guest=web,,1,debug-threads=on", "-uuid", uuid.Nil.String(),
		"-no-user-config", "-nodefaults", "-display", "none", "-vga", "none",
		"-S", "-action", "shutdown=pause,panic=pause,watchdog=reset", "-M", "pc-q35-7.2,pflash0=code,pflash1=vars", "-m", "128", "-smp", "2",
		"-qmp", "unix:/run/s/00000000-0000-0000-0000-000000000000-2/qmp,server=on,wait=off",
		"-chardev", "socket,id=serial0,path=/run/s/00000000-0000-0000-0000-000000000000-2/serial,server=on,wait=off,logfile=/ds/l,,og,logappend=on",
		"-serial", "chardev:serial0", "-accel", "tcg", "-cpu", "qemu64", "-device", "pvpanic", "-device", "virtio-scsi-pci,id=scsi0",
		"-blockdev", `{"driver":"raw","node-name":"disk0","cache":{"direct":true},"file":{"driver":"file","cache":{"direct":true},"filename":"/ds/a,b\".img","aio":"threads","locking":"on"}}`,
		"-device", "virtio-blk-pci,drive=disk0,werror=stop,rerror=stop",
		"-blockdev", `{"driver":"raw","node-name":"disk1","cache":{"direct":true},"file":{"driver":"file","cache":{"direct":true},"filename":"/fast/c","aio":"threads","locking":"on"}}`,
		"-device", "scsi-hd,bus=scsi0.0,drive=disk1,werror=stop,rerror=stop",
		"-netdev", "bridge,br=br0,id=net0", "-device", "virtio-net-pci,netdev=net0,mac=" + addressOf(spec, 0),
		"-netdev", "tap,script=no,downscript=no,ifname=t0,id=net1", "-device", "e1000,netdev=net1,mac=52:54:00:00:00:01",
		"-blockdev", `{"driver":"raw","node-name":"code","cache":{"direct":false},"read-only":true,"file":{"driver":"file","cache":{"direct":false},"filename":"/fw/code"}}`,
		"-blockdev", `{"driver":"raw","node-name":"vars","cache":{"direct":true},"file":{"driver":"blkdebug","cache":{"direct":true},"image":{"driver":"file","cache":{"direct":true},"filename":"/ds/vars","aio":"threads","locking":"on"},"unshare-child-perms":["write"]}}`,
		"-device", "VGA", "-vnc", "unix:/run/s/00000000-0000-0000-0000-000000000000-2/vnc", "-device", "qemu-xhci", "-device", "usb-tablet", "-device", "i6300esb",
		"-device", "virtio-serial-pci,id=channels", "-chardev", "socket,id=agent0,path=/run/s/00000000-0000-0000-0000-000000000000-2/agent,server=on,wait=off",
		"-device", "virtserialport,bus=channels.0,chardev=agent0,name=org.qemu.guest_agent.0",
		"-nic", "user,id=web,1", "-drive", "if=virtio,cache=none,file=/fast/d,werror=stop,rerror=stop",
	}
	if diff := cmp.Diff([]string{"/ds/a,b\".img", "/fast/c", "/ds/vars", "/fast/d"}, d.disks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAccelerator(t *testing.T) {
	tests := map[string]struct {
		accel  string
		memory int
		kvm    bool
		want   string
	}{
		"auto with KVM":    {"auto", 512, true, "kvm"},
		"auto without":     {"auto", 512, false, "tcg"},
		"tiny":             {"auto", 1, false, "tcg,tb-size=4"},
		"emulation wanted": {"tcg", 512, true, "tcg"},
		"KVM wanted":       {"kvm", 512, false, "kvm"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := accelerator(Definition{Accel: test.accel, MemoryMiB: test.memory}, test.kvm)
			if got[1] != test.want {
				t.Errorf("got %q, want %q", got[1], test.want)
			}
		})
	}
}

func TestHardwareVirtualization(t *testing.T) {
	tests := map[string]bool{
		"model name\t: vmx\nflags\t\t: fpu vmx sse\n": true,
		"flags\t\t: fpu svm\n":                        true,
		"flags\t\t: fpu sse\nvmx flags\t: ept\n":      false,
		"":                                            false,
	}
	for text, want := range tests {
		path := filepath.Join(t.TempDir(), "cpuinfo")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := hardwareVirtualization(path); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if hardwareVirtualization("/nonexistent") {
		t.Error("a missing file has flags")
	}
}

func TestPlacesRefuseComma(t *testing.T) {
	err := placesOf("/run/a,b", hypervisor.Marker{}).check()
	if err == nil || !strings.Contains(err.Error(), "comma") {
		t.Errorf("got %v", err)
	}
}

func TestEvents(t *testing.T) {
	tests := map[string]struct {
		event     qmp.Event
		condition hypervisor.Condition
		over      string
	}{
		"guest off":    {qmp.Event{Name: "SHUTDOWN", Data: []byte(`{"guest": true, "reason": "guest-shutdown"}`)}, hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "shutdown"}, "shutdown"},
		"host off":     {qmp.Event{Name: "SHUTDOWN", Data: []byte(`{"guest": false, "reason": "host-signal"}`)}, hypervisor.Condition{}, ""},
		"panic":        {qmp.Event{Name: "GUEST_PANICKED", Data: []byte(`{"action": "pause"}`)}, hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "guest-panicked"}, "guest-panicked"},
		"panic as off": {qmp.Event{Name: "SHUTDOWN", Data: []byte(`{"guest": true, "reason": "guest-panic"}`)}, hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "guest-panicked"}, "guest-panicked"},
		"I/O error":    {qmp.Event{Name: "BLOCK_IO_ERROR", Data: []byte(`{"node-name": "disk0", "operation": "write", "reason": "No space left on device"}`)}, hypervisor.Condition{Detail: "write of disk0 failed: No space left on device"}, ""},
		"damaged":      {qmp.Event{Name: "SHUTDOWN", Data: []byte(`[`)}, hypervisor.Condition{}, ""},
		"no data":      {qmp.Event{Name: "BLOCK_IO_ERROR"}, hypervisor.Condition{}, ""},
		"unknown":      {qmp.Event{Name: "SUNRISE"}, hypervisor.Condition{}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(places{})
			m.condition = hypervisor.Condition{}
			m.Process = &leader.Process{} // it takes no incidents, and nobody waits for it
			m.hear(test.event)
			if diff := cmp.Diff(test.condition, m.Condition()); diff != "" || m.over != test.over {
				t.Errorf("over %q, want %q; condition %s", m.over, test.over, diff)
			}
		})
	}
}

// What more room mends is no sign that a guest has lost its hold on its disks.
func TestIOErrorsAreToldApart(t *testing.T) {
	m := newMachine(places{})
	m.Process = &leader.Process{}
	m.hear(qmp.Event{Name: "BLOCK_IO_ERROR", Data: []byte(`{"node-name": "disk0", "operation": "write", "reason": "No space left on device", "nospace": true}`)})
	if !m.trouble.full || m.trouble.last.IsZero() {
		t.Errorf("a full disk: %+v", m.trouble)
	}
	m.hear(qmp.Event{Name: "BLOCK_IO_ERROR", Data: []byte(`{"node-name": "disk0", "operation": "write", "reason": "Input/output error", "nospace": false}`)})
	if m.trouble.full {
		t.Errorf("a request that failed: %+v", m.trouble)
	}
	m.trouble.vain = 3
	m.guestIs("running")
	if m.trouble.vain != 3 {
		t.Error("forgotten at once, though the next request may fail as well")
	}
	m.trouble.last = time.Now().Add(-time.Minute)
	m.guestIs("running")
	if m.trouble.vain != 0 {
		t.Error("not forgotten, though all has been well for a minute")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(guest))
	f.Add([]byte(`{"memory_mib": 128, "disks": [{"path": "{{vm}}", "format": "qcow2"}], "args": ["-S"]}`))
	f.Add([]byte(`{"memory_mib": 1, "args": ["-drive", "cache=none,file={{datastore fast}}/../etc/x", "-device", "{\"driver\":\"ide-hd\",\"drive\":\"a\"}", "-blockdev", "file,,x,cache.direct=on,filename=/ds/a"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, definition []byte) {
		d, err := decode(definition, hypervisor.Spec{DatastorePath: "/ds", Others: []hypervisor.Place{{Name: "fast", Path: "/fast"}}, Name: "n"})
		if err != nil {
			return
		}
		for _, disk := range d.disks {
			if !strings.HasPrefix(disk, "/ds") && !strings.HasPrefix(disk, "/fast/") {
				t.Errorf("%q leads to %s", definition, disk)
			}
		}
	})
}
