package libvirt

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/poweron"
)

// A guest with disks on two datastores is stored with placeholders for both, which stand for
// other paths on other hosts.
func TestTwoDatastores(t *testing.T) {
	here := hypervisor.Spec{DatastorePath: datastore, Others: []hypervisor.Place{{Name: "slow", Path: "/mnt/slow"}, {Name: "fast", Path: "/mnt/fast"}}}
	text := portable(strings.Replace(good(), "</devices>", "<disk type='file' device='disk'><driver cache='none' error_policy='stop'/><source file='/mnt/fast/web/data.img'/><target dev='hdb'/></disk></devices>", 1), here)
	if strings.Contains(text, "/mnt/") || !strings.Contains(text, "'{{datastore fast}}/web/data.img'") {
		t.Fatalf("not portable: %s", text)
	}
	definition, err := Definition{XML: text}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := New("").Needs(definition); !slices.Contains(n.Of, poweron.Need{Kind: poweron.Datastore, Name: "fast"}) {
		t.Errorf("it needs %+v", n)
	}
	there := hypervisor.Spec{Definition: definition, DatastorePath: "/srv/1", Others: []hypervisor.Place{{Name: "fast", Path: "/srv/o'dd"}}}
	if disks, err := New("").Disks(there); err != nil || !slices.Equal(disks, []string{"/srv/1/web/disk.img", "/srv/o'dd/web/data.img"}) {
		t.Errorf("its disks there are %q, %v", disks, err)
	}
	there.Others = there.Others[:0]
	if err := New("").Validate(there); err == nil || !strings.Contains(err.Error(), `datastore "fast" can't be used on this host`) {
		t.Errorf("where one of them can't be used: %v", err)
	}
}

func TestHome(t *testing.T) {
	dom, err := parseDomain(strings.Replace(good(), "</devices>", "<disk type='file' device='disk'><driver cache='none' error_policy='stop'/><source file='/mnt/fast/web/data.img'/><target dev='hdb'/></disk></devices>", 1))
	if err != nil {
		t.Fatal(err)
	}
	all := []hypervisor.Place{{Name: "fast", Path: "/mnt/fast"}, {Name: "nfs1", Path: datastore}, {Name: "third", Path: "/mnt/third"}}
	for former, want := range map[string]string{"": "nfs1", "fast": "fast", "third": "third", "gone": "nfs1"} {
		if home := dom.home(all, former); home != want {
			t.Errorf("home is %q where it was %q, want %q", home, former, want)
		}
	}
	if home := dom.home(all[2:], "third"); home != "" {
		t.Errorf("home is %q though no disk is on a datastore", home)
	}
	if warned := dom.warnings(specAt("nfs1", all)); len(warned) != 1 || !strings.Contains(warned[0], "disks on fast beside its home") {
		t.Errorf("warnings: %q", warned)
	}
}

// An image that a disk stands on is found in the images' headers where the XML has none, as
// that of a guest that is off.
func TestBackingImages(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	home, local := t.TempDir(), t.TempDir()
	make := func(args ...string) {
		t.Helper()
		cmd := exec.Command("qemu-img", append([]string{"create", "-q", "-f"}, args...)...)
		cmd.Dir = home
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	base := filepath.Join(local, "cloud.img")
	make("raw", base, "1M")
	make("qcow2", "-b", base, "-F", "raw", "middle.qcow2")
	make("qcow2", "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2")
	make("qcow2", "alone.qcow2", "1M")
	for disk, want := range map[string]string{
		"type='qcow2'/><source file='" + home + "/top.qcow2'/>":                "disk vda stands on an image that lies at " + base,
		"type='qcow2'/><source file='" + home + "/alone.qcow2'/>":              "",
		"type='qcow2'/><source file='" + home + "/none.qcow2'/>":               "",
		"type='raw'/><source file='" + home + "/top.qcow2'/>":                  "", // a guest may write what it likes into a raw image
		"type='qcow2'/><source file='" + home + "/top.qcow2'/><backingStore/>": "",
	} {
		dom, err := parseDomain("<domain type='kvm'><name>x</name><devices><disk type='file' device='disk'><driver " + disk + "<target dev='vda'/></disk></devices></domain>")
		if err != nil {
			t.Fatal(err)
		}
		dom.findChains(t.Context())
		if got := strings.Join(dom.problems(at(home)), "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", disk, got, want)
		}
	}
	make("qcow2", "-u", "-b", "two.qcow2", "-F", "qcow2", "one.qcow2", "1M")
	make("qcow2", "-u", "-b", "one.qcow2", "-F", "qcow2", "two.qcow2", "1M")
	if chainOf(filepath.Join(home, "one.qcow2")) == nil {
		t.Error("a circle is no chain")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	new(domain).findChains(ended)
}

func FuzzBackingOf(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x04base"))
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, image []byte) {
		file := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(file, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if name := backingOf(file); len(name) > 1023+len(file) {
			t.Errorf("a name of %d bytes", len(name))
		}
	})
}

