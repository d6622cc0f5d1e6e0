package partition

import (
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Evidence is everything known about one host when it is judged.
type Evidence struct {
	Host       datastorehb.HostID
	Network    Network
	Ping       Ping
	Datastores []DatastoreEvidence
}

// Network is what network heartbeats say about a host.
type Network struct {
	Heard       bool                // ever, by this run of the judging agent
	LastFresh   datastorehb.Instant // when the newest fresh packet came; meaningful if Heard
	Silence     time.Duration       // measured while this host itself was awake
	OneWay      bool                // it is heard but seems not to hear us
	Leaving     bool                // its newest packet says that it stops in good order
	Maintenance bool                // its newest packet says that it is in maintenance
	Isolated    bool                // its newest packet says that it is isolated
}

// Access is what a host says about its own path to a datastore.
type Access uint8

const (
	// AccessUnknown means that the host has not said.
	AccessUnknown Access = iota
	// Accessible means that its I/O succeeds in time.
	Accessible
	// Inaccessible means that it does not.
	Inaccessible
)

// AccessOf returns what a packet says about its sender's path to a datastore.
func AccessOf(p *Packet, datastore uuid.UUID) Access {
	switch i := indexOfDatastore(p.Datastores, datastore); {
	case i < 0:
		return AccessUnknown
	case p.Datastores[i].Flags&DatastoreAccessible != 0:
		return Accessible
	}
	return Inaccessible
}

// DatastoreEvidence is what one datastore says about a host.
type DatastoreEvidence struct {
	Datastore uuid.UUID
	Name      string // for sentences
	Writes    bool   // the host writes heartbeats here, so its silence here matters
	Access    Access // in the host's own words

	// Slot is the outcome of the newest read. While reads fail it is Unreadable,
	// since ReadSince, for the reason Why; else reads have succeeded since then.
	Slot      datastorehb.ReadState
	ReadSince datastorehb.Instant
	Why       string

	// Changed says that the host's own slot was seen to change, last at ChangedAt;
	// Vouched the same of another host's vouch for it.
	Changed   bool
	ChangedAt datastorehb.Instant
	Vouched   bool
	VouchedAt datastorehb.Instant

	// SlotSilence is for how long reads without a failure have shown the same slot,
	// and Silence the same slot and no new vouch.
	SlotSilence time.Duration
	Silence     time.Duration

	Isolated bool // says the slot, or the host's power-on list here

	// Leave says, by the slot, that the host's agent stopped in good order; Custody
	// that its machines homed here are in custody (R11).
	Leave   datastorehb.Leave
	Custody bool
}

// alive reports whether the datastore has shown a sign of life of the host lately.
func (d *DatastoreEvidence) alive(now datastorehb.Instant, t *Timing) bool {
	return d.Changed && now.Sub(d.ChangedAt) < t.DiskAlive || d.Vouched && now.Sub(d.VouchedAt) < t.DiskAlive
}

// unknown reports whether the datastore can't say if the host is alive: it can't
// be read, or a slot that was there has vanished, which no host does to its own.
func (d *DatastoreEvidence) unknown() bool {
	return d.Slot == datastorehb.Unreadable || d.Slot == datastorehb.Absent && d.Changed
}

// lost reports whether a host that is known to live has lost the datastore.
func (d *DatastoreEvidence) lost(t *Timing) bool {
	written := d.Slot == datastorehb.Valid || d.Slot == datastorehb.Corrupt
	return d.Access == Inaccessible || d.Writes && written && d.SlotSilence >= t.DiskLost
}

// The rules of Judge, in the order in which they are tried.
const (
	RuleMaintenance  = "heard on the network, and in maintenance by its own word"
	RuleStorageLost  = "heard on the network, but a datastore is inaccessible to it or its slot there stands still"
	RuleHeard        = "heard on the network"
	RuleIsolated     = "not heard on the network, alive on a datastore, and isolated by its own word"
	RulePartitioned  = "not heard on the network, but alive on a datastore"
	RuleListening    = "the network has not been listened to for long enough"
	RuleUnreadable   = "not heard on the network, and a datastore that would show whether it lives can't be read"
	RuleNoSlot       = "not heard on the network, and no datastore holds a slot of it"
	RuleCustody      = "its agent was stopped in good order and left its machines in custody: they run on, and nobody starts them elsewhere (R11)"
	RuleNoAnswer     = "its agent was stopped in good order and left its machines in custody, but it answers no ping: if it is off, an operator has to confirm that (R7b)"
	RuleUnreachable  = "neither heard on the network nor alive on a datastore, but not for long enough"
	RuleLeft         = "it said that it stops, and is not heard or seen since"
	RulePingAnswered = "silent on the network and on every heartbeat datastore, but it answers pings"
	RuleDead         = "silent on the network and on every heartbeat datastore, and it answers no ping"
)

// Verdict is the state of a host with its reasons.
type Verdict struct {
	State    State
	Lost     []uuid.UUID         // datastores that a host known to live has lost
	Rule     string              // which of the rules above gave the state
	Evidence []string            // sentences with figures, as of the last change
	Since    datastorehb.Instant // when the state was first given
}

// Judge gives the verdict on a host: states from evidence, in one place.
//
// A verdict never carries a right. It says what the master wants to do and what
// people see; whether it may is decided by R7 and R8 on the machine's home datastore.
func Judge(now datastorehb.Instant, e *Evidence, t *Timing) Verdict {
	var v Verdict
	v.Update(now, e, t)
	return v
}

// Update judges anew and reports whether state, rule or lost datastores have
// changed. Only then are the sentences written, so that a pass over a thousand
// unchanged hosts allocates nothing; Explain writes them for the moment.
func (v *Verdict) Update(now datastorehb.Instant, e *Evidence, t *Timing) (changed bool) {
	state, rule := decide(now, e, t)
	if rule == v.Rule && sameLost(v.Lost, state, e, t) {
		return false
	}
	if state != v.State || v.Rule == "" {
		v.Since = now
	}
	v.State, v.Rule = state, rule
	v.Lost = lostDatastores(v.Lost[:0:0], state, e, t)
	v.Evidence = Explain(now, e, t)
	return true
}

// decide holds all rules. Each sign of life is looked at before anything that
// speaks against life.
func decide(now datastorehb.Instant, e *Evidence, t *Timing) (State, string) {
	n := &e.Network
	if n.Heard && n.Silence < t.Heard {
		return decideHeard(e, t)
	}
	d := survey(now, e, t)
	switch {
	case d.left && d.custody:
		return AgentDown, ruleOfCustody(now, e, t)
	case d.left && !d.silent:
		return AgentDown, RuleLeft
	case d.alive && d.isolated:
		return Isolated, RuleIsolated
	case d.alive:
		return Partitioned, RulePartitioned
	case n.Silence < t.Heard:
		return Undetermined, RuleListening
	case d.unknown:
		return Undetermined, RuleUnreadable
	case !d.written:
		return Undetermined, RuleNoSlot
	case d.custody:
		return AgentDown, ruleOfCustody(now, e, t)
	case !d.silent && n.Leaving:
		return AgentDown, RuleLeft
	case !d.silent:
		return Unreachable, RuleUnreachable
	case e.Ping.AnsweredWithin(now, t.Answered):
		return AgentDown, RulePingAnswered
	}
	return Dead, RuleDead
}

// ruleOfCustody is about a host whose slot says that machines are in custody: its
// silence says nothing, since that is what it has announced.
func ruleOfCustody(now datastorehb.Instant, e *Evidence, t *Timing) string {
	if e.Ping.Unanswering(now) >= t.DiskSilent {
		return RuleNoAnswer
	}
	return RuleCustody
}

func decideHeard(e *Evidence, t *Timing) (State, string) {
	if e.Network.Maintenance {
		return Maintenance, RuleMaintenance
	}
	for i := range e.Datastores {
		if e.Datastores[i].lost(t) {
			return StorageLost, RuleStorageLost
		}
	}
	return Live, RuleHeard
}

// disks is what all datastores together say about a host.
type disks struct {
	alive    bool // one shows a sign of life
	isolated bool // one carries the isolated flag
	unknown  bool // a heartbeat datastore can't say
	written  bool // a heartbeat datastore holds a slot of the host
	left     bool // one says that the agent stopped in good order
	custody  bool // one says that machines are in custody
	silent   bool // every heartbeat datastore that holds one has been silent for T
}

func survey(now datastorehb.Instant, e *Evidence, t *Timing) disks {
	s := disks{silent: true}
	for i := range e.Datastores {
		d := &e.Datastores[i]
		s.alive = s.alive || d.alive(now, t)
		s.isolated = s.isolated || d.Isolated
		s.left = s.left || d.Leave.By != 0
		s.custody = s.custody || d.Custody
		if !d.Writes {
			continue
		}
		s.unknown = s.unknown || d.unknown()
		if d.Slot != datastorehb.Absent {
			s.written = true
			s.silent = s.silent && d.Silence >= t.DiskSilent
		}
	}
	return s
}

// knownAlive reports whether hosts in the state are certain to live, so that a
// silent slot means a lost datastore.
func (s State) knownAlive() bool {
	return s == Live || s == Maintenance || s == StorageLost || s == Isolated || s == Partitioned
}

func lostDatastores(dst []uuid.UUID, s State, e *Evidence, t *Timing) []uuid.UUID {
	for i := range e.Datastores {
		if s.knownAlive() && e.Datastores[i].lost(t) {
			dst = append(dst, e.Datastores[i].Datastore)
		}
	}
	return dst
}

// sameLost reports whether the datastores lost are those in was.
func sameLost(was []uuid.UUID, s State, e *Evidence, t *Timing) bool {
	n := 0
	for i := range e.Datastores {
		d := &e.Datastores[i]
		if !s.knownAlive() || !d.lost(t) {
			continue
		}
		if n == len(was) || was[n] != d.Datastore {
			return false
		}
		n++
	}
	return n == len(was)
}
