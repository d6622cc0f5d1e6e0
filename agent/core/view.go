package core

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// View is everything that one host knows, for status and explanations. Only a
// master sees the whole cluster; View says so in Leading.
type View struct {
	At         datastorehb.Instant `json:"at"`
	Host       datastorehb.HostID  `json:"host"`
	Name       string              `json:"name"`
	Master     datastorehb.HostID  `json:"master"`
	MasterName string              `json:"master_name"`
	Leading    bool                `json:"leading"`
	Isolated   bool                `json:"isolated"`
	GuardUp    bool                `json:"guard_up"`
	Timing     datastorehb.Timing  `json:"timing"`
	Inhibited  *HostInhibited      `json:"inhibited,omitempty"` // nil where there is no login manager to ask
	Cluster    ClusterView         `json:"cluster"`
	Hosts      []HostView          `json:"hosts"`
	Datastores []DatastoreView     `json:"datastores"`
	Machines   []MachineView       `json:"machines"`
}

// HostView is one host as this one sees it.
type HostView struct {
	ID          datastorehb.HostID `json:"id"`
	Name        string             `json:"name"`
	State       string             `json:"state"`
	Lost        []string           `json:"lost,omitempty"`    // datastores that the host has lost
	Custody     []string           `json:"custody,omitempty"` // datastores where its machines are in custody (R11)
	Leave       datastorehb.Leave  `json:"leave,omitzero"`    // who stopped its agent in good order
	Rule        string             `json:"rule"`
	Evidence    []string           `json:"evidence"`
	For         time.Duration      `json:"for"` // how long it has been in that state
	Master      bool               `json:"master"`
	Silence     time.Duration      `json:"silence"` // since it was heard on the network; 0 for this host itself
	MemoryTotal uint64             `json:"memory_total"`
	MemoryUsed  uint64             `json:"memory_used"`
	Machines    int                `json:"machines"` // that run there by what the datastores say

	// What the host said of itself when it was last heard.
	Revision uint64             `json:"revision"` // of the cluster record that it acts on
	Levels   datastorehb.Levels `json:"levels"`   // feature levels that its program knows
	Version  string             `json:"version"`  // of its program
	Lease    time.Duration      `json:"lease"`
	Takeover time.Duration      `json:"takeover"`
	Differs  bool               `json:"differs"` // its configuration file differs from the record
	Machine  uuid.UUID          `json:"machine"` // its computer's machine-id

	Drivers []DriverView `json:"drivers,omitempty"` // that it may start machines with; none while it has not said so

	Stranger uuid.UUID `json:"stranger,omitzero"` // machine-id of another computer that says it is this host (R1)

	Uninhibited bool `json:"uninhibited,omitempty"` // its login manager would not wait for its agent at a shutdown

	NotInCustody []string `json:"not_in_custody,omitempty"` // in a pause: datastores on which its machines are not in custody

	Maintenance *cluster.Maintenance `json:"maintenance,omitempty"`
	Returning   []uuid.UUID          `json:"returning,omitempty"`   // machines that are to be brought back there
	Stuck       []string             `json:"stuck,omitempty"`       // machines that can't be moved for now, and why
	Unprotected []string             `json:"unprotected,omitempty"` // machines there that nobody moves, since they are not protected
}

// DriverView is what a host said of one of its hypervisor drivers.
type DriverView struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // of its hypervisor
	Problem string `json:"problem,omitempty"` // why it can't start machines, "" if it can
}

// ClusterView is what this host knows of the cluster record.
type ClusterView struct {
	Record      *cluster.Record `json:"record"`                // that this host acts on; nil while it knows none
	Counts      bool            `json:"counts"`                // most datastores are known to hold it
	Lacks       []string        `json:"lacks,omitempty"`       // datastores that were read and hold an older one, or none
	Unknown     []string        `json:"unknown,omitempty"`     // datastores that could not be read
	Rivals      []string        `json:"rivals,omitempty"`      // other changes of the same number
	Missing     string          `json:"missing,omitempty"`     // why there is no record yet
	Differences []string        `json:"differences,omitempty"` // of this host's configuration file from the record
	Level       uint16          `json:"level"`                 // at which this host writes
	Outcast     string          `json:"outcast,omitempty"`     // why this host takes no part in the cluster
	Outdated    string          `json:"outdated,omitempty"`    // why this host's program can't read the newest revision
}

