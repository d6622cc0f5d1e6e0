package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
)

func checkMount(p *probe) []Finding {
	return slices.Concat(mountPoint(p.info), fileSystem(p.info), mountOptions(p.info.Mount))
}

func mountPoint(info device.Info) []Finding {
	const name = "mount point"
	switch {
	case info.OnRoot:
		return one(name, Unsafe, "the path lies on the root file system: nothing is mounted here",
			"mount the shared file system at "+info.Path+", and start the agent only after that (RequiresMountsFor= in its unit)")
	case info.IsMountPoint:
		return one(name, OK, "is a mount point", "")
	}
	return one(name, OK, "a folder of the file system mounted at "+info.Mount.Point, "")
}

func fileSystem(info device.Info) []Finding {
	const name = "file system"
	t := info.Mount.FSType
	switch {
	case t == "tmpfs" || t == "ramfs":
		return one(name, Unsafe, t+" lives in this host's memory", "use a file system that all hosts mount, NFS 4.1 or later or a cluster file system")
	case device.IsLocal(t):
		return one(name, Warning, t+" is a file system of this host alone: other hosts can't see it, and mounting its disk on two hosts destroys it",
			"use it to try Storebeat out only; for real use NFS 4.1 or later or a cluster file system")
	case info.NFS != nil:
		return one(name, OK, fmt.Sprintf("NFS %s, export %s of %s", info.NFS.Version, info.NFS.Export, info.NFS.Server), "")
	}
	return one(name, OK, t+" from "+info.Mount.Source, "")
}

// optionRule judges one mount option.
type optionRule struct {
	types  []string // file systems it applies to; nil for all
	option string
	status Status
	why    string
	remedy string
}

var (
	nfsTypes  = []string{"nfs", "nfs4"}
	softWhy   = "a write that was given up may still arrive, after a newer one: an old heartbeat can come back, and guests see errors"
	softMend  = "mount with hard"
	orderWhy  = "what was synced may be lost at a power failure: a claim that was won could be won again"
	orderMend = "mount without it"
)

var optionRules = []optionRule{
	{nil, "ro", Unsafe, "nothing can be written", "mount with rw"},
	{nfsTypes, "soft", Unsafe, softWhy, softMend},
	{nfsTypes, "softerr", Unsafe, softWhy, softMend},
	{nfsTypes, "nolock", Unsafe, "locks stay on this host", "mount without nolock"},
	{nfsTypes, "local_lock=all", Unsafe, "locks stay on this host", "mount with local_lock=none"},
	{nfsTypes, "local_lock=posix", Unsafe, "image locks stay on this host", "mount with local_lock=none"},
	{nfsTypes, "proto=udp", Unsafe, "requests that are sent twice may be carried out twice", "mount with proto=tcp"},
	{[]string{"ocfs2", "gfs2"}, "localflocks", Unsafe, "locks stay on this host", "mount without localflocks"},
	{[]string{"gfs2"}, "lockproto=lock_nolock", Unsafe, "the file system is not locked between hosts: a second mount destroys it", "mount with lockproto=lock_dlm"},
	{[]string{"ocfs2"}, "heartbeat=none", Unsafe, "the file system is mounted for this host alone", "mount it as part of the cluster (heartbeat=local or global)"},
	{[]string{"ocfs2"}, "coherency=buffered", Unsafe, "direct writes of another host may stay unseen", "mount with coherency=full"},
	{[]string{"ceph"}, "recover_session=clean", Unsafe, "a client that was shut out comes back by itself and goes on writing, without its locks", "mount without recover_session"},
	{nil, "nobarrier", Unsafe, orderWhy, orderMend},
	{nil, "barrier=0", Unsafe, orderWhy, orderMend},
	{nil, "barrier=none", Unsafe, orderWhy, orderMend},
}

func (r optionRule) hits(m device.Mount) bool {
	return (r.types == nil || slices.Contains(r.types, m.FSType)) && m.Has(r.option)
}

