package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/demo/cluster"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/agent/hypervisor/qemu/bootsector"
	"storebeat/test/program"
)

// libvirtLab is a cluster each of whose hosts has a libvirtd of its own.
type libvirtLab struct {
	*lab
	daemons []*libvirttest.Host
	hooks   []string
}

func newLibvirtLab(t *testing.T) *libvirtLab { return newLibvirtLabWith(t, cluster.Options{}) }

func newLibvirtLabWith(t *testing.T, o cluster.Options) *libvirtLab {
	libvirttest.Need(t)
	l := &libvirtLab{}
	for range 2 {
		l.daemons = append(l.daemons, libvirttest.New(t))
	}
	o.Hosts = len(l.daemons)
	c, err := cluster.Build(withDefaults(t, o))
	if err != nil {
		t.Fatal(err)
	}
	l.lab = &lab{T: t, Cluster: c, ctx: t.Context(), prefix: "vm"}
	for i, h := range c.Hosts {
		text, err := os.ReadFile(h.Config)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), "hypervisor {\n", "hypervisor {\n  drivers = [\"libvirt\"]\n  libvirt_uri = \""+l.daemons[i].URI+"\"\n", 1)
		changed = strings.Replace(changed, `"1 GiB"`, `"8 GiB"`, 1)
		if err := os.WriteFile(h.Config, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range c.Hosts {
		l.hooks = append(l.hooks, fmt.Sprintf("exec %q libvirt-hook --config %q \"$@\"\n", program.Path, h.Config))
		l.daemons[i].Hook(t, l.hooks[i])
	}
	t.Cleanup(l.end)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitMaster()
	return l
}

// guest defines and starts a guest on the first host by hand. Its disk lies in dir.
func (l *libvirtLab) guest(name, dir string) *cluster.Machine {
	l.Helper()
	m, file := l.draft(name, dir)
	l.daemons[0].Virsh(l, "define", file)
	l.daemons[0].Virsh(l, "autostart", name)
	l.daemons[0].Virsh(l, "start", name)
	return m
}

// draft writes the XML of a guest whose disk lies in dir.
func (l *libvirtLab) draft(name, dir string) (m *cluster.Machine, file string) {
	l.Helper()
	m = cluster.NewMachine(name, l.Datastores[0], "libvirt")
	m.Console = cluster.NewConsole(filepath.Join(dir, "tick.log"))
	disk := filepath.Join(dir, "disk.img")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.Fatal(err)
	}
	if err := bootsector.WriteDisk(disk); err != nil {
		l.Fatal(err)
	}
	file = filepath.Join(l.Dir, name+".xml")
	if err := os.WriteFile(file, []byte(libvirttest.Domain(name, m.VM, disk, "/run/"+name+".sock")), 0o600); err != nil {
		l.Fatal(err)
	}
	return m, file
}

// tell sends a command to the guest where it runs.
func (l *libvirtLab) tell(m *cluster.Machine, command string) {
	l.Helper()
	l.tellOn(int(l.owner(m).ID-1), m, command)
}

// tellOn sends a command to the guest that a host's libvirt runs.
func (l *libvirtLab) tellOn(daemon int, m *cluster.Machine, command string) {
	l.Helper()
	conn, err := net.Dial("unix", filepath.Join(l.daemons[daemon].RunDir(), m.Name+".sock"))
	if err != nil {
		l.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command)); err != nil {
		l.Fatal(err)
	}
}

func (l *libvirtLab) storebeat(h *cluster.Host, args ...string) (string, error) {
	out, err := exec.CommandContext(l.ctx, program.Path, append(args, "--config", h.Config)...).CombinedOutput()
	return string(out), err
}

func (l *libvirtLab) awaitRuns(m *cluster.Machine, runs int) {
	l.Helper()
	l.await(m.Name+" to begin anew", func() (bool, string) {
		_, now := m.Console.Newest()
		return now == runs, l.machine(m).State + ": " + l.machine(m).Why
	})
	l.awaitTicks(2, m)
}

func (l *libvirtLab) awaitState(m *cluster.Machine, state string) {
	l.Helper()
	l.await(m.Name+" to be "+state, func() (bool, string) { v := l.machine(m); return v.State == state, v.State + ": " + v.Why })
}

