package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"

	"storebeat/agent/clock"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/agent/journal"
	"storebeat/agent/metrics"
	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
	"storebeat/poweron"
)

// The methods of the control socket, with their argument and result types.
const (
	// MethodView returns the cluster as this host sees it: ViewRequest → core.View.
	MethodView = "view"
	// MethodEvents returns journal entries: EventsRequest → []journal.Entry.
	MethodEvents = "events"
	// MethodFollow streams journal entries as they come: FollowRequest → FollowItem, one by one.
	MethodFollow = "follow"
	// MethodCommand carries out a user's wish: core.Command → CommandResult.
	MethodCommand = "command"
	// MethodCluster carries out a user's wish about the cluster record: core.ClusterCommand → CommandResult.
	MethodCluster = "cluster"
	// MethodForecast tells what the loss of hosts would mean: ForecastRequest → poweron.Forecast.
	MethodForecast = "forecast"
	// MethodShortfalls tells which single hosts' machines the rest could not take: nothing → []poweron.Shortfall.
	MethodShortfalls = "shortfalls"
	// MethodPlaces tells where a machine could run now: PlacesRequest → []poweron.Place.
	MethodPlaces = "places"
	// MethodHealth tells how the agent itself is doing: nothing → Health.
	MethodHealth = "health"
	// MethodStop ends the agent in good order: StopRequest → CommandResult.
	MethodStop = "stop"
	// MethodConfirmDead takes an operator's word that a host is off: core.ConfirmDead → CommandResult.
	MethodConfirmDead = "confirm-dead"
	// MethodToken makes a token to join the cluster with: TokenRequest → TokenResult.
	MethodToken = "token"
	// MethodGuests lists the guests that this host's hypervisor has of its own: nothing → GuestsResult.
	MethodGuests = "guests"
	// MethodExport tells what it takes to protect one of them: ExportRequest → hypervisor.Guest.
	MethodExport = "export"
	// MethodMayStart tells whether a hypervisor may start a guest that is about to: MayStartRequest → MayStartResult.
	MethodMayStart = "may-start"
	// MethodMayReceive tells whether a hypervisor may begin to move a machine here: OfferRequest → MayStartResult.
	MethodMayReceive = "may-receive"
	// MethodReceive takes on the process that it has made for that: ReceiveRequest → MayStartResult.
	MethodReceive = "receive"
	// MethodEntry returns what is stored of a machine: EntryRequest → poweron.Entry.
	MethodEntry = "entry"
	// MethodUse tells what a machine has used since its process began: UseRequest → hypervisor.Statistics.
	MethodUse = "use"
	// MethodMetrics returns the metrics in Prometheus's text format: nothing → string.
	MethodMetrics = "metrics"
)

// ViewRequest asks for a view.
type ViewRequest struct {
	Local bool `json:"local"` // this host's own view, even when there is a master to ask
}

// EventsRequest asks for journal entries.
type EventsRequest struct {
	journal.Filter
	Cluster bool `json:"cluster"` // those of every host that answers, by the wall clock of each
}

// EntryRequest asks for what is stored of a machine.
type EntryRequest struct {
	Datastore uuid.UUID `json:"datastore"`
	VM        uuid.UUID `json:"vm"`
}

// CommandResult is the answer to a user's wish that was granted.
type CommandResult struct {
	Text string `json:"text"`
}

// Health is how the agent itself is doing.
type Health struct {
	Journal    journal.Health        `json:"journal"`
	Busy       map[string][]string   `json:"busy"`       // per datastore, what is under way there and for how long
	Operations map[string]Operations `json:"operations"` // per datastore, since the agent opened it
	Freezer    string                `json:"freezer"`
	GuardPID   int                   `json:"guard_pid"`
}

// Operations counts what the agent has asked of one datastore.
type Operations struct {
	Reads        int64 `json:"reads"`
	Writes       int64 `json:"writes"`
	Metadata     int64 `json:"metadata"` // opens, links, listings and so on
	BytesRead    int64 `json:"bytes_read"`
	BytesWritten int64 `json:"bytes_written"`
}

