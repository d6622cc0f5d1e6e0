package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"storebeat/agent/clock"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/core/cluster"
	"storebeat/agent/freeze"
	"storebeat/agent/journal"
	"storebeat/agent/logind"
	"storebeat/agent/metrics"
	"storebeat/agent/network"
	"storebeat/agent/notify"
	"storebeat/agent/peer"
	"storebeat/datastorehb"
	"storebeat/partition"
)

// Agent is one host's agent while it runs.
type Agent struct {
	cfg         *config.Config                // as it was at the start, with the record's timing
	file        *config.Config                // as it was at the start
	recalled    *cluster.Record               // the revision of the cluster record that the forerunner acted on, nil for none
	version     string                        // of the program
	live        atomic.Pointer[config.Config] // with the changes that were made live
	reconfigure chan *config.Config
	log         hclog.Logger
	self        datastorehb.Writer
	cgroupRoot  string // "" for weak freeze
	networkKey  partition.Key
	identity    *peer.Identity // to other hosts

	core         *core.Core // owned by the loop
	observations chan core.Observation
	effects      chan []core.Effect
	looks        chan func(*core.Core) // for a look at the core between two steps

	acting     atomic.Pointer[cluster.Record] // the revision that goes, nil while there is none
	datastores datastores
	guard      *guardLink
	inhibitor  *logind.Inhibitor // nil where nothing is asked of a login manager
	machines   *machines
	incoming   incoming
	network    *network.Conn
	peers      *peer.Client
	journal    *journal.Journal
	notifier   *notify.Notifier
	metrics    *metrics.Metrics
	registry   *prometheus.Registry // what metrics are shown from
	scraped    chan string          // addresses to serve them at
	commands   commands
	followers  atomic.Int32  // of the whole cluster
	level      atomic.Uint32 // the feature level at which to write
	keeping    queue         // of the cluster record, on the host's own disk

	badPackets clock.Pace
	pingDenied sync.Once
	ending     atomic.Bool
}

// Run runs the agent of the host self until ctx is done, and then for as long as
// it takes to leave its machines in custody (R11). It returns an error when the
// agent can't start. The version is that of the program, for people.
func Run(ctx context.Context, cfg *config.Config, self config.Host, version string, log hclog.Logger) error {
	a, err := prepare(cfg, self, log)
	if err != nil {
		return err
	}
	a.version = version
	defer a.journal.Close()
	a.measure(version)
	a.notifier = notify.New(log.Named("notify"), func(rule string, r notify.Result) { a.metrics.Notified(rule, string(r)) })
	return a.run(ctx, self)
}

