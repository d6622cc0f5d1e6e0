package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
)

// guardPatience is how long the guard may take to answer before it counts as hung.
// One that is restarted takes up to a few tenths of a second; meanwhile the agent
// freezes by itself what has to be.
const guardPatience = 1500 * time.Millisecond

// guardLink carries the core's effects to the guard, in their order, and the
// guard's reports to the core. Losing the guard is reported once.
type guardLink struct {
	agent *Agent
	queue queue // keeps a lease ahead of the machines that are let go under it

	mu     sync.Mutex
	client *guard.Client // nil while there is no guard

	reporting sync.Mutex // held while a guard is reported gone or back: the reports must not overtake each other
}

// connect finds the guard, or starts one, and returns what it knows.
func (g *guardLink) connect(ctx context.Context) (*guard.Client, guard.Inventory, error) {
	client, err := g.find(ctx)
	if err != nil {
		return nil, guard.Inventory{}, fmt.Errorf("connect to the guard at %s: %w", g.agent.cfg.Guard.Socket, err)
	}
	inventory, err := client.Hello(ctx, g.agent.self.Incarnation)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			g.endHung(client)
		}
		client.Close()
		return nil, guard.Inventory{}, fmt.Errorf("say hello to the guard: %w", err)
	}
	g.mu.Lock()
	g.client = client
	g.mu.Unlock()
	go g.follow(client)
	return client, inventory, nil
}

// find connects to the guard that is there. Without one it starts one, or waits
// for the one that a service manager starts.
func (g *guardLink) find(ctx context.Context) (*guard.Client, error) {
	cfg := g.agent.cfg.Guard
	for {
		client, err := guard.Dial(ctx, cfg.Socket)
		switch {
		case err == nil:
			return client, nil
		case cfg.Spawn:
			return g.spawn(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; this agent starts no guard of its own: start storebeat-guard.service", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (g *guardLink) spawn(ctx context.Context) (*guard.Client, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--freeze", g.agent.cfg.Timing.Freeze.String(), "--cluster", g.agent.cfg.Cluster.UUID.String(),
		"--host-id", strconv.Itoa(int(g.agent.self.Host)), "--run-directory", g.agent.cfg.RunDirectory}
	if g.agent.cfg.Guard.Watchdog != "" {
		t := g.agent.cfg.Timing
		args = append(args, "--watchdog", g.agent.cfg.Guard.Watchdog, "--lease", t.Lease.String(), "--takeover", t.Takeover.String())
	}
	return guard.Spawn(ctx, binary, g.agent.cfg.Guard.Socket, args...)
}

// follow passes the guard's reports on, asks it regularly whether it is there,
// and reports its loss.
func (g *guardLink) follow(client *guard.Client) {
	lost := make(chan string, 2)
	go func() {
		for e := range client.Events() {
			g.report(e)
		}
		lost <- fmt.Sprint("the connection ended: ", client.Err())
	}()
	go func() {
		for {
			select {
			case <-client.Done():
				return
			case <-time.After(g.agent.cfg.Timing.Interval / 2):
			}
			ctx, cancel := context.WithTimeout(context.Background(), guardPatience)
			err := client.Ping(ctx)
			cancel()
			if err != nil {
				lost <- fmt.Sprintf("it did not answer within %v: %v", guardPatience, err)
				return
			}
		}
	}()
	why := <-lost
	g.mu.Lock()
	current := g.client == client
	if current {
		g.client = nil
	}
	g.mu.Unlock()
	if current && !g.agent.stopping() {
		g.endHung(client)
		g.reporting.Lock()
		g.agent.observe(core.GuardGone{Why: why})
		g.reporting.Unlock()
	}
	client.Close()
}

// endHung ends a guard that does not answer, so that another can take its place.
// A guard that is gone already is left alone: its process id may be somebody else's.
func (g *guardLink) endHung(client *guard.Client) {
	select {
	case <-client.Done():
		return
	default:
	}
	if h, err := client.Guard(); err == nil {
		if err := h.Kill(); err != nil && !errors.Is(err, freeze.ErrGone) {
			g.agent.log.Warn("can't end the hung guard", "pid", client.PID(), "error", err)
		}
	}
}

func (g *guardLink) report(e guard.Event) {
	switch e.Kind {
	case guard.Frozen:
		g.agent.observe(core.GuardFrozen{Datastore: e.Datastore, Term: e.Term, Took: e.Took})
	case guard.MachineEscaped:
		g.agent.log.Warn("a machine that must be frozen was seen running and is frozen again", "vm", e.VM)
	}
}

func (g *guardLink) current() *guard.Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.client
}

// errNoGuard means that there is nobody to ask.
var errNoGuard = errors.New("there is no guard")

// call runs one request, in order. It is for the guard that was there when the
// core decided on it: without that one it does nothing but fail. A new guard
// must not be told what was decided before all machines were frozen for it.
func (g *guardLink) call(name string, do func(ctx context.Context, c *guard.Client) error, failed func(error)) {
	meant := g.current()
	g.queue.add(name, func() {
		c := g.current()
		if c == nil || c != meant {
			failed(errNoGuard)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), guardPatience)
		defer cancel()
		if err := do(ctx, c); err != nil {
			failed(err)
		}
	})
}

