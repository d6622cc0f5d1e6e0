package core

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
)

// Config is what the core knows from the start. It is not changed while the
// core uses it; SetConfig replaces the parts that may change live.
type Config struct {
	Cluster    uuid.UUID
	Self       datastorehb.Writer
	Hosts      []Member    // every member, this host included; goes until there is a cluster record
	Datastores []Datastore // every configured datastore; goes until there is a cluster record
	Timing     datastorehb.Timing
	Heartbeats datastorehb.RankOptions
	Isolation  partition.IsolationOptions
	Parallel   int                // starts at once per host
	Version    string             // of the program, for people
	Levels     datastorehb.Levels // that the program knows

	// Record is the revision of the cluster record that the forerunner acted on
	// last, nil if there is none. Founding is the first revision as the
	// configuration file would make it.
	Record   *cluster.Record
	Founding *cluster.Record
	Silent   []string // settings of the record of which the configuration file says nothing

	// Leases are those that the guard kept for the agent's forerunner, and
	// Found is every machine process found on the host: the new incarnation
	// accounts for each.
	Leases []Inherited
	Found  []FoundMachine

	// Ended are machines that the guard has ended here, since no agent was there for
	// long.
	Ended []FoundMachine

	// Past is how machines ended while no agent was there, or before their generation was
	// read, as far as it is known.
	Past []MachineGone
}

// Member is one host of the cluster.
type Member struct {
	ID      datastorehb.HostID
	Name    string
	Address string // to ping, "" when there is none
}

// Datastore is one configured datastore.
type Datastore struct {
	ID        uuid.UUID
	Name      string
	Preferred bool
	Excluded  bool // never carries heartbeats; it may still be home to machines
}

// Device says what lies under a datastore, as far as this host can see.
type Device struct {
	FSType   string
	Identity datastorehb.DeviceIdentity
}

// Inherited is a lease that the guard kept while the agent was away.
type Inherited struct {
	Datastore uuid.UUID
	Term      uint64
	Length    time.Duration
	Deadline  datastorehb.Instant
	Custody   bool // it has no deadline (R11)
}

// FoundMachine is a machine process that was there when the agent started.
type FoundMachine struct {
	VM         uuid.UUID
	Generation uint64
	Datastore  uuid.UUID
	Frozen     bool
	Receiving  bool // a hypervisor moves the guest here, and it does not execute in the process yet
	Halted     bool // its guest was halted by the forerunner, see HaltGuests
}

// Core decides everything for one host. It is not safe for concurrent use.
type Core struct {
	cfg      Config
	now      datastorehb.Instant
	wake     datastorehb.Instant
	lastStep datastorehb.Instant
	out      []Effect
	early    []Effect // of New, for the first Step to return

	footings      []*footing // of the cluster's datastores, sorted by UUID
	retired       []*footing // of datastores that have left the cluster
	machines      []*machine // those this host runs, starts, stops or accounts for; sorted by VM
	net           network
	turns         []*machine // those that have their turn in this step
	guardUp       bool
	memory        uint64 // that machines may use here, in bytes
	capable       capable
	mastery       mastery
	commands      []*command
	record        record
	confirmations []*confirmation
	status        map[datastorehb.HostID]*hostStatus
	inhibition    inhibition
	leaving       *leaving // the orderly stop under way, nil for none
	left          bool     // the agent ends: nothing is decided any more
}