// prepare makes everything that needs no other host and no datastore.
func prepare(cfg *config.Config, self config.Host, log hclog.Logger) (*Agent, error) {
	own := *cfg
	a := &Agent{cfg: &own, file: cfg, log: log, observations: make(chan core.Observation, 4096), effects: make(chan []core.Effect, 256),
		looks: make(chan func(*core.Core)), reconfigure: make(chan *config.Config), badPackets: clock.Pace{Every: 10 * time.Second}}
	a.live.Store(cfg)
	a.level.Store(uint32(datastorehb.KnownLevels().Lowest))
	var err error
	if a.self.Machine, err = clock.MachineID(); err != nil {
		return nil, err
	}
	if a.self.Boot, err = clock.BootID(); err != nil {
		return nil, err
	}
	a.self.Host, a.self.Incarnation = self.ID, clock.NewIncarnation()
	a.networkKey = partition.Key(config.Derive(cfg.Key(), config.ForHeartbeats))
	for _, dir := range []string{cfg.RunDirectory, cfg.StateDirectory, a.lockDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	if err := a.recall(); err != nil {
		return nil, err
	}
	a.chooseFreezer()
	a.guard = &guardLink{agent: a}
	a.machines = newMachines(a)
	a.datastores.all = map[uuid.UUID]*datastore{}
	a.journal, err = journal.Open(filepath.Join(cfg.StateDirectory, "journal"), log.Named("journal"), journal.Options{Command: journal.SelfCommand()})
	return a, err
}

// recall takes over what the forerunner knew of the cluster: the record's timing
// goes before that of the configuration.
func (a *Agent) recall() error {
	r, err := a.recallRecord()
	if err != nil || r == nil {
		return err
	}
	a.recalled, a.cfg.Timing = r, r.Timing
	a.acting.Store(r)
	return nil
}

// chooseFreezer prefers the cgroup v2 freezer, and says when there is only SIGSTOP.
func (a *Agent) chooseFreezer() {
	a.cgroupRoot = a.cfg.Hypervisor.CgroupRoot
	if a.cgroupRoot != "" {
		return
	}
	root, err := freeze.FindCgroupRoot()
	if err != nil {
		a.log.Warn("weak freeze: machines are stopped by SIGSTOP, which others can undo", "reason", err)
		return
	}
	a.cgroupRoot = root
}

func (a *Agent) lockDir() string { return filepath.Join(a.cfg.RunDirectory, "locks") }

func (a *Agent) run(ctx context.Context, self config.Host) error {
	// Before anything is touched that another agent of this host may be using, its guard above all.
	socket, err := control.Listen(a.cfg.ControlSocket)
	if err != nil {
		return err
	}
	defer socket.Close()
	if a.identity, err = peer.NewIdentity(config.Derive(a.cfg.Key(), config.ForTLS), a.cfg.Cluster.UUID, a.self.Host); err != nil {
		return err
	}
	if err := a.openNetwork(self); err != nil {
		return err
	}
	defer a.network.Close()
	listener, err := peer.Listen(self.Management)
	if err != nil {
		return fmt.Errorf("listen for other agents: %w", err)
	}
	a.peers = peer.NewClient(a.identity, a.addresses(func(m cluster.Member) netip.AddrPort { return m.Management }))
	defer a.peers.Close()
	if err := a.takeStock(ctx); err != nil {
		return err
	}
	asked := ctx.Done()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what an agent that stops still needs
	served := make(chan error, 1)
	defer func() {
		cancel()
		<-served // whoever asked it to stop gets an answer
	}()
	failed := make(chan error, 3)
	go func() {
		failed <- peer.NewServer(a.identity, peer.ServerOptions{Log: a.log.Named("peer"), Join: a.join}, a.handle).Serve(ctx, listener)
	}()
	go func() {
		err := socket.Serve(ctx, a.api())
		failed <- err
		served <- err
	}()
	go a.network.Run(ctx, a.deliver)
	go a.peers.KeepWarm(ctx, a.cfg.Timing.Lease, a.otherHosts)
	go a.reload(ctx)
	go metrics.Serve(ctx, a.registry, a.scraped, a.log.Named("metrics"))
	a.serveMetrics(a.cfg)
	go a.tellTime(ctx)
	go a.machines.tidy(ctx)
	go a.machines.watchMonitors(ctx)
	go a.machines.watchUse(ctx)
	go a.machines.watchCapabilities(ctx)
	a.askToWait(ctx)
	a.notifier.Configure(a.cfg.Notify)
	defer a.endNotifications()
	a.log.Info("agent runs", "host", self.Name, "id", self.ID, "cluster", a.cfg.Cluster.Name, "profile", a.cfg.Profile)
	return a.loop(asked, failed)
}

func (a *Agent) openNetwork(self config.Host) error {
	conn, err := network.Listen(network.Options{Self: a.self.Host, Addresses: []netip.AddrPort{self.Heartbeat}, Peers: a.addresses(func(m cluster.Member) netip.AddrPort { return m.Heartbeat }), Log: a.log.Named("network")})
	if err != nil {
		return fmt.Errorf("listen for network heartbeats: %w", err)
	}
	a.network = conn
	return nil
}

// takeStock connects to the guard, accounts for every machine process that is
// there, and makes the core. Nothing has been written to a datastore before.
func (a *Agent) takeStock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, inventory, err := a.guard.connect(ctx)
	if err != nil {
		return err
	}
	cfg := a.coreConfig(a.file)
	cfg.Timing, cfg.Record = a.cfg.Timing, a.recalled
	// First what the guard has to forget: another process of the same machine may be there.
	if cfg.Ended, err = abandoned(ctx, client, inventory); err != nil {
		return err
	}
	if cfg.Found, err = a.machines.account(ctx, client); err != nil {
		return err
	}
	cfg.Past = a.machines.past(ctx, cfg.Ended)
	for _, l := range inventory.Leases {
		if l.Valid {
			cfg.Leases = append(cfg.Leases, core.Inherited{Datastore: l.Datastore, Term: l.Term, Length: l.Length, Deadline: l.Deadline, Custody: l.Custody})
		}
	}
	a.core = core.New(cfg, clock.Now())
	a.observe(core.MemoryState{Total: a.cfg.Hypervisor.Memory.Of(totalMemory())})
	return nil
}