func (g *guardLink) setLease(e core.GuardLease) {
	g.call("lease", func(ctx context.Context, c *guard.Client) error {
		return c.SetLease(ctx, e.Datastore, e.Term, e.Length, e.Deadline)
	}, func(err error) {
		g.agent.observe(core.GuardRefused{Datastore: e.Datastore, Term: e.Term, Why: err.Error()})
	})
}

// custody makes the guard hold a lease without limit, or limit it again.
func (g *guardLink) custody(e core.GuardCustody) {
	o := core.GuardCustodyDone{Datastore: e.Datastore, Term: e.Term, Begun: e.Begin}
	g.call("custody", func(ctx context.Context, c *guard.Client) (err error) {
		if e.Begin {
			err = c.BeginCustody(ctx, e.Datastore, e.Term)
		} else {
			o.Deadline, err = c.EndCustody(ctx, e.Datastore, e.Term)
		}
		if err == nil {
			g.agent.observe(o)
		}
		return err
	}, func(err error) {
		if e.Begin && errors.Is(err, guard.ErrRefused) {
			o.Refused = err.Error()
			g.agent.observe(o)
			return
		}
		g.agent.observe(core.GuardRefused{Datastore: e.Datastore, Term: e.Term, Why: err.Error()})
	})
}

// letGo lets machines go, unless the agent was told to freeze them since the core
// decided on it. What is left of a freeze decided before must not hit them later.
func (g *guardLink) letGo(e core.GuardLetGo) {
	freezes := g.agent.machines.freezes.begun(e.Datastore)
	g.call("let go", func(ctx context.Context, c *guard.Client) error {
		if !g.agent.machines.freezes.end(e.Datastore, freezes) {
			return errors.New("they were to be frozen meanwhile")
		}
		r, err := c.LetGo(ctx, e.Datastore, e.Term, e.VMs)
		if err != nil {
			return err
		}
		o := core.GuardLetWent{Datastore: e.Datastore, Term: e.Term, VMs: r.Running, Asked: e.VMs}
		for _, refused := range r.Refused {
			o.Why = refused.Why
		}
		g.agent.observe(o)
		return nil
	}, func(err error) {
		g.agent.observe(core.GuardLetWent{Datastore: e.Datastore, Term: e.Term, Asked: e.VMs, Why: err.Error()})
	})
}

// register puts a machine under the guard's eye, frozen.
func (g *guardLink) register(ctx context.Context, m guard.Machine) error {
	c := g.current()
	if c == nil {
		return errNoGuard
	}
	ctx, cancel := context.WithTimeout(ctx, guardPatience)
	defer cancel()
	return c.Register(ctx, m)
}

// hold has the guard freeze machines that the agent freezes by itself, so that
// it does not take them for running. It may be gone, or hang: then it learns of
// them when it is replaced.
func (g *guardLink) hold(vms []uuid.UUID) {
	if len(vms) > 0 {
		g.call("freeze", func(ctx context.Context, c *guard.Client) error { return c.Freeze(ctx, vms...) }, func(error) {})
	}
}

func (g *guardLink) forget(vm uuid.UUID) {
	g.call("forget", func(ctx context.Context, c *guard.Client) error { return c.Forget(ctx, vm) }, func(error) {})
}

// restart connects to a new guard, registers every machine with it, and reports
// it once it has seen all of them frozen. It tries until it succeeds.
func (g *guardLink) restart() {
	for !g.agent.stopping() {
		err := g.restartOnce()
		if err == nil {
			return
		}
		g.agent.log.Error("can't get a guard", "error", err)
		time.Sleep(200 * time.Millisecond)
	}
}

func (g *guardLink) restartOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client, _, err := g.connect(ctx)
	if err != nil {
		return err
	}
	err = g.registerAll(ctx, client)
	if err == nil {
		err = g.awaitAllFrozen(ctx, client)
	}
	if err == nil {
		err = g.announce(client)
	}
	if err != nil {
		client.Close() // or the guard would run out of connections
	}
	return err
}

// announce reports the new guard, unless it is lost again. Once it has begun, the
// report of a loss can only come after.
func (g *guardLink) announce(client *guard.Client) error {
	g.reporting.Lock()
	defer g.reporting.Unlock()
	if g.current() != client {
		return errors.New("the new guard is gone again")
	}
	g.agent.observe(core.GuardBack{})
	return nil
}

// registerAll tells a guard of every machine and has it freeze them all: it may
// be the one that was there before, to which only the connection was lost.
func (g *guardLink) registerAll(ctx context.Context, client *guard.Client) error {
	var vms []uuid.UUID
	for _, m := range g.agent.machines.all() {
		if err := client.Register(ctx, m.registration()); err != nil {
			return fmt.Errorf("register machine %s with the guard: %w", m.vm, err)
		}
		vms = append(vms, m.vm)
	}
	if len(vms) == 0 {
		return nil
	}
	return client.Freeze(ctx, vms...)
}

// awaitAllFrozen waits until the guard has seen every machine frozen.
func (g *guardLink) awaitAllFrozen(ctx context.Context, client *guard.Client) error {
	for {
		inventory, err := client.Inventory(ctx)
		if err != nil {
			return err
		}
		frozen := true
		for _, m := range inventory.Machines {
			frozen = frozen && inventory.AllFrozen(m.Datastore)
		}
		if frozen {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the guard to freeze everything: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