// mountOptions reports each option that does harm, or that none does.
func mountOptions(m device.Mount) (findings []Finding) {
	const name = "mount options"
	for _, r := range optionRules {
		if r.hits(m) {
			findings = append(findings, Finding{Name: name, Status: r.status, What: r.option + ": " + r.why, Remedy: r.remedy})
		}
	}
	if findings == nil {
		return one(name, OK, "none of them does harm: "+strings.Join(m.Options, ","), "")
	}
	return findings
}

// longLease is the lock lease above which a shorter one is worth the trouble.
const longLease = 15 * time.Second

// checkBarrier is the last step, since it needs to know whether locks work.
func checkBarrier(p *probe) []Finding {
	p.barrier = p.info.Barrier()
	if p.barrier.Kind == datastorehb.BarrierLock && p.lockFault != "" {
		p.barrier = device.Barrier{Why: "image locks don't work here: " + p.lockFault}
	}
	if p.opts.Fence {
		p.barrier = device.Barrier{Kind: datastorehb.BarrierFence, Why: "named in the configuration: a fence agent or the watchdog takes a lost host down"}
	}
	p.restart = Restart{Takeover: p.opts.Timing.Takeover, BarrierLease: p.barrier.Lease}
	return slices.Concat(p.barrierFinding(), p.restartFinding())
}

func (p *probe) barrierFinding() []Finding {
	const name = "write barrier"
	const better = `use NFS 4.1 or later with locks or a cluster file system, or name a fence (write_barrier = "fence")`
	b := p.barrier
	what := "none: " + b.Why + "; late writes of a lost host may overwrite what the new owner wrote"
	switch {
	case b.Kind == datastorehb.BarrierNone && p.opts.NoBarrier:
		return one(name, Warning, what+". The configuration takes that risk (accept_no_barrier = true)", better)
	case b.Kind == datastorehb.BarrierNone:
		return one(name, Unsafe, what, better+", or take the risk explicitly (accept_no_barrier = true)")
	}
	return one(name, OK, b.Kind.String()+": "+b.Why, "")
}

func (p *probe) restartFinding() []Finding {
	const name = "restart time"
	takeover := p.restart.Takeover
	switch {
	case p.barrier.Kind == datastorehb.BarrierClusterFS:
		return one(name, OK, fmt.Sprintf("%v takeover, and until the cluster file system has thrown the lost host out (its own time-outs)", takeover), "")
	case p.barrier.Kind == datastorehb.BarrierFence:
		return one(name, OK, fmt.Sprintf("%v takeover, and until the fence has reported the lost host off", takeover), "")
	case p.barrier.Kind == datastorehb.BarrierLock && p.barrier.Lease == 0:
		return one(name, Warning, fmt.Sprintf("%v takeover, and the server's lock lease, which this kernel does not show (often 90s)", takeover), shorterLease)
	}
	p.restart.Expected = takeover + p.restart.BarrierLease
	what := fmt.Sprintf("up to %v after the lost host's last sign of life", p.restart.Expected)
	if p.restart.BarrierLease > 0 {
		what += fmt.Sprintf(": %v takeover + %v lock lease", takeover, p.restart.BarrierLease)
	}
	if p.restart.BarrierLease > longLease {
		return one(name, Warning, what, shorterLease)
	}
	return one(name, OK, what, "")
}

const shorterLease = "set the server's lock lease to 10-15 s (Linux: lease-time and grace-time under [nfsd] in /etc/nfs.conf; ganesha: Lease_Lifetime)"

// unseen lists what was not found out: one host can't, without the others.
func unseen(info device.Info, by seen) []string {
	list := []string{}
	if !by.race {
		list = append(list, "whether other hosts lose the race for a name that this one wins: name them with --peer")
	}
	if !by.names {
		list = append(list, "how soon other hosts see a new name")
	}
	if info.NFS != nil {
		list = append(list, "whether the server exports with sync, as it must (on a Linux server: exportfs -v)")
	}
	return list
}
