package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// definition sees to what the hypervisor keeps of one protected machine.
func (t *tidying) definition(ctx context.Context, m *core.MachineView, k *hypervisor.Kept) {
	if !k.Running || !t.absent(m.VM) {
		delete(t.strays, m.VM)
	}
	elsewhere := m.State == core.PhaseRunning && m.Host != 0 && m.Host != t.agent.self.Host
	absent := t.absent(m.VM)
	switch {
	case absent && k.Running && t.agent.incoming.expected(m.VM):
		return
	case absent && k.Running:
		// At the first look it may be about to be taken into care.
		if t.strays[m.VM]++; t.strays[m.VM] > 1 {
			t.byHand(m)
		}
		return
	case absent && elsewhere:
		t.forget(ctx, m)
		return
	case k.Autostart:
		if err := t.Tame(ctx, m.VM); err != nil {
			t.tell("can't switch off the autostart of a protected machine", m.Name, err)
			return
		}
		t.agent.log.Info("switched off the autostart of a protected machine", "vm", m.VM, "name", m.Name)
	}
	if t.mine(m) {
		t.compare(ctx, m, k)
	}
}

// mine tells whether what the hypervisor keeps here of a machine is the newest there is.
func (t *tidying) mine(m *core.MachineView) bool {
	return m.Last == t.agent.self.Host || m.Last == 0
}

// compare stores what a user has changed of a machine's definition.
func (t *tidying) compare(ctx context.Context, m *core.MachineView, k *hypervisor.Kept) {
	entry, known := t.agent.entryOf(ctx, m.Datastore, m.VM)
	if !known {
		return
	}
	changed, err := t.renditions.changed(m.VM, entry.Definition, k.Digest)
	if err != nil {
		t.tell("can't remember what the hypervisor keeps", m.Name, err)
	}
	if changed {
		t.store(ctx, m.Datastore, &entry, k)
	}
}

// storeTime is how long the datastore may take to store a change.
const storeTime = 5 * time.Second

// store puts a changed definition on the machine's home datastore, after the checks that
// every guest must pass that is protected. It tells whether it is there.
func (t *tidying) store(ctx context.Context, datastore uuid.UUID, entry *poweron.Entry, k *hypervisor.Kept) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	home, err := t.agent.settingsOf(datastore)
	if err != nil {
		return false
	}
	g, err := t.Export(ctx, k.Name, t.agent.otherPlaces(every), func(uuid.UUID) hypervisor.Former {
		return hypervisor.Former{Definition: entry.Definition, Home: home.Name}
	})
	if err != nil || g.VM != entry.VM {
		t.tell("can't read a definition that was changed", entry.Name, err)
		return false
	}
	if len(g.Problems) > 0 {
		t.refuse(entry, g.Problems...)
		return false
	}
	next := *entry
	next.Name, next.Definition, next.Memory = g.Name, g.Definition, g.Memory
	if next.Name != entry.Name || !bytes.Equal(next.Definition, entry.Definition) {
		_, err = t.agent.command(ctx, core.Command{Verb: core.Redefine, VM: entry.VM.String(), Datastore: datastore, Entry: next})
	}
	switch code := control.CodeOf(err); {
	case err == nil:
		err = t.renditions.same(entry.VM, next.Definition, g.Digest)
	case code == control.Refused || code == control.Invalid:
		t.refuse(entry, err.Error())
		return false
	}
	if err != nil {
		t.tell("can't store a definition that was changed", entry.Name, err)
	}
	return err == nil
}

// errRedefined means that a definition was changed here, and that the start is to be
// made with the change.
var errRedefined = errors.New("a user has changed the definition on this host, which is stored now: the start begins anew with it")

// storedBefore tells whether a user has changed a machine's definition here since it was
// last looked at, and the change is stored now: a start with the one before would undo it.
func (ms *machines) storedBefore(ctx context.Context, datastore uuid.UUID, entry *poweron.Entry) bool {
	k := ms.keeper()
	if k == nil || k.Name() != entry.Driver || !ms.renditions.knows(entry.VM) {
		return false
	}
	kept, err := k.Kept(ctx)
	at := slices.IndexFunc(kept, func(k hypervisor.Kept) bool { return k.VM == entry.VM })
	if err != nil || at < 0 {
		return false
	}
	changed, err := ms.renditions.changed(entry.VM, entry.Definition, kept[at].Digest)
	return err == nil && changed && ms.tidying(k).store(ctx, datastore, entry, &kept[at])
}