// DatastoreView is one datastore as this host sees it.
type DatastoreView struct {
	ID          uuid.UUID     `json:"id"`
	Name        string        `json:"name"`
	State       string        `json:"state"`
	Why         string        `json:"why,omitempty"`
	FSType      string        `json:"fs_type"`
	Scanned     bool          `json:"scanned"`   // its machines have been read
	Heartbeat   bool          `json:"heartbeat"` // this host writes heartbeats here
	Rank        int           `json:"rank"`      // 0: discarded
	Reasons     []string      `json:"reasons,omitempty"`
	Term        uint64        `json:"term"`
	First       uint64        `json:"first"` // of its chain
	Phase       string        `json:"phase"`
	Custody     bool          `json:"custody,omitempty"`      // this host's machines here are in custody (R11)
	Lease       time.Duration `json:"lease"`                  // what is left of it
	LeaseLength time.Duration `json:"lease_length,omitempty"` // in force under the term that is held: that of the term's claim (R4)
	Writing     time.Duration `json:"writing,omitempty"`      // how long a heartbeat write has been under way
	ReadError   string        `json:"read_error,omitempty"`
	Hosts       []WatchView   `json:"hosts"`
}

// WatchView is what a datastore says of another host.
type WatchView struct {
	Host      datastorehb.HostID `json:"host"`
	Name      string             `json:"name"`
	Slot      string             `json:"slot"`
	Sequence  uint64             `json:"sequence"`
	Term      uint64             `json:"term"`
	Closed    bool               `json:"closed"`
	Silent    time.Duration      `json:"silent"`   // since the last sign of life seen here
	Interval  time.Duration      `json:"interval"` // the unbroken silence that R7a counts
	Required  time.Duration      `json:"required"`
	Custody   bool               `json:"custody,omitempty"`    // its machines here are in custody (R11)
	NotClosed string             `json:"not_closed,omitempty"` // why its term is not closed
}

// InCustody is the state of a machine whose host's agent was stopped in good order.
const InCustody = "in custody"

// LeftOff is the state of a machine whose host was shut down, and whose policy is to
// stay off until that host is back.
const LeftOff = "left off"

// MachineView is one machine as this host sees it.
type MachineView struct {
	VM         uuid.UUID          `json:"vm"`
	Name       string             `json:"name"`
	Datastore  uuid.UUID          `json:"datastore"`
	Home       string             `json:"home"`
	State      string             `json:"state"` // running, frozen, in custody, starting, stopped, waiting, left off, held, undetermined, unknown
	Host       datastorehb.HostID `json:"host"`  // that runs or starts it, 0 when none does
	HostName   string             `json:"host_name"`
	Last       datastorehb.HostID `json:"last"` // that holds its newest generation, or has released it; 0 before the first
	Protected  bool               `json:"protected"`
	Desired    poweron.Desired    `json:"desired"`
	Generation uint64             `json:"generation"`
	Term       uint64             `json:"term"`
	Failures   uint32             `json:"failures"`
	Why        string             `json:"why"` // the rule or reason behind the state
	Refusals   []string           `json:"refusals,omitempty"`
	Policy     poweron.Policy     `json:"policy"`
	Rules      poweron.Rules      `json:"rules"`
	Breaches   []string           `json:"breaches,omitempty"`  // hard rules that it breaks where it is
	Conflicts  []string           `json:"conflicts,omitempty"` // hard rules that can't be met at all
	Driver     string             `json:"driver"`
	Memory     uint64             `json:"memory"`
	Phase      string             `json:"phase,omitempty"` // on this host
	Condition  Condition          `json:"condition,omitzero"`
}

// Condition is what a host says of a machine's guest, as far as not all is well. The core
// knows nothing of it, and nothing follows from it: it is for people.
type Condition struct {
	Guest   string   `json:"guest,omitempty"`   // what it is instead of running, such as paused, io-error or KillPending
	Why     string   `json:"why,omitempty"`     // also that nobody knows how the guest is
	Remarks []string `json:"remarks,omitempty"` // what was found about the machine in the hypervisor's own house
}

// KillPending is the Guest of a machine that is to be ended and can't be before its I/O has returned (R12).
const KillPending = "kill-pending"

// View returns what the host knows at now. It changes nothing.
func (c *Core) View(now datastorehb.Instant) View {
	v := View{At: now, Host: c.cfg.Self.Host, Name: c.HostName(c.cfg.Self.Host), Master: c.net.master, Leading: c.net.leading,
		Isolated: c.net.isolated, GuardUp: c.guardUp, Timing: c.cfg.Timing, Cluster: c.viewCluster()}
	if c.inhibition.known {
		inhibited := c.inhibition.HostInhibited
		v.Inhibited = &inhibited
	}
	if v.Master != 0 {
		v.MasterName = c.HostName(v.Master)
	}
	for _, f := range c.footings {
		v.Datastores = append(v.Datastores, c.viewDatastore(f, now))
		for _, i := range f.infos {
			v.Machines = append(v.Machines, c.viewMachine(f, i))
		}
	}
	slices.SortStableFunc(v.Machines, func(a, b MachineView) int {
		if a.Name != b.Name {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}
		return compareUUID(a.VM, b.VM)
	})
	c.viewRules(v.Machines)
	for _, m := range c.cfg.Hosts {
		v.Hosts = append(v.Hosts, c.viewHost(m, now, v.Machines))
	}
	c.nameHosts(&v)
	return v
}

