package libvirt

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/qemu"
)

// domain is what the driver has to know of a domain's XML. The XML itself is
// kept as its author wrote it.
type domain struct {
	XMLName xml.Name `xml:"domain"`
	Type    string   `xml:"type,attr"`
	Name    string   `xml:"name"`
	UUID    string   `xml:"uuid"`
	Memory  amount   `xml:"memory"`
	NVRAM   nvram    `xml:"os>nvram"`
	Kernel  string   `xml:"os>kernel"`
	Initrd  string   `xml:"os>initrd"`
	Options []struct {
		Value string `xml:"value,attr"`
	} `xml:"commandline>arg"` // of QEMU's, as its user has written them
	Devices struct {
		Disks       []disk   `xml:"disk"`
		Hostdevs    []device `xml:"hostdev"`
		Interfaces  []device `xml:"interface"`
		Filesystems []device `xml:"filesystem"`
		Shmems      []device `xml:"shmem"`
		TPMs        []struct {
			Backend device `xml:"backend"`
		} `xml:"tpm"`
		Memories []struct {
			Model  string `xml:"model,attr"`
			Source struct {
				Path string `xml:"path"`
			} `xml:"source"`
		} `xml:"memory"`
	} `xml:"devices"`
}

// nvram holds the variables of UEFI: its text is the file, or its source tells of it.
type nvram struct {
	File   string `xml:",chardata"`
	Source source `xml:"source"`
}

func (n nvram) path() string { return cmp.Or(strings.TrimSpace(n.File), n.Source.File) }

type device struct {
	Type string `xml:"type,attr"`
}

type amount struct {
	Unit  string `xml:"unit,attr"`
	Value uint64 `xml:",chardata"`
}

