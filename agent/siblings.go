package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
	"storebeat/poweron"
)

// refuseShared refuses to protect a machine that another cluster on the same file
// system protects, or one of whose disks belongs to such a machine: both clusters
// would start it, each with every right. What another cluster keeps and can't be read counts
// when it is about the same machine.
//
// It is a check against mistakes and no exclusion: of two clusters that are asked at the same
// moment both may agree.
func (a *Agent) refuseShared(ctx context.Context, d config.Datastore, e *poweron.Entry) error {
	type answer struct {
		siblings []store.Sibling
		err      error
	}
	read := make(chan answer, 1)
	go func() { // It may hang for ever, as everything on a datastore.
		siblings, err := store.Siblings(d.Path, a.live.Load().Cluster.UUID)
		read <- answer{siblings, err}
	}()
	select {
	case r := <-read:
		if r.err != nil {
			return control.Errorf(control.Unavailable, "can't tell whether another cluster protects %s: %v", e.Name, r.err)
		}
		for i := range r.siblings {
			if err := a.refuseSibling(&r.siblings[i], d, e); err != nil {
				return err
			}
		}
		return nil
	case <-ctx.Done():
		return control.Errorf(control.Unavailable, "datastore %s did not answer in time: it can't be told whether another cluster protects %s", d.Name, e.Name).
			WithRemedy("look with `storebeat datastore list`, then repeat the command")
	}
}

func (a *Agent) refuseSibling(s *store.Sibling, d config.Datastore, e *poweron.Entry) error {
	remedy := fmt.Sprintf("unprotect it in cluster %s first, or remove what that cluster left behind, if it is no more: %s", s.Cluster, filepath.Join(d.Path, ".storebeat", s.Cluster.String()))
	other, err := poweron.Entry{}, s.Err
	if s.State == datastorehb.Valid {
		other, err = poweron.DecodeEntry(s.Entry.Payload)
	}
	switch {
	case s.State == datastorehb.Absent || err == nil && !other.Protected:
		return nil
	case s.VM == e.VM && err != nil:
		return control.Errorf(control.Refused, "cluster %s on the same datastore knows %s (%s), and what it says of it can't be read: %v", s.Cluster, e.Name, e.VM, err).WithRemedy("%s", remedy)
	case s.VM == e.VM:
		return control.Errorf(control.Refused, "cluster %s on the same datastore protects %s (%s), under the name %s: it would run twice", s.Cluster, e.Name, e.VM, other.Name).WithRemedy("%s", remedy)
	case err != nil:
		a.log.Warn("can't tell which disks a machine of another cluster has", "cluster", s.Cluster, "machine", s.VM, "error", err)
		return nil
	}
	if disk := a.sharedDisk(d, e, &other); disk != "" {
		return control.Errorf(control.Refused, "disk %s of %s belongs to %s, which cluster %s on the same datastore protects: two machines would write to it", disk, e.Name, other.Name, s.Cluster).WithRemedy("%s", remedy)
	}
	return nil
}

// sharedDisk returns a disk that two machines on one datastore have in common, or "".
func (a *Agent) sharedDisk(home config.Datastore, e, other *poweron.Entry) string {
	theirs := a.disksOf(home, other)
	for _, mine := range a.disksOf(home, e) {
		for _, d := range theirs {
			if sameFile(mine, d) {
				return mine
			}
		}
	}
	return ""
}

func (a *Agent) disksOf(home config.Datastore, e *poweron.Entry) []string {
	driver := a.machines.known[e.Driver]
	if driver == nil {
		return nil
	}
	disks, err := driver.Disks(hypervisor.Spec{VM: e.VM, Name: e.Name, DatastorePath: home.Path, Others: a.otherPlaces(but(home.UUID)), Definition: e.Definition})
	if err != nil {
		a.log.Warn("can't tell which disks a machine has", "machine", e.Name, "error", err)
	}
	return disks
}

// sameFile reports whether two paths lead to one file, by another name perhaps.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}
