package libvirt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// Guests lists the names of all domains.
func (d *Driver) Guests(ctx context.Context) ([]string, error) {
	out, err := d.virsh.call(ctx, "list", "--all", "--name")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(strings.Split(out, "\n"), func(name string) bool { return strings.TrimSpace(name) == "" }), nil
}

// Export says what it takes to protect a domain. The definition is the one with
// which the domain starts next; the running one is looked at, too.
func (d *Driver) Export(ctx context.Context, domainName string, datastores []hypervisor.Place, former func(uuid.UUID) hypervisor.Former) (hypervisor.Guest, error) {
	if err := d.versions(ctx); err != nil {
		return hypervisor.Guest{}, err
	}
	id, err := d.idOf(ctx, domainName)
	if err != nil {
		return hypervisor.Guest{}, err
	}
	next, info, err := d.read(ctx, id)
	if err != nil {
		return hypervisor.Guest{}, err
	}
	dom, err := parseDomain(next)
	if err != nil {
		return hypervisor.Guest{}, err
	}
	g := hypervisor.Guest{Name: dom.Name, Memory: dom.Memory.bytes(), Running: info["State"] != shutOff, Digest: digest(next)}
	if g.VM, err = dom.id(); err != nil {
		return hypervisor.Guest{}, err
	}
	before := former(g.VM)
	if g.Datastore = dom.home(datastores, before.Home); g.Datastore == "" {
		g.Problems = append(g.Problems, "none of its disks lies on a datastore of the cluster: "+homeless(dom, datastores))
		return g, nil
	}
	spec := specAt(g.Datastore, datastores)
	dom.findChains(ctx)
	g.Warnings = dom.warnings(spec)
	g.Problems = append(g.Problems, dom.problems(spec)...)
	if placeholder.MatchString(next) {
		g.Problems = append(g.Problems, "its XML holds {{datastore…}}/, which stands for a path in definitions: change that (virsh edit)")
	}
	if g.Running {
		more, err := d.runningProblems(ctx, g.VM, dom, spec)
		if err != nil {
			return hypervisor.Guest{}, err
		}
		g.Problems = append(g.Problems, more...)
	}
	if err := poweron.CheckName(dom.Name); err != nil {
		g.Problems = append(g.Problems, fmt.Sprintf("its name %v: shut it down and give it another one (virsh domrename)", err))
	}
	if len(g.Problems) > 0 {
		return g, nil
	}
	old, known := remembered(before.Definition)
	definition, err := Definition{XML: portable(uncached(next), spec), Autostart: info["Autostart"] == "enable" || old.Autostart,
		// libvirt makes a domain transient that it moves without --persistent. The machine is what it was.
		Transient: info["Persistent"] == "no" && (old.Transient || !known)}.encode()
	if err != nil {
		return hypervisor.Guest{}, err
	}
	if err := poweron.CheckDefinition(definition); err != nil {
		g.Problems = append(g.Problems, "its "+err.Error())
		return g, nil
	}
	g.Definition = definition
	return g, nil
}

// remembered reads the definition under which a machine is protected already, if there is one.
func remembered(definition []byte) (d Definition, known bool) {
	known = definition != nil && hypervisor.DecodeDefinition(definition, &d) == nil
	return d, known
}

// read returns the XML with which a domain starts next, and what virsh dominfo tells.
func (d *Driver) read(ctx context.Context, vm uuid.UUID) (string, map[string]string, error) {
	next, err := d.virsh.call(ctx, "dumpxml", "--inactive", "--security-info", vm.String())
	if err != nil {
		return "", nil, err
	}
	out, err := d.virsh.call(ctx, "dominfo", vm.String())
	if err != nil {
		return "", nil, err
	}
	info := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(line, ":")
		info[key] = strings.TrimSpace(value)
	}
	return unmarked(next), info, nil
}