// Entry returns the newest entry of a machine that this host has read on a datastore.
func (c *Core) Entry(datastore, vm uuid.UUID) (poweron.Entry, bool) {
	f := c.footing(datastore)
	if f == nil {
		return poweron.Entry{}, false
	}
	i := f.info(vm)
	if i == nil || i.EntryState != datastorehb.Valid {
		return poweron.Entry{}, false
	}
	return i.Entry, true
}

func (c *Core) viewDatastore(f *footing, now datastorehb.Instant) DatastoreView {
	v := DatastoreView{ID: f.ID, Name: f.Name, State: "available", Why: f.why, FSType: f.device.FSType, Scanned: f.scanned, Heartbeat: f.selected,
		Term: f.own.Number, First: f.own.First, Phase: f.phase.String(), Custody: f.custody.sure, ReadError: f.readErr, Hosts: []WatchView{}}
	switch {
	case f.distrusted:
		v.State = "distrusted"
	case !f.open:
		v.State = "unavailable"
	case !c.accessible(f):
		v.State = "failing"
	}
	if f.phase == termHeld && !f.lease.InCustody() {
		v.Lease = f.lease.Deadline().Sub(now)
	}
	if f.phase == termHeld {
		v.LeaseLength = f.lease.Length()
	}
	if f.writing {
		v.Writing = now.Sub(f.issued)
	}
	for _, r := range c.net.ranked {
		if r.Datastore == f.ID {
			v.Rank, v.Reasons = r.Rank, r.Reasons()
		}
	}
	for _, w := range f.watches {
		t, _ := w.Term()
		_, why := w.Closable(c.cfg.Timing.Takeover)
		v.Hosts = append(v.Hosts, WatchView{Host: w.host, Name: c.HostName(w.host), Slot: w.slot.State.String(), Sequence: w.slot.Slot.Sequence,
			Term: t.Number, Closed: t.Closed, Silent: now.Sub(w.alive), Interval: w.Silence(), Required: w.Required(c.cfg.Timing.Takeover), NotClosed: why, Custody: w.inCustody()})
	}
	return v
}

func (c *Core) viewMachine(f *footing, i *info) MachineView {
	v := MachineView{VM: i.vm, Name: i.Entry.Name, Datastore: f.ID, Home: f.Name, Protected: i.Entry.Protected, Desired: i.Entry.Desired,
		Generation: i.Generation.Number, Term: i.Generation.Term, Failures: i.Generation.Failures, Policy: i.Entry.Policy, Rules: i.Entry.Rules, Driver: i.Entry.Driver, Memory: i.Entry.Memory}
	if m := c.machine(i.vm); m != nil {
		v.Phase = m.phase.String()
		v.Failures = m.failures
	}
	v.State, v.Host, v.Why = c.machineState(f, i)
	if i.newest() != nil {
		v.Last = i.Generation.Owner
	}
	if moving := c.moving(i.newest()); moving != "" {
		v.Why = fmt.Sprintf("%s, as this host has known for %v; %s", moving, rounded(c.now.Sub(i.since)), v.Why)
	}
	if v.Host != 0 {
		v.HostName = c.HostName(v.Host)
	}
	for _, w := range c.mastery.waiting {
		if w.VM == i.vm {
			v.Why = w.Why
			for _, r := range w.Hosts {
				v.Refusals = append(v.Refusals, r.String())
			}
		}
	}
	return v
}

