package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

// A hypervisor that moves a running machine here asks three times, through its hook: before
// it makes anything of what it is offered (mayReceive), before it makes the process (mayStart), and
// with the process, in which nothing of the guest executes yet (receive). It goes on only when the last
// question is answered, which takes until the machine is shared with this host (R15).

// OfferRequest is what a hypervisor is about to make to move a running machine here.
type OfferRequest struct {
	VM      uuid.UUID `json:"vm"`
	Offered []byte    `json:"offered"` // in the hypervisor's own form
}

// ReceiveRequest names the process that a hypervisor has made for a guest.
type ReceiveRequest struct {
	VM  uuid.UUID `json:"vm"`
	PID int       `json:"pid"` // 0 if it can't be found
}

// ReceiveTime is how long the answer to a ReceiveRequest may take: the hypervisor's daemon does nothing
// else meanwhile.
const ReceiveTime = 110 * time.Second

// offerTime is how long a hypervisor has from one of its questions to the next.
const offerTime = time.Minute

// incoming are the machines that hypervisors are about to move here.
type incoming struct {
	mu     sync.Mutex
	last   uint64
	offers map[uuid.UUID]*offer
}

// offer is a machine that a hypervisor is about to move here.
type offer struct {
	ask    uint64    // of the core, 0 while it has not been asked
	begun  bool      // its process is being made
	since  time.Time // of the newest question
	pid    int
	answer chan core.IncomingAnswer
}

// announce notes that a machine may be moved here, as far as can be told.
func (in *incoming) announce(vm uuid.UUID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for known, o := range in.offers {
		if time.Since(o.since) > offerTime && o.ask == 0 {
			delete(in.offers, known)
		}
	}
	if in.offers == nil {
		in.offers = map[uuid.UUID]*offer{}
	}
	if o := in.offers[vm]; o == nil || o.ask == 0 {
		in.offers[vm] = &offer{since: time.Now()}
	}
}

// begin tells whether a process may be made for a machine that is to be moved here: once
// after it was announced. One that would carry a marker is none that is moved here: the hook
// takes that out of what it is offered.
func (in *incoming) begin(vm uuid.UUID, marker string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	o := in.offers[vm]
	if o == nil || o.begun || marker != "" || time.Since(o.since) > offerTime {
		return false
	}
	o.begun, o.since = true, time.Now()
	return true
}

// made takes down the process, and returns the offer with the number to ask the core by. It
// returns nil for a process that nobody has been asked about.
func (in *incoming) made(vm uuid.UUID, pid int) *offer {
	in.mu.Lock()
	defer in.mu.Unlock()
	o := in.offers[vm]
	if o == nil || !o.begun || o.ask != 0 || time.Since(o.since) > offerTime {
		return nil
	}
	in.last++
	o.ask, o.pid, o.answer = in.last, pid, make(chan core.IncomingAnswer, 1)
	return o
}

// answer passes on what the core says.
func (in *incoming) answer(e core.IncomingAnswer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if o := in.offers[e.VM]; o != nil && o.ask == e.Ask {
		select {
		case o.answer <- e:
		default: // it was answered before
		}
	}
}

// process returns the process of a machine that waits to be received, 0 for none.
func (in *incoming) process(vm uuid.UUID) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if o := in.offers[vm]; o != nil {
		return o.pid
	}
	return 0
}

// expected tells whether a machine's process may be there that is not in this agent's care yet.
func (in *incoming) expected(vm uuid.UUID) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	o := in.offers[vm]
	return o != nil && (o.ask != 0 || time.Since(o.since) <= offerTime)
}

// over forgets an offer that its hypervisor has had an answer to, or does not wait for any more.
func (in *incoming) over(vm uuid.UUID, o *offer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.offers[vm] == o {
		delete(in.offers, vm)
	}
}

// mayReceive tells a hypervisor whether a machine could be moved here, before it makes anything.
func (a *Agent) mayReceive(ctx context.Context, in OfferRequest) (MayStartResult, error) {
	m, why, err := a.protectedMachine(ctx, in.VM)
	if err != nil || m == nil {
		return MayStartResult{Allowed: why == "", Why: why}, err
	}
	if err := a.look(ctx, func(c *core.Core) { why = c.MayReceive(in.VM) }); err != nil {
		return MayStartResult{}, err
	}
	if why == "" {
		why, err = a.refuseOffer(ctx, m, in.Offered)
	}
	if err != nil || why != "" {
		return a.refuseMigration(m, why), err
	}
	a.incoming.announce(in.VM)
	return MayStartResult{Allowed: true, Protected: true}, nil
}