// twoDatastores: a guest with disks on two datastores is read, keeps its home, and is started
// where they lie elsewhere.
func twoDatastores(b bench) {
	spec := hypervisortest.NewSpec(b)
	fast := hypervisor.Place{Name: "fast", Path: b.TempDir()}
	places := []hypervisor.Place{fast, {Name: "nfs1", Path: spec.DatastorePath}}
	data := filepath.Join(fast.Path, "data.img")
	text := strings.Replace(domainOf(b, spec), "    <controller", "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' error_policy='stop'/><source file='"+data+"'/><target dev='hdb' bus='ide'/></disk>\n    <controller", 1)
	file := filepath.Join(spec.RunDir, "two.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	b.host.Virsh(b, "define", file)
	b.Cleanup(func() { _ = b.driver.Forget(b.Context(), spec.VM) })
	g, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], places, neverProtected)
	if err != nil || len(g.Problems) > 0 || g.Datastore != "nfs1" || len(g.Warnings) != 1 {
		b.Fatalf("export: %+v, %v", g, err)
	}
	again, err := b.driver.Export(b.Context(), g.Name, places, func(uuid.UUID) hypervisor.Former { return hypervisor.Former{Home: "fast"} })
	if err != nil || again.Datastore != "fast" {
		b.Errorf("a machine whose home is fast has it at %s, %v", again.Datastore, err)
	}
	moved := b.TempDir() // as that datastore is mounted on another host
	if err := os.WriteFile(filepath.Join(moved, "data.img"), make([]byte, 64<<10), 0o600); err != nil {
		b.Fatal(err)
	}
	spec.Definition, spec.Others = g.Definition, []hypervisor.Place{{Name: "fast", Path: moved}}
	b.start(spec)
	if text := b.host.Virsh(b, "dumpxml", spec.VM.String()); !strings.Contains(text, moved+"/data.img") {
		b.Errorf("it was started as %s", text)
	}
}

// movedWhileRunning: a user moves a guest's only disk to another datastore, and has it go on in
// an image of its own there; the machine's home stays where its right to run is.
func movedWhileRunning(b bench) {
	spec := b.spec()
	b.start(spec)
	fast := hypervisor.Place{Name: "fast", Path: b.TempDir()}
	places := []hypervisor.Place{fast, {Name: "nfs1", Path: spec.DatastorePath}}
	former := func(uuid.UUID) hypervisor.Former {
		return hypervisor.Former{Definition: spec.Definition, Home: "nfs1"}
	}
	export := func(want string) {
		b.Helper()
		g, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], places, former)
		if err != nil || len(g.Problems) > 0 || g.Datastore != "nfs1" || !strings.Contains(string(g.Definition), want) {
			b.Fatalf("%+v, %v: %s; want %s", g, err, g.Definition, want)
		}
		spec.Definition = g.Definition
	}
	before := b.kept(spec)
	b.host.Virsh(b, "blockcopy", spec.VM.String(), "hda", filepath.Join(fast.Path, "moved.img"), "--transient-job", "--wait", "--pivot")
	moved := b.kept(spec)
	if moved.Digest == before.Digest {
		b.Error("the change is not noticed")
	}
	export("'{{datastore fast}}/moved.img'")
	b.host.Virsh(b, "snapshot-create-as", spec.VM.String(), "--disk-only", "--no-metadata", "--diskspec", "hda,file="+filepath.Join(fast.Path, "after.qcow2"))
	if now := b.kept(spec); now.Digest == moved.Digest {
		b.Error("the snapshot is not noticed")
	}
	export("'{{datastore fast}}/after.qcow2'")
	b.ticks(spec)
	b.host.Virsh(b, "destroy", spec.VM.String())
	spec.Generation, spec.Others = spec.Generation+1, places[:1]
	b.start(spec)
}