// TestLibvirtGuest: a guest that was made and started with libvirt's own tools is
// protected while it runs, survives its host, and heeds what users do to it.
func TestLibvirtGuest(t *testing.T) {
	t.Parallel()
	l := newLibvirtLab(t)
	h1, h2 := l.Hosts[0], l.Hosts[1]
	m := l.guest("web", filepath.Join(l.Datastores[0].Path, "web"))
	l.machines = append(l.machines, m)
	go l.watch(m)
	l.awaitTicks(2, m)
	l.refusesGuestElsewhere(h1)

	if out, err := l.storebeat(h1, "vm", "protect", "web"); err != nil {
		t.Fatalf("protect: %v: %s", err, out)
	}
	for _, h := range l.Hosts {
		l.await(h.Name+" to know the machine that was protected", func() (bool, string) {
			v, err := h.View(l.ctx, true)
			is := viewOf(v, m)
			return err == nil && is.Protected && is.State == "running" && is.Host == h1.ID && is.Rules.IsZero(), fmt.Sprintf("%+v, %v", is, err)
		})
	}
	if info := l.daemons[0].Virsh(t, "dominfo", "web"); !strings.Contains(info, "Autostart:      disable") {
		t.Errorf("autostart was left on: %s", info)
	}
	l.refusesByHand(m)
	l.storesChanges(m, h1)
	l.tellsOfTwins(m, h2)
	l.daemons[0].Kill(t)
	l.daemons[0].Start(t)
	l.awaitTicks(2, m)
	if _, runs := m.Console.Newest(); runs != 1 {
		t.Fatalf("it was started %d times", runs)
	}

	// The daemon that is to start the guest hangs when it is asked to.
	since := time.Now()
	l.daemons[1].Signal(t, unix.SIGSTOP)
	if _, err := h1.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.daemons[0].Kill(t)
	failed := l.awaitEvent(h2, since, "start-failed")
	if !strings.Contains(strings.Join(failed.Evidence, " "), "libvirtd does not answer in time") {
		t.Errorf("the start failed by %v", failed.Evidence)
	}
	l.daemons[1].Signal(t, unix.SIGCONT)
	l.awaitRuns(m, 2)
	if list := l.daemons[1].Virsh(t, "list", "--name"); list != "web" {
		t.Errorf("virsh list on the other host: %q", list)
	}
	if text := l.daemons[1].Virsh(t, "dumpxml", "web"); !strings.Contains(text, filepath.Join(l.Datastores[1].Path, "second.img")) {
		t.Errorf("it was started without what a user had added: %s", text)
	}
	l.daemons[0].Start(t)
	if err := h1.Start(); err != nil {
		t.Fatal(err)
	}
	l.await("the stale definition to go", func() (bool, string) {
		all := l.daemons[0].Virsh(t, "list", "--all", "--name")
		return all == "elsewhere", all
	})
	l.heedsUsers(m, h2)
}

// refusesGuestElsewhere: a disk off the datastores is named, and nothing is recorded.
func (l *libvirtLab) refusesGuestElsewhere(h *cluster.Host) {
	l.Helper()
	other := l.guest("elsewhere", filepath.Join(l.Dir, "local"))
	out, err := l.storebeat(h, "vm", "protect", "elsewhere")
	if err == nil || !strings.Contains(out, "hda at "+filepath.Join(l.Dir, "local/disk.img")) {
		l.Errorf("a guest whose disk lies elsewhere: %v: %s", err, out)
	}
	if v := l.machine(other); v.Protected {
		l.Errorf("it is protected: %+v", v)
	}
	l.daemons[0].Virsh(l, "destroy", "elsewhere")
}

// refusesByHand: nobody starts a protected machine behind the agent's back.
func (l *libvirtLab) refusesByHand(m *cluster.Machine) {
	l.Helper()
	since := time.Now()
	out, err := l.daemons[1].Try("create", filepath.Join(l.Dir, m.Name+".xml"))
	if err == nil || !strings.Contains(out, "web is protected by Storebeat and running on host1") {
		l.Errorf("a start by hand on the other host: %v: %s", err, out)
	}
	if list := l.daemons[1].Virsh(l, "list", "--name"); list != "" {
		l.Errorf("it runs there: %s", list)
	}
	if e := l.awaitEvent(l.Hosts[1], since, "start-by-hand-refused"); !strings.Contains(e.Text, "on host2 was refused: web is protected") {
		l.Errorf("told of the refusal: %s", e.Text)
	}
}

// storesChanges: what a user changes with libvirt's tools is stored where every host
// reads it, unless it could not be protected like that, which is told.
func (l *libvirtLab) storesChanges(m *cluster.Machine, on *cluster.Host) {
	l.Helper()
	second, local := filepath.Join(l.Datastores[1].Path, "second.img"), filepath.Join(l.Dir, "local.img")
	for _, file := range []string{second, local} {
		if err := os.WriteFile(file, make([]byte, 64<<10), 0o600); err != nil {
			l.Fatal(err)
		}
	}
	attach := func(file, target string) {
		l.daemons[0].Virsh(l, "attach-disk", m.Name, file, target, "--targetbus", "ide", "--subdriver", "raw", "--config")
	}
	since := time.Now()
	attach(second, "hdb")
	l.awaitEvent(on, since, "definition-changed")
	if out, err := l.storebeat(on, "vm", "export", m.Name); err != nil || !strings.Contains(out, "{{datastore "+l.Datastores[1].Name+"}}/second.img") {
		l.Errorf("a disk on another datastore is stored as %s, %v", out, err)
	}
	attach(local, "hdc")
	refused := l.awaitEvent(on, since, "definition-refused")
	if !strings.Contains(strings.Join(refused.Evidence, " "), local) {
		l.Errorf("the change was refused by %v", refused.Evidence)
	}
	l.await("vm show to name the disk", func() (bool, string) {
		out, err := l.storebeat(l.Hosts[1], "vm", "show", m.Name)
		return err == nil && strings.Contains(out, local), out
	})
	l.daemons[0].Virsh(l, "detach-disk", m.Name, "hdc", "--config")
	l.await("vm show to have nothing to name", func() (bool, string) {
		out, err := l.storebeat(l.Hosts[1], "vm", "show", m.Name)
		return err == nil && !strings.Contains(out, local), out
	})
	if out, err := l.storebeat(on, "vm", "protect", m.Name); err != nil {
		l.Errorf("protect again: %v: %s", err, out)
	}
}

