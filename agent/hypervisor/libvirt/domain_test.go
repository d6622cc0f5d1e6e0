package libvirt

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
)

const datastore = "/mnt/nfs1"

// at is a home datastore beside which there is none.
func at(path string) hypervisor.Spec {
	return hypervisor.Spec{DatastorePath: path, Others: []hypervisor.Place{}}
}

func good() string {
	return libvirttest.Domain("web", uuid.MustParse("11111111-2222-4333-8444-555555555555"), datastore+"/web/disk.img", "/run/web.sock")
}

// options are such of QEMU's as a user writes into a domain.
func options(words ...string) string {
	text := "<qemu:commandline xmlns:qemu='" + qemuNamespace + "'>"
	for _, w := range words {
		text += "<qemu:arg value='" + w + "'/>"
	}
	return text + "</qemu:commandline>"
}

func TestProblemsNameDiskPathAndRemedy(t *testing.T) {
	disk := func(xml string) string { return "<disk " + xml + "<target dev='vdb'/></disk></devices>" }
	for name, c := range map[string]struct{ add, want string }{
		"none":                 {"</devices>", ""},
		"another folder":       {disk("type='file' device='disk'><source file='/var/lib/x.img'/>"), "disk vdb lies at /var/lib/x.img, which is on none of the datastores: /mnt/nfs1"},
		"a name that begins":   {disk("type='file' device='disk'><source file='/mnt/nfs1-old/x.img'/>"), "/mnt/nfs1-old/x.img"},
		"a way out":            {disk("type='file' device='disk'><source file='/mnt/nfs1/../x.img'/>"), "/mnt/nfs1/../x.img"},
		"block device":         {disk("type='block' device='disk'><source dev='/dev/sdb'/>"), "block device /dev/sdb"},
		"network":              {disk("type='network' device='disk'><source protocol='rbd' name='pool/x'/>"), "(pool/x)"},
		"volume":               {disk("type='volume' device='disk'><source pool='p' volume='v'/>"), "volume v of pool p"},
		"vhost-user":           {disk("type='vhostuser' device='disk'><source type='unix' path='/x'/>"), "type vhostuser"},
		"backing image":        {disk("type='file' device='disk'><source file='/mnt/nfs1/x'/><backingStore type='file'><source file='/base.img'/><backingStore/></backingStore>"), "stands on an image that lies at /base.img"},
		"backing on datastore": {disk("type='file' device='disk'><source file='/mnt/nfs1/x'/><backingStore type='file'><source file='/mnt/nfs1/base.img'/><backingStore/></backingStore>"), ""},
		"CD elsewhere":         {disk("type='file' device='cdrom'><source file='/iso/x.iso'/>"), "eject it"},
		"CD that is optional":  {disk("type='file' device='cdrom'><source file='/iso/x.iso' startupPolicy='optional'/>"), ""},
		"empty drive":          {disk("type='file' device='cdrom'>"), ""},
		"passthrough":          {"<hostdev mode='subsystem' type='pci'/></devices>", "hostdev, pci"},
		"vDPA":                 {"<interface type='vdpa'/></devices>", "type vdpa"},
		"bridge":               {"<interface type='bridge'/></devices>", ""},
		"shared folder":        {"<filesystem type='mount'/></devices>", "filesystem"},
		"emulated TPM":         {"<tpm model='tpm-crb'><backend type='emulator'/></tpm></devices>", "emulated TPM"},
		"shareable":            {disk("type='file' device='disk'><source file='/mnt/nfs1/x'/><shareable/>"), "disk vdb is shareable, which takes away the image lock"},
		"shareable CD":         {disk("type='file' device='cdrom'><source file='/mnt/nfs1/x'/><shareable/><readonly/>"), ""},
		"thrown away":          {disk("type='file' device='disk'><source file='/mnt/nfs1/x'/><transient/>"), "disk vdb is transient"},
		"harmless options":     {"</devices>" + options("-cpu", "max", "-global", "x.y=1"), ""},
		"folder by option":     {"</devices>" + options("-virtfs", "local,path=/x"), "-virtfs local,path=/x: shares a folder of the host"},
		"device by option":     {"</devices>" + options("-device", "vfio-pci,host=1", "-drive", "file=/x,cache=none"), "device vfio-pci belongs to this host"},
		"disk by option":       {"</devices>" + options("-device", "vfio-pci,host=1", "-drive", "file=/x,cache=none"), "\"/x\" is no file on a datastore"},
		"NVDIMM":               {"<memory model='nvdimm'><source><path>/n</path></source></memory></devices>", "file /n"},
	} {
		t.Run(name, func(t *testing.T) {
			dom, err := parseDomain(strings.Replace(good(), "</devices>", c.add, 1))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(dom.problems(at(datastore)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("problems: %q, want %q", got, c.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct{ old, by, want string }{
		"none":               {"", "", ""},
		"firmware elsewhere": {"</os>", "<nvram>/var/lib/libvirt/qemu/nvram/web.fd</nvram></os>", "/var/lib/libvirt/qemu/nvram/web.fd"},
		"no disk of its own": {"<target dev='hda'", "<readonly/><target dev='hda'", "it has no disk to itself, and so no image lock"},
		"page cache":         {" cache='none'", "", "disk hda has the cache mode default"},
		"page cache, said":   {"cache='none'", "cache='writeback'", "disk hda has the cache mode writeback"},
		"kernel elsewhere":   {"</os>", "<kernel>/boot/vmlinuz</kernel></os>", "/boot/vmlinuz must be there on every host"},
		"kernel along":       {"</os>", "<kernel>/mnt/nfs1/vmlinuz</kernel></os>", ""},
		"no error policy":    {" error_policy='stop'", "", "disk hda tells the guest when a request fails"},
		"reads reported":     {"error_policy='stop'", "error_policy='stop' rerror_policy='report'", "disk hda tells the guest when a request fails"},
	} {
		t.Run(name, func(t *testing.T) {
			dom, err := parseDomain(strings.Replace(good(), c.old, c.by, 1))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(dom.warnings(at(datastore)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("warnings: %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlacedElsewhere(t *testing.T) {
	odd := "/mnt/o'dd & <x>"
	text := portable(strings.ReplaceAll(good(), datastore, escaped.Replace(odd)), at(odd))
	if strings.Contains(text, "/mnt/") || strings.Count(text, "{{datastore}}/") != 2 {
		t.Fatalf("not portable: %s", text)
	}
	definition, err := json.Marshal(Definition{XML: text})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/srv/other", odd} {
		disks, err := New("").Disks(hypervisor.Spec{Definition: definition, DatastorePath: path})
		if err != nil || len(disks) != 1 || disks[0] != path+"/web/disk.img" {
			t.Errorf("at %s: %q, %v", path, disks, err)
		}
	}
}

func TestMarkedIsUnmarkedAgain(t *testing.T) {
	text, err := marked(good(), []string{"STOREBEAT_MACHINE=a/b", "STOREBEAT_RUN=/run/o'dd"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseDomain(text); err != nil {
		t.Fatal(err)
	}
	printed := "<qemu:commandline>\n    <qemu:env name='STOREBEAT_MACHINE' value='a/b'/>\n    <qemu:env name='OTHER' value='x'/>\n  </qemu:commandline>"
	if got := unmarked(printed); strings.Contains(got, "STOREBEAT") || !strings.Contains(got, "OTHER") {
		t.Errorf("unmarked: %s", got)
	}
}

func TestBadDefinitions(t *testing.T) {
	for name, c := range map[string]struct{ definition, want string }{
		"no XML":       {`{}`, "xml is missing"},
		"unknown":      {`{"xlm": ""}`, `"xlm"`},
		"broken XML":   {`{"xml": "<domain>"}`, "can't be read"},
		"another root": {`{"xml": "<network/>"}`, "can't be read"},
		"Xen":          {`{"xml": "<domain type='xen'><name>x</name></domain>"}`, `"xen"`},
		"no name":      {`{"xml": "<domain type='kvm'/>"}`, "no <name>"},
		"no UUID":      {`{"xml": "<domain type='kvm'><name>x</name></domain>"}`, "<uuid>"},
	} {
		if err := New("").Validate(hypervisor.Spec{DatastorePath: datastore, Definition: []byte(c.definition)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestVersions(t *testing.T) {
	text := func(qemu, library, daemon string) string {
		return "Compiled against library: libvirt 9.0.0\nUsing library: libvirt " + library + "\nUsing API: QEMU 9.0.0\nRunning hypervisor: " + qemu + " 7.2.22\nRunning against daemon: " + daemon + "\n"
	}
	for name, c := range map[string]struct{ out, want string }{
		"good":       {text("QEMU", "9.0.0", "10.1.0"), ""},
		"old client": {text("QEMU", "6.10.0", "9.0.0"), "virsh is version 6.10"},
		"old daemon": {text("QEMU", "9.0.0", "5.0.0"), "libvirtd is version 5.0"},
		"no QEMU":    {text("Test", "9.0.0", "9.0.0"), "not QEMU"},
		"nothing":    {"", "not QEMU"},
	} {
		err := checkVersions(c.out)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestStats(t *testing.T) {
	all := parseStats("Domain: 'a b'\n  state.state=3\n  state.reason=5\n\nDomain: 'c'\n  state.state=1\n  state.reason=1\n\n")
	if len(all) != 2 || all["a b"].String() != "paused (I/O error)" || all["c"].String() != "running" {
		t.Errorf("stats: %v", all)
	}
}

func TestEvents(t *testing.T) {
	name, what, detail, ok := parseEvent("2026-01-02 03:04:05.006+0000: event 'lifecycle' for domain 'a: b': Stopped Destroyed")
	if !ok || name != "a: b" || what != "Stopped" || detail != "destroyed" {
		t.Errorf("event: %q %q %q %v", name, what, detail, ok)
	}
}

func FuzzOutput(f *testing.F) {
	f.Add("running (booted)\n")
	f.Add("Domain: 'a'\n  state.state=3\n  state.reason=99\n  state.state=-1\n")
	f.Add("event 'lifecycle' for domain 'a': Stopped Failed")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseState(text); err == nil && s.word == "" {
			t.Errorf("a state without a word from %q", text)
		}
		parseStats(text)
		parseEvent(text)
		_ = checkVersions(text)
	})
}

func FuzzDomain(f *testing.F) {
	f.Add(good())
	f.Add("<domain type='kvm'><name>x</name><uuid>11111111-2222-4333-8444-555555555555</uuid></domain>")
	f.Fuzz(func(t *testing.T, text string) {
		text, err := placed(portable(text, at(datastore)), at(datastore))
		if err != nil {
			return
		}
		dom, err := parseDomain(text)
		if err != nil {
			return
		}
		for _, file := range dom.disks() {
			if len(dom.problems(at(datastore))) == 0 && !below(file, datastore) {
				t.Errorf("disk %q passes for one on the datastore", file)
			}
		}
	})
}

func FuzzReadOffer(f *testing.F) {
	text, err := marked(good(), []string{hypervisor.EnvMachine + "=m"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("<domain/>")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ReadOffer(strings.NewReader(text))
		if err == nil && o.VM == uuid.Nil && !strings.Contains(text, "0000") {
			t.Errorf("no UUID, and no error, from %q", text)
		}
		again, err2 := ReadOffer(strings.NewReader(o.Received()))
		if err == nil && strings.Contains(text, "<qemu:env name='STOREBEAT_") && (err2 != nil || again.VM != o.VM) {
			t.Errorf("without its marker it is %v, %v: %q", again, err2, o.Received())
		}
	})
}

func TestReadOffer(t *testing.T) {
	text, err := marked(good(), []string{hypervisor.EnvMachine + "=a/b/c"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := ReadOffer(strings.NewReader(text))
	if err != nil || o.VM.String() != "11111111-2222-4333-8444-555555555555" || o.Marker != "a/b/c" {
		t.Errorf("%+v, %v", o, err)
	}
}