// refuseOffer says why a machine can't be moved here as it is offered.
func (a *Agent) refuseOffer(ctx context.Context, m *core.MachineView, offered []byte) (string, error) {
	receiver, ok := a.machines.drivers[m.Driver].(hypervisor.Receiver)
	if !ok {
		return fmt.Sprintf("this host is not configured to run machines of driver %q", m.Driver), nil
	}
	home, err := a.settingsOf(m.Datastore)
	if err != nil {
		return "", control.Errorf(control.NotFound, "%v", err)
	}
	others, err := a.machines.usablePlaces(ctx, home.UUID)
	if err != nil {
		return "", err
	}
	spec := hypervisor.Spec{VM: m.VM, Name: m.Name, Datastore: m.Datastore, DatastorePath: home.Path, Others: others}
	if err := receiver.MayReceive(spec, offered); err != nil {
		return err.Error(), ctx.Err()
	}
	return "", ctx.Err()
}

// refuseMigration tells a hypervisor's user, and those who read events, why a machine is not moved here.
func (a *Agent) refuseMigration(m *core.MachineView, why string) MayStartResult {
	self, _ := a.member(a.self.Host)
	text := fmt.Sprintf("%s is protected by Storebeat and can't be moved to %s: %s", m.Name, self.Name, why)
	a.observe(core.HypervisorFinding{VM: m.VM, Kind: "migration-refused", Text: text})
	return MayStartResult{Why: text}
}

// receive has the core find out whether a machine is shared with this host, and take on the
// process that its hypervisor has made. It waits for that, four takeover times and ReceiveTime at most.
func (a *Agent) receive(ctx context.Context, in ReceiveRequest) (MayStartResult, error) {
	m, why, err := a.protectedMachine(ctx, in.VM)
	if err != nil || m == nil {
		return MayStartResult{Allowed: why == "", Why: why}, err
	}
	if in.PID <= 1 {
		return a.refuseMigration(m, "the hypervisor's process can't be found"), nil
	}
	o := a.incoming.made(in.VM, in.PID)
	if o == nil {
		return MayStartResult{Why: refuseStart(m)}, nil
	}
	defer a.incoming.over(in.VM, o)
	limit := min(4*a.cfg.Timing.Takeover+time.Second, ReceiveTime) // the core mostly knows earlier
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	a.observe(core.IncomingAsked{VM: in.VM, Ask: o.ask})
	select {
	case e := <-o.answer:
		if e.Allowed {
			return MayStartResult{Allowed: true}, nil
		}
		return a.refuseMigration(m, e.Why), nil
	case <-ctx.Done():
		return a.refuseMigration(m, context.Cause(ctx).Error()), nil
	}
}

// receive takes on the process that a hypervisor has made to move a machine here, and
// registers it with the guard.
func (ms *machines) receive(e core.ReceiveMachine) {
	ended := ms.busyWith(e.VM, e.Generation)
	go func() {
		defer ended()
		o := core.MachineStarted{VM: e.VM, Generation: e.Generation}
		if err := ms.receiveNow(e); err != nil {
			o.Err = err.Error()
		}
		ms.agent.observe(o)
	}()
}

var errNotIncoming = errors.New("its hypervisor does not wait with a process of it any more")

func (ms *machines) receiveNow(e core.ReceiveMachine) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	pid := ms.agent.incoming.process(e.VM)
	if pid == 0 {
		return errNotIncoming
	}
	entry, known := ms.agent.entryOf(ctx, e.Datastore, e.VM)
	receiver, ok := ms.drivers[entry.Driver].(hypervisor.Receiver)
	if !known || !ok {
		return fmt.Errorf("this host has no driver %q that could receive it", entry.Driver)
	}
	home, err := ms.agent.settingsOf(e.Datastore)
	if err != nil {
		return err
	}
	go ms.forgetRendition(e.VM) // writing that down may hang with the local disk, and the other host waits
	p, err := receiver.Receive(ctx, ms.spec(e.Datastore, home.Path, &entry, e.Generation, nil), pid)
	if err != nil {
		return err
	}
	return ms.care(ctx, &machine{Machine: p, vm: e.VM, generation: e.Generation, home: e.Datastore})
}

// forgetRendition is for a machine that is moved here: what the hypervisor keeps of it comes
// along, in words of its own.
func (ms *machines) forgetRendition(vm uuid.UUID) {
	if err := ms.renditions.forget(vm); err != nil {
		ms.agent.log.Warn("a definition that comes with a machine may be told to have been changed", "vm", vm, "error", err)
	}
}

// tellMovements reports what the hypervisor says of a machine that it moves, until the machine's end.
func (ms *machines) tellMovements(m *machine) {
	migrant, ok := m.Machine.(hypervisor.Migrant)
	if !ok {
		return
	}
	for {
		select {
		case w := <-migrant.Movements():
			ms.agent.observe(core.MigrationSeen{VM: m.vm, Asked: w.Asked, Arrived: w.Kind == hypervisor.Settled, HandedOver: w.Kind == hypervisor.HandedOver})
			if w.Kind == hypervisor.Settled {
				ms.lookSoon() // what the hypervisor keeps of it has come along
			}
		case <-m.Done():
			return
		}
	}
}