type disk struct {
	Type   string  `xml:"type,attr"`
	Device string  `xml:"device,attr"`
	Source source  `xml:"source"`
	Back   *backer `xml:"backingStore"`
	Driver struct {
		Type            string `xml:"type,attr"`
		Cache           string `xml:"cache,attr"`
		ErrorPolicy     string `xml:"error_policy,attr"`
		ReadErrorPolicy string `xml:"rerror_policy,attr"`
	} `xml:"driver"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	ReadOnly  *struct{} `xml:"readonly"`
	Shareable *struct{} `xml:"shareable"`
	Transient *struct{} `xml:"transient"`
}

type source struct {
	File    string `xml:"file,attr"`
	Dev     string `xml:"dev,attr"`
	Name    string `xml:"name,attr"`
	Volume  string `xml:"volume,attr"`
	Pool    string `xml:"pool,attr"`
	Startup string `xml:"startupPolicy,attr"`
}

// backer is the image that an overlay stands on.
type backer struct {
	Type   string  `xml:"type,attr"`
	Source source  `xml:"source"`
	Back   *backer `xml:"backingStore"`
}

// parseDomain reads a domain's XML.
func parseDomain(text string) (*domain, error) {
	d := new(domain)
	if err := xml.Unmarshal([]byte(text), d); err != nil {
		return nil, fmt.Errorf("domain XML can't be read: %w", err)
	}
	if d.Type != "kvm" && d.Type != "qemu" {
		return nil, fmt.Errorf("domain type %q is none of QEMU's: it must be kvm or qemu", d.Type)
	}
	if d.Name == "" {
		return nil, errors.New("domain XML has no <name>")
	}
	return d, nil
}

// id returns the domain's UUID.
func (d *domain) id() (uuid.UUID, error) {
	vm, err := uuid.Parse(strings.TrimSpace(d.UUID))
	if err != nil {
		return uuid.Nil, fmt.Errorf("domain %s: <uuid> %.60q: %w; write the one that `virsh domuuid` shows", d.Name, d.UUID, err)
	}
	return vm, nil
}

// units are those that libvirt takes for memory.
var units = map[string]uint64{"": 1 << 10, "b": 1, "bytes": 1, "KB": 1e3, "k": 1 << 10, "KiB": 1 << 10, "MB": 1e6, "M": 1 << 20, "MiB": 1 << 20,
	"GB": 1e9, "G": 1 << 30, "GiB": 1 << 30, "TB": 1e12, "T": 1 << 40, "TiB": 1 << 40}

// bytes returns the amount in bytes, 0 for one that makes no sense.
func (a amount) bytes() uint64 {
	unit := units[a.Unit]
	if unit == 0 || a.Value > (1<<62)/unit {
		return 0
	}
	return a.Value * unit
}

const qemuNamespace = "http://libvirt.org/schemas/domain/qemu/1.0"

// marked returns the XML with the variables that QEMU's process shall carry.
func marked(text string, env []string) (string, error) {
	at := strings.LastIndex(text, "</domain>")
	if at < 0 {
		return "", errors.New("domain XML has no </domain>")
	}
	var b strings.Builder
	b.WriteString(text[:at])
	b.WriteString(`<commandline xmlns="` + qemuNamespace + `">`)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&b, `<env name="%s" value="%s"/>`, name, escaped.Replace(value))
	}
	b.WriteString("</commandline>" + text[at:])
	return b.String(), nil
}

var (
	ownVariable  = regexp.MustCompile(`\s*<qemu:env name=['"]STOREBEAT_[^>]*/>`)
	emptyCommand = regexp.MustCompile(`\s*<qemu:commandline>\s*</qemu:commandline>`)
	ownNamespace = regexp.MustCompile(`\s+xmlns:qemu=['"]` + regexp.QuoteMeta(qemuNamespace) + `['"]`)
)

// unmarked takes out what marked has put in, as libvirt prints it.
func unmarked(text string) string {
	text = emptyCommand.ReplaceAllString(ownVariable.ReplaceAllString(text, ""), "")
	if strings.Contains(text, "<qemu:") {
		return text
	}
	return ownNamespace.ReplaceAllString(text, "")
}

// files returns all files that are disks.
func (d *domain) files() (files []string) {
	for _, k := range d.Devices.Disks {
		if k.Source.File != "" {
			files = append(files, filepath.Clean(k.Source.File))
		}
	}
	return files
}

// disks returns the files that the guest has for itself alone.
func (d *domain) disks() (files []string) {
	for _, disk := range d.Devices.Disks {
		if disk.ours() {
			files = append(files, filepath.Clean(disk.Source.File))
		}
	}
	return files
}

// problems lists why the domain can't be a machine on these datastores.
func (d *domain) problems(spec hypervisor.Spec) (all []string) {
	for _, disk := range d.Devices.Disks {
		all = append(all, disk.problems(spec)...)
	}
	all = append(all, d.bound()...)
	if err := d.optionProblem(spec); err != nil {
		all = append(all, strings.Split(err.Error(), "\n")...)
	}
	return all
}

// optionProblem judges the options of QEMU's that a domain has beside what libvirt makes of it.
func (d *domain) optionProblem(spec hypervisor.Spec) error {
	words := make([]string, 0, len(d.Options))
	for _, o := range d.Options {
		words = append(words, o.Value)
	}
	return qemu.Review(spec, words)
}

func (k *disk) problems(spec hypervisor.Spec) (all []string) {
	removable := k.Device == "cdrom" || k.Device == "floppy"
	if removable && (k.Source == source{} || k.Source.Startup == "optional") {
		return nil
	}
	remedy := "move it to a datastore (virsh blockcopy)"
	if removable {
		remedy = "eject it (virsh change-media), put it on a datastore, or give it startupPolicy='optional'"
	}
	if why := k.Source.elsewhere(k.Type, spec); why != "" {
		all = append(all, fmt.Sprintf("disk %s %s: %s", k.Target.Dev, why, remedy))
	}
	if k.ours() && k.Shareable != nil {
		all = append(all, fmt.Sprintf("disk %s is shareable, which takes away the image lock that keeps a second host from writing to it: remove <shareable/> (virsh edit)", k.Target.Dev))
	}
	if k.ours() && k.Transient != nil {
		all = append(all, fmt.Sprintf("disk %s is transient: what the guest writes is kept on this host alone, and thrown away with its end: remove <transient/> (virsh edit)", k.Target.Dev))
	}
	for b := k.Back; b != nil; b = b.Back {
		if why := b.Source.elsewhere(b.Type, spec); b.Type != "" && why != "" {
			all = append(all, fmt.Sprintf("disk %s stands on an image that %s: merge it (virsh blockpull) or move it to a datastore", k.Target.Dev, why))
		}
	}
	return all
}

// elsewhere says where a disk lies that is on none of the datastores.
func (s source) elsewhere(kind string, spec hypervisor.Spec) string {
	switch kind {
	case "file":
		if spec.OnAny(s.File) {
			return ""
		}
		return "lies at " + s.File + ", which is on none of the datastores: " + where(spec)
	case "block":
		return "is the block device " + s.Dev + ", and no file on a datastore"
	case "volume":
		return "is volume " + s.Volume + " of pool " + s.Pool + ", and not given as a file on a datastore"
	case "network":
		return "is reached over the network (" + s.Name + "), and no file on a datastore"
	}
	return "is of type " + kind + ", which the write barrier does not cover"
}

// bound lists the devices that tie a domain to its host, or let it write where
// neither freezing nor the write barrier reach.
func (d *domain) bound() (all []string) {
	for _, h := range d.Devices.Hostdevs {
		all = append(all, fmt.Sprintf("device of the host (hostdev, %s) goes on while the guest is frozen and is on this host alone: remove it", h.Type))
	}
	for _, n := range d.Devices.Interfaces {
		if n.Type == "hostdev" || n.Type == "vdpa" || n.Type == "vhostuser" {
			all = append(all, fmt.Sprintf("network interface of type %s belongs to a device or process of this host, which goes on while the guest is frozen: use a bridge", n.Type))
		}
	}
	for range d.Devices.Filesystems {
		all = append(all, "a folder of the host is shared with the guest (filesystem), which the write barrier does not cover: remove it")
	}
	for range d.Devices.Shmems {
		all = append(all, "memory is shared with processes of this host (shmem): remove it")
	}
	for _, m := range d.Devices.Memories {
		if m.Model == "nvdimm" || m.Model == "virtio-pmem" {
			all = append(all, fmt.Sprintf("memory device %s is kept in the file %s, which the write barrier does not cover: remove it", m.Model, m.Source.Path))
		}
	}
	for _, t := range d.Devices.TPMs {
		if t.Backend.Type == "emulator" {
			all = append(all, "the state of its emulated TPM lies on this host alone, and would be lost: remove the TPM")
		} else {
			all = append(all, "the TPM of this host is passed through to the guest: remove it")
		}
	}
	return all
}

// warnings lists what will not be as its user may expect.
func (d *domain) warnings(spec hypervisor.Spec) (all []string) {
	all = d.scattered(spec)
	if vars := d.NVRAM.path(); vars != "" && !spec.OnAny(vars) {
		all = append(all, fmt.Sprintf("its firmware variables (%s) lie on this host alone: on another host it starts with those of the template", vars))
	}
	if len(d.disks()) == 0 {
		all = append(all, "it has no disk to itself, and so no image lock: nothing but libvirt's hook keeps a second one from being started by hand")
	}
	for _, file := range []string{d.Kernel, d.Initrd} {
		if file = strings.TrimSpace(file); file != "" && !spec.OnAny(file) {
			all = append(all, file+" must be there on every host that may start it")
		}
	}
	for _, disk := range d.Devices.Disks {
		if disk.ours() && !disk.direct() {
			all = append(all, fmt.Sprintf("disk %s has the cache mode %s, and writes that the host's memory keeps could come late: it goes past the host's page cache as long as the guest is protected (cache='none')", disk.Target.Dev, cmp.Or(disk.Driver.Cache, "default")))
		}
		if disk.ours() && !disk.pauses() {
			all = append(all, fmt.Sprintf("disk %s tells the guest when a request fails: to have the guest paused and the request made again instead, give its <driver> error_policy='stop' (virsh edit)", disk.Target.Dev))
		}
	}
	return all
}

// ours tells whether the guest has the disk for itself alone.
func (k *disk) ours() bool {
	return k.ReadOnly == nil && k.Device != "cdrom" && k.Source.File != ""
}

// pauses tells whether the guest is paused when a request to the disk fails. The policy for
// reads is that for writes where libvirt is not told another.
func (k *disk) pauses() bool {
	return k.Driver.ErrorPolicy == "stop" && (k.Driver.ReadErrorPolicy == "" || k.Driver.ReadErrorPolicy == "stop")
}
