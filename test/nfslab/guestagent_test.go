package nfslab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	driver "storebeat/agent/hypervisor/qemu"
)

// guestAgent is Debian's, as it runs in guests.
const guestAgent = "/usr/sbin/qemu-ga"

// withAgent is the first process of a guest that has it. What ends such a guest is the
// command that the agent calls.
const withAgent = `#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
mkdir -p /dev/virtio-ports
for p in /sys/class/virtio-ports/*; do ln -s /dev/$(basename $p) /dev/virtio-ports/$(cat $p/name); done
echo "READY"
qemu-ga -t /run -f /run/pid -l /run/log
`

const shutdownCommand = "#!/bin/sh\necho ASKED $* > /dev/console\npoweroff -f\n"

// TestGuestAgent boots a guest with the real guest agent, and asks it to shut down. The
// guest does not listen to its power button: nothing in it handles that.
func TestGuestAgent(t *testing.T) {
	if err := errors.Join(Available(), exec.Command(guestAgent, "--version").Run()); err != nil {
		t.Skip(err)
	}
	spec := hypervisortest.NewSpec(t)
	if err := agentFiles(filepath.Join(spec.DatastorePath, "initrd")); err != nil {
		t.Fatal(err)
	}
	k, err := findKernel()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.extract(filepath.Join(spec.DatastorePath, "vmlinux")); err != nil {
		t.Fatal(err)
	}
	spec.Definition = []byte(`{"memory_mib": 160, "machine": "pc", "guest_agent": true, "serial_log": "console.log",
		"args": ["-kernel", "{{datastore}}/vmlinux", "-initrd", "{{datastore}}/initrd", "-append", "console=ttyS0 quiet mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on"]}`)
	m, err := driver.New("").Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	hypervisortest.Thaw(t, m.Handle())
	said := func(word string) func() bool {
		return func() bool {
			log, _ := os.ReadFile(filepath.Join(spec.DatastorePath, "console.log"))
			return strings.Contains(string(log), word)
		}
	}
	hypervisortest.Until(t, "the guest is up", said("READY"))
	hypervisortest.Until(t, "its agent has heard", func() bool { return m.Shutdown(t.Context()) == nil && said("ASKED")() })
	hypervisortest.Ended(t, m, hypervisor.GuestShutDown)
}

// agentFiles makes the guest's file system.
func agentFiles(to string) error {
	k, err := findKernel()
	if err != nil {
		return err
	}
	libraries, err := exec.Command("ldd", guestAgent).Output()
	if err != nil {
		return fmt.Errorf("what %s needs: %w", guestAgent, err)
	}
	var a archive
	a.directories("bin", "sbin", "dev", "proc", "sys", "run", "lib", "lib64", "lib/x86_64-linux-gnu", "modules")
	a.add("init", 0o755, regular, []byte(withAgent))
	a.add("sbin/shutdown", 0o755, regular, []byte(shutdownCommand))
	a.add("bin/sh", 0o777, symlink, []byte("busybox"))
	err = errors.Join(a.file("bin/busybox", "/bin/busybox"), a.file("bin/qemu-ga", guestAgent))
	for word := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			err = errors.Join(err, a.file(strings.TrimPrefix(word, "/"), word))
		}
	}
	files, needsErr := k.needs("virtio_pci", "virtio_console")
	var order strings.Builder
	for _, f := range files {
		fmt.Fprintln(&order, filepath.Base(f))
		err = errors.Join(err, a.file("modules/"+filepath.Base(f), filepath.Join(k.modules, f)))
	}
	a.add("modules/order", 0o644, regular, []byte(order.String()))
	if err := errors.Join(err, needsErr); err != nil {
		return err
	}
	return os.WriteFile(to, a.end(), 0o644)
}
