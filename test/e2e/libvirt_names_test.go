package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/demo/cluster"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/poweron"
)

// TestLibvirtNames: a protected guest gets other names by libvirt's tools, and one of its
// name another UUID.
func TestLibvirtNames(t *testing.T) {
	t.Parallel()
	l := newLibvirtLabWith(t, cluster.Options{Profile: "relaxed"}) // nothing here hangs on a host's death
	h1, h2 := l.Hosts[0], l.Hosts[1]
	m := l.guest("web", filepath.Join(l.Datastores[0].Path, "web"))
	l.machines = append(l.machines, m)
	go l.watch(m)
	l.awaitTicks(2, m)
	l.cliOn(h1, "vm", "protect", "web")

	// Renamed while it is off, which another host must know before it starts it.
	l.shutDown(m)
	since := time.Now()
	l.daemons[0].Virsh(t, "domrename", "web", "www")
	l.awaitEvent(h1, since, "definition-changed")
	l.awaitName(m, "www")
	l.startOn(h2, m, 2)

	// Renamed while the agent is away, and the other host has it by the name before.
	l.do(h2.StopAgent(l.ctx))
	l.tellOn(1, m, "q")
	l.await("the domain to be off", func() (bool, string) {
		s := l.daemons[1].Virsh(t, "domstate", "www")
		return s == "shut off", s
	})
	since = time.Now()
	l.daemons[1].Virsh(t, "domrename", "www", "wiki")
	l.do(h2.Start())
	l.awaitAnswer(h2)
	l.awaitEvent(h2, since, "definition-changed")
	l.awaitName(m, "wiki")
	l.awaitState(m, "stopped")
	l.define(0, m.VM, "www", filepath.Join(filepath.Dir(m.Console.Path()), "disk.img"))
	l.startOn(h1, m, 3)
	l.awaitDomains(0, "wiki")

	l.namesakes(m)
}

// namesakes: a guest of the machine's name on another host, and one that takes its place.
func (l *libvirtLab) namesakes(m *cluster.Machine) {
	l.Helper()
	h1, h2 := l.Hosts[0], l.Hosts[1]
	l.cliOn(h1, "vm", "set", "wiki", "--priority", "2") // every host reads now where the machine runs, which else may take a minute
	l.awaitDomains(1)
	since := time.Now()
	other := l.namesake(1, "wiki")
	if e := l.awaitEvent(h2, since, "name-taken"); !strings.Contains(e.Text, "virsh domrename "+other.String()) {
		l.Errorf("told of the namesake: %s", e.Text)
	}
	l.await("vm show to tell of it", func() (bool, string) {
		out, err := l.storebeat(h1, "vm", "show", "wiki")
		return err == nil && strings.Contains(out, "host2 has another guest called wiki"), out
	})
	l.shutDown(m)
	l.cliOn(h1, "vm", "set", "wiki", "--allow", "host2")
	l.cliOn(h1, "vm", "start", "wiki")
	failed := l.awaitEvent(h2, since, "start-failed")
	if !strings.Contains(strings.Join(failed.Evidence, " "), "this host has another guest of that name") {
		l.Errorf("the start beside a namesake failed by %v", failed.Evidence)
	}
	l.daemons[1].Virsh(l, "domrename", other.String(), "another")
	l.startOn(h2, m, 4)
	l.awaitDomains(1, "another", "wiki")

	// Defined anew: that is another machine, and nobody takes it for this one.
	l.shutDown(m)
	l.daemons[1].Virsh(l, "undefine", "wiki")
	since = time.Now()
	anew := l.namesake(1, "wiki")
	refused := l.awaitEvent(h2, since, "definition-refused")
	if said := strings.Join(refused.Evidence, " "); !strings.Contains(said, anew.String()) || !strings.Contains(said, m.VM.String()) {
		l.Errorf("the guest that was defined anew was refused by %s", said)
	}
	l.cliOn(h2, "vm", "unprotect", "wiki")
	l.cliOn(h2, "vm", "protect", "wiki")
	l.await("the guest that was defined anew to be known as protected", func() (bool, string) {
		v := l.machine(&cluster.Machine{VM: anew})
		return v.Name == "wiki" && v.Protected, v.State
	})
}