// tellsOfTwins: where no hook keeps it from starting, a guest of a protected machine's UUID
// is told of.
func (l *libvirtLab) tellsOfTwins(m *cluster.Machine, on *cluster.Host) {
	l.Helper()
	dir := filepath.Join(l.Dir, "twin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.Fatal(err)
	}
	disk, file := filepath.Join(dir, "disk.img"), filepath.Join(dir, "twin.xml")
	text := libvirttest.Domain(m.Name, m.VM, disk, filepath.Join(dir, "serial"))
	if err := errors.Join(bootsector.WriteDisk(disk), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		l.Fatal(err)
	}
	hook := l.hooks[1]
	l.daemons[1].Hook(l, "")
	since := time.Now()
	l.daemons[1].Virsh(l, "create", "--paused", file)
	e := l.awaitEvent(on, since, "guest-by-hand")
	if !strings.Contains(e.Text, "web was started by hand on host2, and the machine is running on host1") {
		l.Errorf("told of the twin: %s", e.Text)
	}
	l.daemons[1].Virsh(l, "destroy", m.VM.String())
	l.daemons[1].Hook(l, hook)
}

// heedsUsers: what a user ends stays off; a guest that crashes is started again.
func (l *libvirtLab) heedsUsers(m *cluster.Machine, on *cluster.Host) {
	l.Helper()
	since := time.Now()
	l.tell(m, "p")
	l.awaitRuns(m, 3)
	l.awaitEvent(on, since, "machine-crashed")
	l.daemons[1].Virsh(l, "destroy", "web")
	l.awaitEvent(on, since, "machine-destroyed")
	l.awaitState(m, "held")
	if out, err := l.storebeat(on, "vm", "start", "web", "--wait"); err != nil {
		l.Fatalf("start: %v: %s", err, out)
	}
	l.awaitRuns(m, 4)
	l.heedsUsersWithoutAgent(m)
	l.awaitRuns(m, 5)
	l.tell(m, "q")
	l.awaitState(m, "stopped")
	by := l.daemons[0]
	if !strings.Contains(by.Virsh(l, "list", "--all", "--name"), "web") {
		by = l.daemons[1]
	}
	if out, err := by.Try("start", "web"); err == nil || !strings.Contains(out, "storebeat vm start web") {
		l.Errorf("a start by hand of a machine that is off: %v: %s", err, out)
	}
	if _, runs := m.Console.Newest(); runs != 5 {
		l.Errorf("it was started %d times", runs)
	}
	if out, err := l.storebeat(on, "vm", "unprotect", "web"); err != nil {
		l.Fatalf("unprotect: %v: %s", err, out)
	}
	l.await("autostart to be on again, as it was before the guest was protected", func() (bool, string) {
		info := by.Virsh(l, "dominfo", "web")
		return strings.Contains(info, "Autostart:      enable"), info
	})
	by.Virsh(l, "start", "web")
	l.awaitTicks(2, m)
	by.Virsh(l, "destroy", "web")
}

// heedsUsersWithoutAgent: what a user ends while the agent is away stays off, too, until a
// user wants it started.
func (l *libvirtLab) heedsUsersWithoutAgent(m *cluster.Machine) {
	l.Helper()
	on := l.owner(m)
	if err := on.StopAgent(l.ctx); err != nil {
		l.Fatal(err)
	}
	since := time.Now()
	l.daemons[on.ID-1].Virsh(l, "destroy", m.Name)
	if err := on.Start(); err != nil {
		l.Fatal(err)
	}
	l.await("the agent to be back", func() (bool, string) {
		v, err := on.View(l.ctx, false)
		return err == nil && len(v.Machines) > 0, fmt.Sprint(err)
	})
	l.awaitEvent(on, since, "machine-destroyed")
	l.awaitState(m, "held")
	if out, err := l.storebeat(on, "vm", "start", m.Name, "--wait"); err != nil {
		l.Fatalf("start: %v: %s", err, out)
	}
}