// New returns the core of a host whose agent has just started. The first Step
// starts everything.
func New(cfg Config, now datastorehb.Instant) *Core {
	cfg.Hosts = slices.Clone(cfg.Hosts)
	slices.SortFunc(cfg.Hosts, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	c := &Core{cfg: cfg, now: now, lastStep: now, guardUp: true, status: map[datastorehb.HostID]*hostStatus{}}
	c.net = newNetwork(cfg, now)
	c.mastery.orders = map[uuid.UUID]*order{}
	c.record.begin(cfg)
	if cfg.Record == nil {
		for _, d := range cfg.Datastores {
			c.revive(d)
		}
	}
	for _, l := range cfg.Leases {
		if f := c.configured(l.Datastore); f != nil {
			f.inherit(l)
		}
	}
	for _, found := range cfg.Found {
		c.adopt(found)
	}
	for _, m := range cfg.Ended {
		c.journal(Event{Kind: "machine-abandoned", Host: cfg.Self.Host, Datastore: m.Datastore, VM: m.VM, Generation: m.Generation, Rule: "R11",
			Text: "the guard has ended a machine that stood frozen here, since no agent was there for long"})
	}
	c.takeMembers()
	c.early = c.out
	return c
}

// configured returns this host's standing on a datastore that the cluster or the
// configuration file knows, nil for another.
func (c *Core) configured(id uuid.UUID) *footing {
	if f := c.footing(id); f != nil {
		return f
	}
	for _, d := range c.cfg.Datastores {
		if d.ID == id {
			return c.revive(d)
		}
	}
	return nil
}

// Step takes in one observation, made at now, and returns what to do. It also
// does everything that is due at now. Instants never go back.
func (c *Core) Step(now datastorehb.Instant, o Observation) []Effect {
	if c.left {
		c.wake = now.Add(c.cfg.Timing.Lease)
		return nil
	}
	c.now, c.out, c.wake = max(now, c.now), c.early, now.Add(c.cfg.Timing.Interval/2)
	c.early = nil
	c.suspectSelf()
	c.observe(o)
	if !c.left {
		c.act()
	}
	c.lastStep = c.now
	return c.out
}

// Wake returns the instant at which the core wants to be stepped again at the
// latest, with a Tick if nothing else has happened.
func (c *Core) Wake() datastorehb.Instant { return c.wake }

// Master returns the host that this host follows, itself included; 0 while there is none.
func (c *Core) Master() datastorehb.HostID { return c.net.master }

// Leading reports whether this host is a master.
func (c *Core) Leading() bool { return c.net.leading }

func (c *Core) observe(o Observation) {
	if c.observeDatastore(o) {
		return
	}
	switch o := o.(type) {
	case Tick:
	case WallClock:
		c.onWallClock(o)
	case ClusterCommand:
		c.onClusterCommand(o)
	case HeartbeatReceived:
		c.onHeartbeat(o.Packet)
	case Received:
		c.onMessage(o.From, o.Message)
	case PingAnswered:
		c.onPing(o)
	case GuardFrozen:
		c.onGuardFrozen(o)
	case GuardRefused:
		c.onGuardRefused(o)
	case GuardLetWent:
		c.onGuardLetWent(o)
	case GuardCustodyDone:
		c.onGuardCustody(o)
	case GuardGone:
		c.onGuardGone(o)
	case GuardBack:
		c.onGuardBack()
	case MachineStarted:
		c.onMachineStarted(o)
	case MachineGone:
		c.onMachineGone(o)
	case MachineMonitor:
		c.onMachineMonitor(o)
	case MachineIncident:
		c.onMachineIncident(o)
	case HypervisorFinding:
		c.onHypervisorFinding(o)
	case IncomingAsked:
		c.onIncomingAsked(o)
	case MigrationSeen:
		c.onMigrationSeen(o)
	case MemoryState:
		c.memory = o.Total
	case HostCapable:
		c.onHostCapable(o)
	case Command:
		c.onCommand(o)
	case Leave:
		c.onLeave(o)
	case HostInhibited:
		c.onHostInhibited(o)
	case HostPrepares:
		c.onHostPrepares(o)
	case ConfirmDead:
		c.onConfirmDead(o)
	default:
		panic(fmt.Sprintf("core: unknown observation %T", o))
	}
}

// observeDatastore takes in what came of an operation on a datastore. It reports false
// for any other observation.
func (c *Core) observeDatastore(o Observation) bool {
	switch o := o.(type) {
	case DatastoreState:
		c.onDatastoreState(o)
	case SlotWritten:
		c.onSlotWritten(o)
	case RegionRead:
		c.onRegionRead(o)
	case TermsRead:
		c.onTermsRead(o)
	case TermClaimed:
		c.onTermClaimed(o)
	case GenerationClaimed:
		c.onGenerationClaimed(o)
	case EntryClaimed:
		c.onEntryClaimed(o)
	case MachineRead:
		c.onMachineRead(o)
	case CatalogueRead:
		c.onCatalogueRead(o)
	case ListRead:
		c.onListRead(o)
	case ListWritten:
		c.onListWritten(o)
	case RecordRead:
		c.onRecordRead(o)
	case RecordClaimed:
		c.onRecordClaimed(o)
	default:
		return false
	}
	return true
}

// act does what is due. Heartbeats go before everything else, claims last (R5).
func (c *Core) act() {
	c.tellLevel()
	if c.record.acting != nil {
		c.retireLeft()
	}
	for _, f := range c.footings {
		c.checkLease(f)
		c.endCustody(f)
		c.tendHalts(f)
		c.noticeSlow(f)
		c.writeSlot(f)
	}
	c.heartbeatNetwork()
	for _, f := range c.footings {
		c.readRegion(f)
		c.publishList(f)
	}
	c.judge()
	for _, f := range c.footings {
		c.advanceTerm(f)
		c.prune(f)
		c.readRecord(f)
	}
	c.turns = append(c.turns[:0], c.machines...) // some go away while they advance
	for _, m := range c.turns {
		c.advance(m)
	}
	c.tellCapabilities()
	c.lead()
	c.tendMoves()
	c.tendRecord()
	c.inhibit()
	c.depart()
}

// suspectSelf throws away all silence measured so far when this step comes much
// too late: a host that slept must not declare others dead.
func (c *Core) suspectSelf() {
	late := c.now.Sub(c.lastStep)
	if late < 2*c.cfg.Timing.Interval {
		return
	}
	c.net.peers.Suspend(c.now)
	c.net.pings.Suspend(c.now)
	for _, f := range c.footings {
		f.failWatches(fmt.Sprintf("this host itself was asleep for %v", rounded(late)))
	}
}

// do appends an effect.
func (c *Core) do(e Effect) { c.out = append(c.out, e) }

// due reports whether at has come, and makes sure of a step at that instant if not.
func (c *Core) due(at datastorehb.Instant) bool {
	if c.now >= at {
		return true
	}
	c.wake = min(c.wake, at)
	return false
}

// journal records an event of this host.
func (c *Core) journal(e Event) {
	e.At, e.By, e.Severity = c.now, c.cfg.Self.Host, severityOf(e.Kind)
	e.Text, e.Evidence = c.named(e.Text), c.allNamed(e.Evidence)
	c.do(Journal{Event: e})
}

func (c *Core) footing(datastore uuid.UUID) *footing {
	for _, f := range c.footings {
		if f.ID == datastore {
			return f
		}
	}
	for _, f := range c.retired { // what is under way there comes to its end still
		if f.ID == datastore {
			return f
		}
	}
	return nil
}

// HostName returns the name of a host, or its number.
func (c *Core) HostName(h datastorehb.HostID) string {
	for _, m := range c.cfg.Hosts {
		if m.ID == h {
			return m.Name
		}
	}
	if r := c.record.acting; r != nil && r.Former(h) != nil {
		return r.Former(h).Name
	}
	return fmt.Sprintf("host %d", h)
}

// MachineName returns the name of a machine that is known, "" of another.
func (c *Core) MachineName(vm uuid.UUID) string {
	for _, f := range c.footings {
		if i := f.info(vm); i != nil && i.Entry.Name != "" {
			return i.Entry.Name
		}
	}
	return ""
}

func (c *Core) interval() time.Duration { return c.cfg.Timing.Interval }

func compareUUID(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