// coreConfig is the part of a configuration that the core goes by.
func (a *Agent) coreConfig(from *config.Config) core.Config {
	cfg := core.Config{Cluster: from.Cluster.UUID, Self: a.self, Timing: from.Timing, Heartbeats: datastorehb.DefaultRankOptions(), Parallel: from.Hypervisor.ParallelStarts, Version: a.version, Levels: datastorehb.KnownLevels(), Founding: from.Record(), Silent: from.Silent()}
	cfg.Heartbeats.Count, cfg.Heartbeats.ThresholdPercent = from.Heartbeat.Datastores, from.Heartbeat.Threshold
	for _, h := range from.Hosts {
		cfg.Hosts = append(cfg.Hosts, core.Member{ID: h.ID, Name: h.Name, Address: h.Heartbeat.Addr().String()})
	}
	for _, d := range from.Datastores {
		cfg.Datastores = append(cfg.Datastores, core.Datastore{ID: d.UUID, Name: d.Name, Preferred: d.Preferred, Excluded: d.Excluded})
	}
	for _, address := range from.Isolation.Addresses {
		cfg.Isolation.Addresses = append(cfg.Isolation.Addresses, address.String())
	}
	return cfg
}

// observe hands something seen to the loop.
func (a *Agent) observe(o core.Observation) { a.observations <- o }

// released hands over effects whose write has completed.
func (a *Agent) released(effects []core.Effect) {
	if len(effects) > 0 {
		a.effects <- effects
	}
}

func (a *Agent) stopping() bool { return a.ending.Load() }

// loop owns the core: it steps it with every observation, and with a tick when
// the core wants one, and carries out what it returns. Once it is asked to stop it
// goes on until the core has left.
func (a *Agent) loop(asked <-chan struct{}, failed <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var effects []core.Effect
		select {
		case <-asked:
			asked = nil
			go func() { a.observe(core.Leave{Why: leaveNow(stoppedBy(), 0)}) }()
			continue
		case err := <-failed:
			if err != nil && !errors.Is(err, context.Canceled) {
				a.ending.Store(true)
				return err
			}
		case look := <-a.looks:
			look(a.core)
			continue
		case effects = <-a.effects:
		case next := <-a.reconfigure:
			effects = a.apply(next)
		case o := <-a.observations:
			effects = a.core.Step(clock.Now(), o)
		case <-timer.C:
			effects = a.core.Step(clock.Now(), core.Tick{})
		}
		a.notifier.Master(a.core.Master(), a.core.Leading())
		for _, e := range effects {
			a.carryOut(e)
		}
		if a.stopping() {
			a.machines.awaitOrders()
			return nil
		}
		timer.Reset(max(0, a.core.Wake().Sub(clock.Now())))
	}
}

// carryOut begins one effect. It never waits.
func (a *Agent) carryOut(e core.Effect) {
	switch e := e.(type) {
	case core.SendHeartbeat:
		a.sendHeartbeat(e.Packet)
	case core.Send:
		a.sendMessage(e)
	case core.Ping:
		a.ping(e)
	case core.GuardLease:
		a.guard.setLease(e)
	case core.GuardCustody:
		a.guard.custody(e)
	case core.GuardLetGo:
		a.guard.letGo(e)
	case core.FreezeMachines:
		a.machines.freeze(e)
	case core.RestartGuard:
		go a.guard.restart()
	case core.StartMachine:
		a.machines.start(e)
	case core.ReceiveMachine:
		a.machines.receive(e)
	case core.IncomingAnswer:
		a.incoming.answer(e)
	case core.StopMachine:
		a.machines.stop(e)
	case core.HaltGuests:
		a.machines.halt(e)
	case core.ResumeGuests:
		a.machines.resume(e)
	case core.PutDown:
		a.machines.putDown(e)
	case core.KeepAwake, core.LetShutDown:
		a.inhibit(e)
	case core.Left:
		a.ending.Store(true)
	case core.Journal:
		a.record(e.Event)
	case core.Reply:
		a.commands.answer(e)
	case core.WriteLevel:
		a.level.Store(uint32(e.Level))
	case core.KeepRecord:
		a.keepRecord(e)
	case core.ActOn:
		a.actOn(e.Record)
	case core.OpenDatastore:
		a.openDatastore(e.Datastore)
	case core.CloseDatastore:
		a.closeDatastore(e.Datastore)
	default:
		a.carryOutOnDatastore(e)
	}
}