// machineState says in a word where a machine stands, on which host, and why.
func (c *Core) machineState(f *footing, i *info) (state string, host datastorehb.HostID, why string) {
	if m := c.machine(i.vm); m != nil {
		return c.localState(m)
	}
	g := i.newest()
	if i.EntryState != datastorehb.Valid || g == nil && i.GenerationState != datastorehb.Absent {
		return "unknown", 0, fmt.Sprintf("its entry is %s, its generation %s", i.EntryState, i.GenerationState)
	}
	if o := c.mastery.orders[i.vm]; o != nil {
		return "starting", o.host, "ordered by the master"
	}
	over, whyOver := true, ""
	if g != nil {
		if over, whyOver = poweron.Over(*g, c.termsOf(f)); !over {
			return c.remoteState(f, i, *g, whyOver)
		}
	}
	wants, why := poweron.Wants(i.Entry, i.Revision, g, over)
	switch {
	case wants && c.keeping(f, i).off():
		k := c.keeping(f, i)
		if k.until == math.MaxInt64 {
			return LeftOff, 0, c.keptWords(i, k)
		}
		return "waiting", 0, c.keptWords(i, k)
	case wants:
		if k := c.keeping(f, i); k.host != 0 {
			why = c.keptWords(i, k)
		}
		if h := c.mastery.histories[i.vm]; h != nil && h.why != "" {
			why += "; the last attempt failed: " + h.why
		}
		if left := c.pauseOf(i).Sub(c.now); left > 0 {
			why += fmt.Sprintf("; the next start is tried in %v", left.Round(time.Second))
		}
		return "waiting", 0, why
	case g != nil && g.Kind == poweron.Released && g.Reason == poweron.Held && i.Entry.Protected && i.Entry.Desired == poweron.Running:
		return "held", 0, why
	}
	return "stopped", 0, why
}

func (c *Core) localState(m *machine) (string, datastorehb.HostID, string) {
	self := c.cfg.Self.Host
	switch {
	case m.phase == phaseAsk:
		return "running", m.home.info(m.vm).Generation.Owner, "a hypervisor wants to move it to " + c.HostName(self)
	case m.gen.Shared() && m.move.receiving && m.phase == phaseRun:
		return "running", m.gen.Owner, fmt.Sprintf("%s receives it under generation %d", c.HostName(self), m.gen.Number)
	case m.phase == phaseRun && m.frozen:
		return "frozen", self, c.HostName(self) + " has no lease on its home datastore (R4)"
	case m.phase == phaseRun:
		return "running", self, fmt.Sprintf("generation %d under term %d (R3)", m.gen.Number, m.home.own.Number)
	case m.phase == phaseStop, m.phase == phaseRelease:
		return "stopping", self, m.detail
	case m.phase == phaseExamine, m.phase == phaseReclaim, m.phase == phaseAdopt:
		return "frozen", self, "it is found out whether another host has taken it (R8)"
	case m.phase == phasePutDown:
		return "undetermined", 0, "another host owns it; the former instance on " + c.HostName(self) + " is being put down (R12)"
	}
	if m.refused != "" {
		return "starting", self, "its start is refused for now and tried again until it succeeds (R12): " + m.refused
	}
	return "starting", self, m.phase.String()
}

// remoteState is about a machine whose generation is not over.
func (c *Core) remoteState(f *footing, i *info, g poweron.Generation, why string) (string, datastorehb.HostID, string) {
	w := f.watches.of(g.Owner)
	if w == nil {
		return "running", g.Owner, why
	}
	if w.inCustody() && !c.heard(g.Owner) {
		return InCustody, g.Owner, fmt.Sprintf("the agent of %s is stopped: if the host runs, so does the machine, and nobody starts it elsewhere (R11)", c.HostName(g.Owner))
	}
	if t, _ := w.Term(); t.Number > 0 && w.Silence() > t.Timing.Lease+t.Timing.Freeze {
		return "frozen", g.Owner, fmt.Sprintf("%s has shown no proof of life on %s for %v: if it lives, the machine is frozen there (R5)", c.HostName(g.Owner), f.Name, rounded(w.Silence()))
	}
	if !w.listOK {
		return "running", g.Owner, why
	}
	for _, l := range w.listed.Machines {
		if l.VM == i.vm && l.Frozen {
			return "frozen", g.Owner, c.HostName(g.Owner) + " has no lease on its home datastore"
		} else if l.VM == i.vm {
			return "running", g.Owner, why
		}
	}
	if w.listed.Writer.Incarnation != w.slot.Slot.Incarnation || i.at >= w.listAt {
		return "running", g.Owner, why
	}
	return "undetermined", g.Owner, fmt.Sprintf("%s holds generation %d and does not list the machine: that is no end of it (R8)", c.HostName(g.Owner), g.Number)
}

func (c *Core) viewHost(m Member, now datastorehb.Instant, machines []MachineView) HostView {
	v := HostView{ID: m.ID, Name: m.Name, Master: m.ID == c.net.master, Evidence: []string{}}
	c.fillVerdict(&v, now)
	c.fillProgram(&v)
	c.fillDrivers(&v)
	c.viewMaintenance(&v)
	v.NotInCustody = c.notInCustody(v.ID)
	for i := range machines {
		if machines[i].Host == m.ID && (machines[i].State == "running" || machines[i].State == "frozen" || machines[i].State == InCustody) {
			v.Machines++
		}
	}
	return v
}