// homeless says where the disks are, and where they should be.
func homeless(dom *domain, datastores []hypervisor.Place) string {
	var where, should []string
	for _, k := range dom.Devices.Disks {
		if k.Source.File != "" {
			where = append(where, k.Target.Dev+" at "+k.Source.File)
		} else {
			where = append(where, k.Target.Dev+" of type "+k.Type)
		}
	}
	for _, at := range datastores {
		should = append(should, at.Name+" at "+at.Path)
	}
	return fmt.Sprintf("it has %s, and the datastores are %s", orNone(where), orNone(should))
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// runningProblems finds what the running domain has that the next start would not bring
// back, or that may not be.
func (d *Driver) runningProblems(ctx context.Context, vm uuid.UUID, next *domain, spec hypervisor.Spec) ([]string, error) {
	text, err := d.virsh.call(ctx, "dumpxml", vm.String())
	if err != nil {
		return nil, err
	}
	live, err := parseDomain(text)
	if err != nil {
		return nil, err
	}
	known := next.problems(spec)
	var all []string
	for _, p := range live.problems(spec) {
		if !slices.Contains(known, p) {
			all = append(all, p)
		}
	}
	kept := next.disks()
	for _, file := range live.disks() {
		if !slices.Contains(kept, file) {
			all = append(all, fmt.Sprintf("disk %s is attached to the running guest alone, and would be missing after a start: attach it with --config, too", file))
		}
	}
	return all, nil
}

// Kept lists all domains.
func (d *Driver) Kept(ctx context.Context) ([]hypervisor.Kept, error) {
	// Early, so that the first start does not wait for what libvirt has to find out.
	if err := d.versions(ctx); err != nil {
		return nil, err
	}
	lists := make([][]uuid.UUID, 3)
	for i, which := range [][]string{{"--all"}, {}, {"--all", "--autostart"}} {
		out, err := d.virsh.call(ctx, append([]string{"list", "--uuid"}, which...)...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			if vm, err := uuid.Parse(strings.TrimSpace(line)); err == nil {
				lists[i] = append(lists[i], vm)
			}
		}
	}
	all := make([]hypervisor.Kept, 0, len(lists[0]))
	for some := range slices.Chunk(lists[0], dumpsAtATime) {
		kept, err := d.dump(ctx, some)
		if err != nil {
			return nil, err
		}
		all = append(all, kept...)
	}
	for i := range all {
		all[i].Running, all[i].Autostart = slices.Contains(lists[1], all[i].VM), slices.Contains(lists[2], all[i].VM)
	}
	return all, nil
}

// dumpsAtATime is how many domains' XML one call reads: a page for each.
const dumpsAtATime = 200

// dump reads with what these domains start next, by one call, which succeeds without
// those that are gone by then.
func (d *Driver) dump(ctx context.Context, vms []uuid.UUID) (all []hypervisor.Kept, err error) {
	var commands strings.Builder
	for _, vm := range vms {
		fmt.Fprintf(&commands, "dumpxml --inactive --security-info %s;", vm)
	}
	out, err := d.virsh.call(ctx, commands.String()+"echo")
	if err != nil {
		return nil, err
	}
	for text := range strings.SplitAfterSeq(out, "</domain>") {
		dom, err := parseDomain(text)
		if err != nil {
			continue // the rest after the last, or a domain that is none of QEMU's
		}
		if vm, err := dom.id(); err == nil {
			all = append(all, hypervisor.Kept{VM: vm, Name: dom.Name, Digest: digest(unmarked(text))})
		}
	}
	return all, nil
}

// digest stands for a domain's XML.
func digest(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.TrimSpace(text))))
}

// Tame switches autostart off.
func (d *Driver) Tame(ctx context.Context, vm uuid.UUID) error {
	_, err := d.virsh.call(ctx, "autostart", "--disable", vm.String())
	return err
}

// Untame switches autostart on if it was on before the machine was protected.
func (d *Driver) Untame(ctx context.Context, vm uuid.UUID, definition []byte) error {
	if d, _ := remembered(definition); !d.Autostart {
		return nil
	}
	_, err := d.virsh.call(ctx, "autostart", vm.String())
	if errors.Is(err, errNoDomain) {
		return nil
	}
	return err
}

// Forget removes the definition of a domain that does not run here.
func (d *Driver) Forget(ctx context.Context, vm uuid.UUID) error {
	now, err := d.virsh.state(ctx, vm)
	if errors.Is(err, errNoDomain) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.active() {
		return fmt.Errorf("domain %s is %s on this host: %w", vm, now, hypervisor.ErrRunning)
	}
	_, err = d.virsh.call(ctx, "undefine", "--managed-save", "--snapshots-metadata", "--checkpoints-metadata", "--keep-nvram", vm.String())
	if errors.Is(err, errNoDomain) {
		return nil
	}
	return err
}