func (a *Agent) carryOutOnDatastore(e core.Effect) {
	switch e := e.(type) {
	case core.WriteSlot:
		a.datastores.of(e.Datastore).writeSlot(e)
	case core.ReadRegion:
		a.datastores.of(e.Datastore).readRegion(e)
	case core.CheckIdentity:
		a.datastores.of(e.Datastore).checkIdentity()
	case core.ReadTerms:
		a.datastores.of(e.Datastore).readTerms(e)
	case core.ClaimTerm:
		a.datastores.of(e.Datastore).claimTerm(e)
	case core.ClaimGeneration:
		a.datastores.of(e.Datastore).claimGeneration(e)
	case core.ClaimEntry:
		a.datastores.of(e.Datastore).claimEntry(e)
	case core.ReadMachine:
		a.datastores.of(e.Datastore).readMachine(e)
	case core.ReadCatalogue:
		a.datastores.of(e.Datastore).readCatalogue()
	case core.ReadList:
		a.datastores.of(e.Datastore).readList(e)
	case core.PublishList:
		a.datastores.of(e.Datastore).publishList(e)
	case core.ReadRecord:
		a.datastores.of(e.Datastore).readRecord()
	case core.ClaimRecord:
		a.datastores.of(e.Datastore).claimRecord(e)
	case core.Prune:
		a.datastores.of(e.Datastore).prune(e)
	default:
		panic(fmt.Sprintf("agent: unknown effect %T", e))
	}
}

// record puts an event into the journal and into the log.
func (a *Agent) record(e core.Event) {
	e.Wall = time.Now()
	a.journal.Append(e)
	a.metrics.Event(&e)
	a.notifier.Event(e, a.namesIn(&e))
	a.log.Log(levels[e.Severity], e.Text, a.fields(e)...)
}

// lastNotifications is how long the end of the agent waits for the commands of
// notifications that are under way.
const lastNotifications = 2 * time.Second

func (a *Agent) endNotifications() {
	ctx, cancel := context.WithTimeout(context.Background(), lastNotifications)
	defer cancel()
	a.notifier.Close(ctx)
}

// namesIn are the names in an event that a notification gives.
func (a *Agent) namesIn(e *core.Event) notify.Names {
	n := notify.Names{Cluster: a.cfg.Cluster.Name, By: a.core.HostName(e.By)}
	if e.Host != 0 {
		n.Host = a.core.HostName(e.Host)
	}
	if e.Datastore != uuid.Nil {
		n.Datastore = a.datastoreName(e.Datastore)
	}
	if e.VM != uuid.Nil {
		n.Machine = a.core.MachineName(e.VM)
	}
	return n
}

// levels are the log's, which has none for what is worth knowing and in order.
var levels = map[core.Severity]hclog.Level{core.Info: hclog.Info, core.Notice: hclog.Info, core.Warning: hclog.Warn, core.Error: hclog.Error}

// fields are those of an event's facts that apply, as key and value.
func (a *Agent) fields(e core.Event) []any {
	fields := []any{"event", e.Kind}
	add := func(applies bool, key string, value any) {
		if applies {
			fields = append(fields, key, value)
		}
	}
	add(e.Host != 0, "host", a.core.HostName(e.Host))
	add(e.Datastore != uuid.Nil, "datastore", a.datastoreName(e.Datastore))
	if name := a.core.MachineName(e.VM); e.VM != uuid.Nil {
		add(name != "", "machine", name)
		add(true, "vm", e.VM)
	}
	add(e.Generation != 0, "generation", e.Generation)
	add(e.Term != 0, "term", e.Term)
	add(e.Rule != "", "rule", e.Rule)
	add(len(e.Evidence) > 0, "evidence", e.Evidence)
	return fields
}