func (t *tidying) refuse(entry *poweron.Entry, why ...string) {
	t.find(entry.VM, "definition-refused", fmt.Sprintf("the definition of %s was changed with the hypervisor's own tools, and the change is not stored: machines are started without it", entry.Name), why...)
}

// giveBack gives the hypervisor back what it was kept from while a machine was protected.
func (t *tidying) giveBack(ctx context.Context, m *core.MachineView) {
	if !t.renditions.knows(m.VM) {
		return
	}
	if entry, known := t.agent.entryOf(ctx, m.Datastore, m.VM); known && t.mine(m) {
		if err := t.Untame(ctx, m.VM, entry.Definition); err != nil {
			t.tell("can't switch autostart on again for a machine that is not protected any more", m.Name, err)
			return
		}
	}
	t.giveUp(m)
}

// giveUp forgets what the hypervisor kept of a machine.
func (t *tidying) giveUp(m *core.MachineView) {
	if err := t.renditions.forget(m.VM); err != nil {
		t.tell("can't forget what the hypervisor kept", m.Name, err)
	}
}

// forget removes what the hypervisor has of a machine that runs on another host.
func (t *tidying) forget(ctx context.Context, m *core.MachineView) {
	if err := t.Forget(ctx, m.VM); err != nil {
		t.tell("can't remove the definition of a machine that runs on another host", m.Name, err)
		return
	}
	t.giveUp(m)
	t.agent.log.Info("removed the definition of a machine that runs on another host; the datastore has it", "vm", m.VM, "name", m.Name, "host", m.HostName)
}

// byHand tells of a guest that somebody has started behind the agent's back.
func (t *tidying) byHand(m *core.MachineView) {
	self, _ := t.agent.member(t.agent.self.Host)
	text := fmt.Sprintf("a guest with the UUID of %s was started by hand on %s and is in nobody's care: end it there (virsh destroy %s), and start the machine with `storebeat vm start %s`; or take it into care as it runs: `storebeat vm protect %s` on %s",
		m.Name, self.Name, m.VM, m.Name, m.Name, self.Name)
	if m.Host != 0 && m.Host != t.agent.self.Host {
		text = fmt.Sprintf("a guest with the UUID of %s was started by hand on %s, and the machine is %s on %s: end the one on %s at once (virsh destroy %s), it may damage the disks of the other",
			m.Name, self.Name, m.State, m.HostName, self.Name, m.VM)
	}
	t.find(m.VM, "guest-by-hand", text)
}

// namesake tells of a guest that has a machine's name and another UUID: where it is, the
// machine can't be started.
func (t *tidying) namesake(m *core.MachineView, kept []hypervisor.Kept) {
	at := slices.IndexFunc(kept, func(k hypervisor.Kept) bool { return k.Name == m.Name && k.VM != m.VM })
	if at < 0 {
		return
	}
	knows := slices.ContainsFunc(kept, func(k hypervisor.Kept) bool { return k.VM == m.VM })
	if !knows && m.Last == t.agent.self.Host && t.absent(m.VM) {
		t.find(m.VM, "definition-refused", fmt.Sprintf("the hypervisor knows no guest with the UUID of %s any more, and one of that name with another UUID", m.Name),
			fmt.Sprintf("the machine's is %s, that guest's is %s: define it with the machine's UUID; or `storebeat vm unprotect %s`, and protect it as a new one", m.VM, kept[at].VM, m.Name))
		return
	}
	self, _ := t.agent.member(t.agent.self.Host)
	t.find(m.VM, "name-taken", fmt.Sprintf("%s has another guest called %s, so the machine can't be started there: rename that guest (virsh domrename %s), or remove it (virsh undefine %s)",
		self.Name, m.Name, kept[at].VM, kept[at].VM))
}

// find tells of what was found in the hypervisor's house, once until it is well again.
func (t *tidying) find(vm uuid.UUID, kind core.Kind, text string, evidence ...string) {
	t.remarks[vm] = append(append(t.remarks[vm], text), evidence...)
	key := fmt.Sprint(kind, vm, text, evidence)
	t.findings[key] = true
	if !t.before[key] {
		t.agent.observe(core.HypervisorFinding{VM: vm, Kind: kind, Text: text, Evidence: evidence})
	}
}
