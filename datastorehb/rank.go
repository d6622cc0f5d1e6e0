package datastorehb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Candidate is a datastore that may carry heartbeats, as the ranking sees it.
type Candidate struct {
	Datastore uuid.UUID
	Name      string
	Hosts     []HostID       // with access, in any order
	Device    DeviceIdentity // as the ranking host found it
	FSType    string         // as in /proc/self/mountinfo
	Preferred bool           // by the user: goes before every other
	Excluded  bool           // by the user: never carries heartbeats
}

// TypeGroup is a set of file-system types that are equally good.
type TypeGroup struct {
	Name  string
	Types []string
}

// DefaultTypeOrder puts file systems that many hosts see ahead of the others:
// cluster file systems first, since their barrier costs no lock lease, then NFS.
func DefaultTypeOrder() []TypeGroup {
	return []TypeGroup{
		{Name: "cluster file system", Types: []string{"ocfs2", "gfs2", "gpfs", "ceph", "lustre", "beegfs", "fuse.glusterfs", "fuse.ceph"}},
		{Name: "NFS", Types: []string{"nfs4", "nfs"}},
	}
}

// otherTypes is the group of types that no group of the order names.
const otherTypes = "other file system"

// The bounds of RankOptions.Count. A cluster with one datastore uses that one.
const (
	LeastHeartbeatDatastores = 2
	MostHeartbeatDatastores  = 5
)

// RankOptions are the user's wishes about heartbeat datastores.
type RankOptions struct {
	Count            int         // how many each host uses, if there are as many
	ThresholdPercent int         // of the live hosts that must have access; below it a datastore is discarded
	TypeOrder        []TypeGroup // best first; types in no group come last
}

// DefaultRankOptions returns two datastores per host, which a quarter of the
// live hosts must have access to.
func DefaultRankOptions() RankOptions {
	return RankOptions{Count: LeastHeartbeatDatastores, ThresholdPercent: 25, TypeOrder: DefaultTypeOrder()}
}

// Validate refuses options out of bounds, with the value and the remedy.
func (o RankOptions) Validate() error {
	if o.Count < LeastHeartbeatDatastores || o.Count > MostHeartbeatDatastores {
		return fmt.Errorf("%d heartbeat datastores per host: choose %d to %d (a cluster with one datastore uses that one)", o.Count, LeastHeartbeatDatastores, MostHeartbeatDatastores)
	}
	if o.ThresholdPercent < 0 || o.ThresholdPercent > 100 {
		return fmt.Errorf("heartbeat datastore threshold of %d %%: choose 0 to 100 (the share of live hosts that must have access)", o.ThresholdPercent)
	}
	return nil
}

// group returns the place of a type in the order, and the name of its group.
func (o RankOptions) group(fsType string) (place int, name string) {
	for i, g := range o.TypeOrder {
		if slices.Contains(g.Types, fsType) {
			return i, g.Name
		}
	}
	return len(o.TypeOrder), otherTypes
}

// Ranked is a candidate with its rank and everything that the rank follows from.
type Ranked struct {
	Candidate        // Hosts holds the live hosts with access, sorted
	Rank      int    // 1 is best; equal ranks are equally good; 0 when discarded
	Discarded bool   // never to be selected
	Live      int    // how many live hosts there are
	Needed    int    // how many of them must have access
	Group     string // the name of the type's group

	SharesWith []string // names of the other datastores with a device in common, sorted

	groupPlace int
}

// Accessible reports whether the host is live and has access to the datastore.
func (r *Ranked) Accessible(h HostID) bool {
	_, ok := slices.BinarySearch(r.Hosts, h)
	return ok
}

// Reasons says in words why the datastore stands where it stands.
func (r *Ranked) Reasons() []string {
	if r.Excluded {
		return []string{"excluded in the configuration"}
	}
	access := fmt.Sprintf("%d of %d live hosts have access", len(r.Hosts), r.Live)
	if r.Discarded {
		return []string{fmt.Sprintf("%s, at least %d needed", access, r.Needed)}
	}
	var reasons []string
	if r.Preferred {
		reasons = append(reasons, "preferred in the configuration")
	}
	return append(reasons, access, r.sharing(), fmt.Sprintf("%s (%s)", r.Group, r.FSType))
}

func (r *Ranked) sharing() string {
	if len(r.SharesWith) == 0 {
		return "shares no device with another datastore"
	}
	return "shares a device with " + strings.Join(r.SharesWith, ", ")
}

// Rank orders the candidates for carrying heartbeats, best first: preferred by
// the user, then more live hosts with access, then fewer other datastores on the
// same device, then the better group of file-system types. Excluded datastores,
// and those that too few live hosts have access to, come last, discarded. Each
// datastore may be given once; the order of the input does not matter.
func Rank(candidates []Candidate, live []HostID, opts RankOptions) []Ranked {
	live = sortedHosts(live)
	ranked := make([]Ranked, len(candidates))
	for i := range candidates {
		ranked[i] = measure(candidates[i], live, opts)
	}
	noteSharing(ranked)
	slices.SortFunc(ranked, func(a, b Ranked) int {
		return cmp.Or(compareMerit(&a, &b), compareIDs(a.Datastore, b.Datastore))
	})
	number(ranked)
	return ranked
}

// measure takes stock of one candidate on its own; live is sorted.
func measure(c Candidate, live []HostID, opts RankOptions) Ranked {
	r := Ranked{Candidate: c, Live: len(live), Needed: max(1, (len(live)*opts.ThresholdPercent+99)/100)}
	r.Hosts = common(sortedHosts(c.Hosts), live)
	r.groupPlace, r.Group = opts.group(c.FSType)
	r.Discarded = c.Excluded || len(r.Hosts) < r.Needed
	return r
}

// noteSharing finds the datastores with a device in common. Discarded ones
// don't count: they carry no heartbeats that could be lost together.
func noteSharing(ranked []Ranked) {
	for i := range ranked {
		for j := range i {
			a, b := &ranked[i], &ranked[j]
			if a.Discarded || b.Discarded || !a.Device.Overlaps(b.Device) {
				continue
			}
			a.SharesWith = append(a.SharesWith, b.Name)
			b.SharesWith = append(b.SharesWith, a.Name)
		}
	}
	for i := range ranked {
		slices.Sort(ranked[i].SharesWith)
	}
}

// compareMerit returns less than 0 when a is better than b, 0 when they are equally good.
func compareMerit(a, b *Ranked) int {
	return cmp.Or(
		compareFalseFirst(a.Discarded, b.Discarded),
		compareFalseFirst(!a.Preferred, !b.Preferred),
		cmp.Compare(len(b.Hosts), len(a.Hosts)),
		cmp.Compare(len(a.SharesWith), len(b.SharesWith)),
		cmp.Compare(a.groupPlace, b.groupPlace),
	)
}

func compareFalseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compareIDs(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// number gives equally good datastores the same rank and the next ones the next.
func number(ranked []Ranked) {
	rank := 0
	for i := range ranked {
		if ranked[i].Discarded {
			return
		}
		if i == 0 || compareMerit(&ranked[i-1], &ranked[i]) != 0 {
			rank++
		}
		ranked[i].Rank = rank
	}
}

// sortedHosts returns the hosts in ascending order, each once.
func sortedHosts(hosts []HostID) []HostID {
	sorted := slices.Clone(hosts)
	if !slices.IsSorted(sorted) {
		slices.Sort(sorted)
	}
	return slices.Compact(sorted)
}

// common returns the hosts that are in both of two ascending lists.
func common(a, b []HostID) []HostID {
	both := make([]HostID, 0, min(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			both = append(both, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return both
}