func (a *Agent) api() http.Handler {
	m := control.NewMux()
	control.Handle(m, MethodView, func(ctx context.Context, in ViewRequest) (core.View, error) {
		if in.Local {
			return a.view(ctx)
		}
		v, err := a.clusterView(ctx)
		if err == nil {
			a.withConditions(ctx, &v)
		}
		return v, err
	})
	control.Handle(m, MethodEvents, func(ctx context.Context, in EventsRequest) ([]journal.Entry, error) {
		if in.Cluster {
			return a.clusterEvents(ctx, in.Filter), nil
		}
		return a.journal.List(in.Filter), nil
	})
	control.HandleStream(m, MethodFollow, a.follow)
	control.Handle(m, MethodCommand, a.command)
	control.Handle(m, MethodMetrics, func(context.Context, struct{}) (string, error) { return metrics.Text(a.registry) })
	control.Handle(m, MethodCluster, a.clusterCommand)
	control.Handle(m, MethodToken, a.token)
	control.Handle(m, MethodStop, a.stop)
	control.Handle(m, MethodGuests, a.guests)
	control.Handle(m, MethodExport, a.export)
	control.Handle(m, MethodMayStart, a.mayStart)
	control.Handle(m, MethodMayReceive, a.mayReceive)
	control.Handle(m, MethodReceive, a.receive)
	control.Handle(m, MethodConfirmDead, a.confirmDead)
	control.Handle(m, MethodForecast, a.clusterForecast)
	control.Handle(m, MethodShortfalls, func(ctx context.Context, _ struct{}) ([]poweron.Shortfall, error) { return a.clusterShortfalls(ctx) })
	control.Handle(m, MethodPlaces, a.clusterPlaces)
	control.Handle(m, MethodUse, a.use)
	control.Handle(m, MethodEntry, a.entry)
	control.Handle(m, MethodHealth, func(context.Context, struct{}) (Health, error) { return a.health(), nil })
	return m
}

// view asks the loop for this host's view.
func (a *Agent) view(ctx context.Context) (v core.View, err error) {
	err = a.look(ctx, func(c *core.Core) { v = c.View(clock.Now()) })
	return v, err
}

// look has the loop look at the core, which nobody else may touch. The look must
// be short: no heartbeat is sent meanwhile.
func (a *Agent) look(ctx context.Context, look func(*core.Core)) error {
	done := make(chan struct{})
	select {
	case a.looks <- func(c *core.Core) { look(c); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return control.Errorf(control.Unavailable, "the agent's loop did not answer in time")
	}
}

func (a *Agent) health() Health {
	h := Health{Journal: a.journal.Health(), Busy: map[string][]string{}, Operations: map[string]Operations{}, Freezer: "weak freeze (SIGSTOP)"}
	if a.cgroupRoot != "" {
		h.Freezer = "cgroup v2 at " + a.cgroupRoot
	}
	if c := a.guard.current(); c != nil {
		h.GuardPID = c.PID()
	}
	for _, d := range a.datastores.list() {
		h.Busy[d.name()] = d.busy()
		if o, ok := d.operations(); ok {
			h.Operations[d.name()] = o
		}
	}
	return h
}

// operations counts what was asked of the datastore, once it has been opened.
func (d *datastore) operations() (o Operations, opened bool) {
	counter := d.counter.Load()
	if counter == nil {
		return o, false
	}
	return Operations{Reads: counter.Reads.Load(), Writes: counter.Writes.Load(), Metadata: counter.Metadata(),
		BytesRead: counter.BytesRead.Load(), BytesWritten: counter.BytesWritten.Load()}, true
}

func (d *datastore) queues() []*queue {
	queues := []*queue{&d.heartbeat, &d.region, &d.terms, &d.lists, &d.catalogue, &d.identity}
	for i := range d.machines {
		queues = append(queues, &d.machines[i])
	}
	return queues
}

// busy tells what is under way on the datastore and for how long.
func (d *datastore) busy() []string {
	var all []string
	for _, q := range d.queues() {
		if name, since, waiting := q.state(); name != "" {
			all = append(all, fmt.Sprintf("%s for %v, %d behind it", name, since, waiting))
		}
	}
	return all
}

// entry returns the newest entry that this host has read.
func (a *Agent) entry(ctx context.Context, in EntryRequest) (e poweron.Entry, err error) {
	known := false
	if err := a.look(ctx, func(c *core.Core) { e, known = c.Entry(in.Datastore, in.VM) }); err != nil {
		return e, err
	}
	if !known {
		return e, control.Errorf(control.Unavailable, "this host has not read what is stored of the machine").WithRemedy("ask a host that has the machine's datastore")
	}
	return e, nil
}

// commands are the users' wishes that the core has not answered.
type commands struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan core.Reply
}

func (c *commands) add() (uint64, chan core.Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = map[uint64]chan core.Reply{}
	}
	c.last++
	answer := make(chan core.Reply, 1)
	c.waiting[c.last] = answer
	return c.last, answer
}

func (c *commands) answer(r core.Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.waiting[r.Command]; answer != nil {
		answer <- r
		delete(c.waiting, r.Command)
	}
}

// command gives a user's wish to the core and waits for the answer.
func (a *Agent) command(ctx context.Context, cmd core.Command) (CommandResult, error) {
	if cmd.Verb == core.Protect || cmd.Verb == core.Redefine {
		if err := a.validate(ctx, &cmd); err != nil {
			return CommandResult{}, err
		}
	}
	r, err := a.wish(ctx, func(id uint64) core.Observation {
		cmd.ID = id
		return cmd
	})
	return result(r, err, "the datastore did not answer in time: the change may still be recorded", "look with `storebeat vm show`, then repeat the command")
}

// wish gives a user's wish to the core, under a number of its own, and waits for
// the answer. An error means that there was none in time.
func (a *Agent) wish(ctx context.Context, numbered func(id uint64) core.Observation) (core.Reply, error) {
	id, answer := a.commands.add()
	a.observe(numbered(id))
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		return core.Reply{}, ctx.Err()
	}
}