// TestLibvirtTransientGuest: a guest that libvirt forgets with its end is protected while
// it runs, heeds its users, and stays transient wherever it is started.
func TestLibvirtTransientGuest(t *testing.T) {
	t.Parallel()
	l := newLibvirtLabWith(t, cluster.Options{Profile: "default"})
	h1, h2 := l.Hosts[0], l.Hosts[1]
	m, file := l.draft("web", filepath.Join(l.Datastores[0].Path, "web"))
	l.fatten(file)
	l.daemons[0].Virsh(t, "create", file)
	l.machines = append(l.machines, m)
	go l.watch(m)
	l.awaitTicks(2, m)
	l.cliOn(h1, "vm", "protect", "web", "--attempts", "0", "--stop-time", "77s")
	l.cliOn(h1, "vm", "protect", "--all", "--stop-time", "88s", "--isolation", "shut-down")
	l.await("its policy to be known", func() (bool, string) {
		p := l.machine(m).Policy
		return p.Attempts == 0 && p.StopTime == 88*time.Second && p.Isolation == poweron.ShutDown, fmt.Sprintf("%+v", p)
	})

	since := time.Now()
	l.daemons[0].Virsh(t, "destroy", "web")
	l.awaitEvent(h1, since, "machine-destroyed")
	l.awaitState(m, "held")
	l.awaitDomains(0)
	l.startOn(h1, m, 2)
	l.shutDown(m)
	l.awaitDomains(0)
	l.startOn(h1, m, 3)
	l.cliOn(h1, "vm", "set", "web", "--allow", "")

	l.refuse(h1, since, "definition-changed", "definition-refused")
	if _, err := h1.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.daemons[0].Kill(t)
	l.awaitRuns(m, 4)
	if info := l.daemons[1].Virsh(t, "dominfo", "web"); !strings.Contains(info, "Persistent:     no") {
		t.Errorf("on the other host it is %s", info)
	}
	l.tell(m, "p")
	l.awaitRuns(m, 5)
	l.refuse(h2, since, "definition-changed", "definition-refused", "machine-destroyed")
	l.daemons[0].Start(t)
}

// fatten gives a guest as much metadata as some management programs do.
func (l *libvirtLab) fatten(file string) {
	l.Helper()
	text, err := os.ReadFile(file)
	l.do(err)
	note := "<metadata><n:note xmlns:n='http://example.org/note'>" + strings.Repeat("n", poweron.MaxDefinition-(8<<10)) + "</n:note></metadata>"
	l.do(os.WriteFile(file, []byte(strings.Replace(string(text), "<memory ", note+"<memory ", 1)), 0o600))
}

// namesake defines a guest that is never started.
func (l *libvirtLab) namesake(daemon int, name string) uuid.UUID {
	l.Helper()
	vm := uuid.New()
	l.define(daemon, vm, name, filepath.Join(l.Datastores[0].Path, "namesake.img"))
	return vm
}

func (l *libvirtLab) define(daemon int, vm uuid.UUID, name, disk string) {
	l.Helper()
	file := filepath.Join(l.Dir, vm.String()+".xml")
	l.do(os.WriteFile(file, []byte(libvirttest.Domain(name, vm, disk, "/run/"+name+".sock")), 0o600))
	l.daemons[daemon].Virsh(l, "define", file)
}

func (l *libvirtLab) do(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *libvirtLab) cliOn(h *cluster.Host, args ...string) {
	l.Helper()
	if out, err := l.storebeat(h, args...); err != nil {
		l.Fatalf("storebeat %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// shutDown has the guest switch itself off.
func (l *libvirtLab) shutDown(m *cluster.Machine) {
	l.Helper()
	l.tell(m, "q")
	l.awaitState(m, "stopped")
}

// startOn has a machine started on one host and no other, and waits for that run of it.
func (l *libvirtLab) startOn(h *cluster.Host, m *cluster.Machine, runs int) {
	l.Helper()
	name := l.machine(m).Name
	l.cliOn(h, "vm", "set", name, "--allow", h.Name)
	l.cliOn(h, "vm", "start", name, "--wait")
	l.awaitRuns(m, runs)
	if on := l.owner(m); on != h {
		l.Fatalf("it was started on %s", on.Name)
	}
}

func (l *libvirtLab) awaitName(m *cluster.Machine, name string) {
	l.Helper()
	l.await("the machine to be called "+name, func() (bool, string) { v := l.machine(m); return v.Name == name, v.Name })
}

// awaitDomains waits until a host's libvirt knows these domains and no other.
func (l *libvirtLab) awaitDomains(daemon int, names ...string) {
	l.Helper()
	l.await("libvirt on host "+l.Hosts[daemon].Name+" to have "+strings.Join(names, " "), func() (bool, string) {
		all := strings.Fields(l.daemons[daemon].Virsh(l, "list", "--all", "--name"))
		slices.Sort(all)
		return slices.Equal(all, names), strings.Join(all, " ")
	})
}
