package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent/demo/cluster"
	"storebeat/agent/hypervisor/qemu/bootsector"
)

// TestGuestStartedByHand protects a QEMU guest that runs already, by its monitor: it goes
// on without noticing, is found again by a restarted agent, and is started elsewhere,
// from what was read of it, when its host is lost.
func TestGuestStartedByHand(t *testing.T) {
	t.Parallel()
	if driver(t) != "qemu" {
		t.Skip("there are no guests without QEMU")
	}
	l := newLab(t, cluster.Options{Profile: "relaxed"}) // an agent is restarted, which takes a while where much else goes on
	l.protect(1, "process")                             // until then nobody is there to ask
	h := l.other(l.owner(l.machines[0]))
	m := cluster.NewMachine("by-hand", l.Datastores[0], "qemu")
	disk := filepath.Join(m.Home.Path, "by-hand.img")
	if err := bootsector.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	monitor := filepath.Join(h.Dir, "mine")
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg,tb-size=4", "-m", "1", "-nodefaults", "-display", "none", "-uuid", m.VM.String(),
		"-drive", "if=ide,format=raw,file="+disk, "-chardev", "file,id=s0,append=on,path="+m.Console.Path(), "-serial", "chardev:s0", "-qmp", "unix:"+monitor+",server=on,wait=off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	l.await("QEMU to listen", func() (bool, string) { _, err := os.Stat(monitor); return err == nil, "no socket" })
	l.machines = append(l.machines, m)
	go l.watch(m)
	l.awaitTicks(5, m)

	if out, err := l.cli(h, "vm", "protect", "--monitor", monitor, "--name", "by-hand", "--dry-run"); err != nil || !strings.Contains(out, "can be protected") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := l.cli(h, "vm", "protect", "--monitor", monitor, "--name", "by-hand"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if l.owner(m) != h {
		t.Fatalf("it is on %s", l.machine(m).HostName)
	}
	l.awaitTicks(20, m)
	for what, words := range map[string][]string{"show": {"of processor time", "disk ide0-hd0: "}, "export": {`"bare": true`, `file={{datastore}}/by-hand.img`}} {
		l.await("vm "+what+" to tell of the guest on another host", func() (bool, string) {
			out, err := l.cli(l.other(h), "vm", what, m.Name)
			return err == nil && strings.Contains(out, words[0]) && strings.Contains(out, words[1]), fmt.Sprint(err, out)
		})
	}
	l.restartAgent(h)
	l.awaitSettled()
	l.awaitTicks(20, m)
	runs := l.runs()
	if runs[m.Name] != 1 {
		t.Fatalf("it has run %d times", runs[m.Name])
	}
	runs[m.Name]++
	if _, err := h.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.awaitRuns(runs)
	l.awaitSettled()
	l.awaitTicks(20, m)
	l.expectRuns(runs)
}