// result tells a user how a wish went; late and remedy are for one without an answer.
func result(r core.Reply, err error, late, remedy string) (CommandResult, error) {
	switch {
	case err != nil:
		return CommandResult{}, control.Errorf(control.Unavailable, "%s (%v)", late, err).WithRemedy("%s", remedy)
	case r.Err != "":
		return CommandResult{}, control.Errorf(control.Refused, "%s", r.Err)
	}
	return CommandResult{Text: r.Text}, nil
}

// validate has the machine's driver judge its definition, and sees to it that no other
// cluster keeps the machine running, before it is recorded.
func (a *Agent) validate(ctx context.Context, cmd *core.Command) error {
	home, err := a.settingsOf(cmd.Datastore)
	if err != nil {
		return control.Errorf(control.NotFound, "%v", err)
	}
	driver := a.machines.drivers[cmd.Entry.Driver]
	if driver == nil {
		return control.Errorf(control.Invalid, "no hypervisor driver %q is configured on this host", cmd.Entry.Driver).WithRemedy("add it to hypervisor.drivers")
	}
	if err := a.judgeDefinition(ctx, driver, home, &cmd.Entry); err != nil {
		return err
	}
	return a.refuseShared(ctx, home, &cmd.Entry)
}

// judgeDefinition has the driver write out what depends on the host, and judge the
// rest. Every datastore on which the machine has disks must be acceptable.
func (a *Agent) judgeDefinition(ctx context.Context, driver hypervisor.Driver, home config.Datastore, e *poweron.Entry) error {
	if err := acceptable(home); err != nil {
		return err
	}
	spec := hypervisor.Spec{VM: e.VM, Name: e.Name, DatastorePath: home.Path, Others: a.otherPlaces(but(home.UUID)), Definition: e.Definition}
	if err := driver.Validate(spec); err != nil {
		return control.Errorf(control.Invalid, "the definition of %s is not valid: %v", e.Name, err)
	}
	disks, err := driver.Disks(spec)
	if err != nil {
		return control.Errorf(control.Invalid, "the definition of %s is not valid: %v", e.Name, err)
	}
	for _, d := range a.datastores.list() {
		used, err := a.settingsOf(d.id)
		if err == nil && slices.ContainsFunc(disks, func(disk string) bool { return hypervisor.Below(disk, used.Path) }) {
			if err := acceptable(used); err != nil {
				return err
			}
		}
	}
	return a.pin(ctx, driver, home.UUID, e)
}

// pin has the driver write out what a definition leaves open.
func (a *Agent) pin(ctx context.Context, driver hypervisor.Driver, home uuid.UUID, e *poweron.Entry) error {
	pinner, ok := driver.(hypervisor.Pinner)
	if !ok {
		return nil
	}
	var before []byte
	err := a.look(ctx, func(c *core.Core) {
		if old, known := c.Entry(home, e.VM); known && old.Driver == e.Driver {
			before = old.Definition
		}
	})
	if err != nil {
		return err
	}
	if e.Definition, err = pinner.Pin(ctx, e.Definition, before); err != nil {
		return control.Errorf(control.Refused, "the definition of %s can't be completed on this host: %v", e.Name, err)
	}
	return nil
}

// but chooses every datastore except one.
func but(one uuid.UUID) func(uuid.UUID) bool {
	return func(id uuid.UUID) bool { return id != one }
}

// otherPlaces are those of the datastores that this host knows, chosen by a function.
func (a *Agent) otherPlaces(chosen func(uuid.UUID) bool) []hypervisor.Place {
	places := []hypervisor.Place{} // not nil: these are all there are
	for _, d := range a.datastores.list() {
		if s, err := a.settingsOf(d.id); err == nil && chosen(d.id) && s.Path != "" {
			places = append(places, hypervisor.Place{Name: s.Name, Path: s.Path})
		}
	}
	return places
}

// acceptable refuses to protect a machine where nothing stops a lost host's late
// writes, unless the operator has accepted that (R12).
func acceptable(d config.Datastore) error {
	barrier, why := datastorehb.BarrierNone, "it can't be told what lies under the datastore"
	if d.WriteBarrier != nil {
		barrier, why = *d.WriteBarrier, "the configuration says so"
	} else if i, err := device.Inspect(d.Path); err == nil {
		barrier, why = i.Barrier().Kind, i.Barrier().Why
	}
	if barrier != datastorehb.BarrierNone || d.AcceptNoBarrier {
		return nil
	}
	return control.Errorf(control.Refused, "datastore %s has no write barrier (%s): a late write of a lost host could damage the disks of a machine that was started elsewhere", d.Name, why).
		WithRemedy("use a datastore with NFSv4.1 locks or a cluster file system, or accept the risk by `storebeat cluster set datastore.%s.accept_no_barrier=true`", d.Name)
}

// totalMemory returns the memory of this computer in bytes, 0 if it can't be told.
func totalMemory() uint64 {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
