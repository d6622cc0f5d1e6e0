package libvirt

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

// The host's page cache keeps what a guest has written until the kernel finds time to write it
// out. A guest that is frozen or ended while its storage is away leaves such writes behind, and
// when the storage is back they go out under no lock of anybody's (R12). So disks go past it,
// whatever their definition says or leaves open; what runs already is opened anew.

// direct are the cache modes that leave nothing in the host's memory.
func (k *disk) direct() bool { return k.Driver.Cache == "none" || k.Driver.Cache == "directsync" }

var (
	wholeDisk   = regexp.MustCompile(`(?s)<disk[\s>].*?</disk>`)
	diskTag     = regexp.MustCompile(`^<disk[^>]*>`)
	driverTag   = regexp.MustCompile(`<driver(\s[^>]*?)?(/?>)`)
	cacheOption = regexp.MustCompile(`\scache=(?:'[^']*'|"[^"]*")`)
	// beforeCache is where libvirt writes the mode: what is put there is no change when it prints it.
	beforeCache = regexp.MustCompile(`^<driver(?:\s(?:name|type)=(?:'[^']*'|"[^"]*"))*`)
)

// uncached returns a domain's XML with the disks that are the guest's own opened past the
// host's page cache.
func uncached(text string) string {
	return wholeDisk.ReplaceAllStringFunc(text, func(one string) string {
		var k disk
		if xml.Unmarshal([]byte(one), &k) != nil || !k.ours() || k.direct() {
			return one
		}
		tag := driverTag.FindStringIndex(one)
		if tag == nil {
			return diskTag.ReplaceAllString(one, "$0<driver name='qemu' cache='none'/>")
		}
		driver := cacheOption.ReplaceAllString(one[tag[0]:tag[1]], "")
		return one[:tag[0]] + beforeCache.ReplaceAllString(driver, "$0 cache='none'") + one[tag[1]:]
	})
}

// blockNode is what QEMU says of one of the nodes that a guest's disks are made of.
type blockNode struct {
	Name     string `json:"node-name"`
	File     string `json:"file"`
	ReadOnly bool   `json:"ro"`
	Cache    struct {
		Direct bool `json:"direct"`
	} `json:"cache"`
}

// firmwareNodes begin the names of those that hold UEFI's variables, for which libvirt knows no mode.
const firmwareNodes = "libvirt-pflash"

// cachedNodes lists the nodes by which the guest writes into the host's page cache.
func (v *virsh) cachedNodes(ctx context.Context, vm uuid.UUID) (cached []blockNode, err error) {
	out, err := v.call(ctx, "qemu-monitor-command", vm.String(), `{"execute":"query-named-block-nodes","arguments":{"flat":true}}`)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Return []blockNode `json:"return"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("block nodes of domain %s: %w", vm, err)
	}
	for _, n := range answer.Return {
		if !n.ReadOnly && !n.Cache.Direct && !strings.HasPrefix(n.Name, firmwareNodes) {
			cached = append(cached, n)
		}
	}
	return cached, nil
}

// bypass has a running guest's disks opened anew past the host's page cache, and writes out
// what that holds. The guest notices nothing of it. After an error it runs on, with the cache.
func (d *Driver) bypass(ctx context.Context, spec hypervisor.Spec) error {
	cached, err := d.virsh.cachedNodes(ctx, spec.VM)
	for _, n := range cached {
		for _, order := range []string{"reopen -o cache.direct=on", "flush"} {
			said, err := d.virsh.callWithin(ctx, createLimit, "qemu-monitor-command", "--hmp", spec.VM.String(), fmt.Sprintf("qemu-io %s %q", n.Name, order))
			if said = oneLine(said); err != nil || said != "" {
				return errors.Join(err, stillCached(n, said))
			}
		}
	}
	if err != nil || len(cached) == 0 {
		return err
	}
	if cached, err = d.virsh.cachedNodes(ctx, spec.VM); err != nil || len(cached) == 0 {
		return err
	}
	return stillCached(cached[0], "QEMU has not done so")
}

func stillCached(n blockNode, why string) error {
	return fmt.Errorf("open %s without the host's page cache, from which writes could come late: %s; shut the guest off, and protect it then", n.File, why)
}
