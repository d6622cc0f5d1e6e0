package libvirt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/clock"
	"storebeat/agent/hypervisor"
)

const (
	// lookEvery is the time between two looks at all domains.
	lookEvery = 5 * time.Second
	// listenAgain is the pause before `virsh event` is started again.
	listenAgain = time.Second
)

// look counts a machine among those that are watched until its end.
func (d *Driver) look(m *machine) {
	d.mu.Lock()
	d.machines[m] = struct{}{}
	delete(d.stopped, m.name)
	begin := !d.watching
	d.watching = true
	d.mu.Unlock()
	if begin {
		go d.watch()
	}
	d.poke()
	go func() {
		<-m.Done()
		d.mu.Lock()
		delete(d.machines, m)
		d.mu.Unlock()
		d.poke()
	}()
}

// poke has the domains looked at soon.
func (d *Driver) poke() {
	select {
	case d.poked <- struct{}{}:
	default:
	}
}

// watch looks after the conditions of all machines as long as there are any.
func (d *Driver) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go d.listen(ctx)
	for d.any() {
		d.lookAtAll(ctx)
		select {
		case <-d.poked:
		case <-time.After(lookEvery):
		}
	}
}

// any tells whether there is something to watch, and ends the watch if not.
func (d *Driver) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watching = len(d.machines) > 0
	return d.watching
}

// lookAtAll reads the states of all domains, by one call that waits for no domain.
func (d *Driver) lookAtAll(ctx context.Context) {
	asked := clock.Now()
	out, err := d.virsh.callAside(ctx, "domstats", "--nowait", "--state")
	states := parseStats(out)
	d.mu.Lock()
	machines := make([]*machine, 0, len(d.machines))
	for m := range d.machines {
		machines = append(machines, m)
	}
	d.mu.Unlock()
	for _, m := range machines {
		s, known := states[m.name]
		m.setCondition(conditionOf(s, known, err))
		if err == nil && known {
			m.tellMovement(s, asked)
			m.heed(s)
		}
	}
}

// heed does what is to be done about a domain in such a state.
func (m *machine) heed(s state) {
	m.tellPause(s == byUser)
	switch {
	case s.word == crashed:
		m.crashedInside()
	case s == forDisk:
		m.ioFailed()
	case s.word == "running":
		m.goesOn()
	}
}

// tellPause tells people when a user begins or ends a pause.
func (m *machine) tellPause(now bool) {
	m.mu.Lock()
	before := m.paused
	now = now && m.begun && !m.halted
	m.paused = now
	m.mu.Unlock()
	switch {
	case now && !before:
		m.Tell(hypervisor.GuestPaused, "")
	case before && !now:
		m.Tell(hypervisor.GuestResumed, "")
	}
}

// conditionOf puts into words what libvirtd says, or that it says nothing.
func conditionOf(s state, known bool, err error) hypervisor.Condition {
	switch {
	case errors.Is(err, errAbsent):
		return hypervisor.Condition{Monitor: hypervisor.Connecting, Detail: err.Error()}
	case err != nil:
		return hypervisor.Condition{Monitor: hypervisor.Silent, Detail: err.Error()}
	case !known:
		return hypervisor.Condition{Monitor: hypervisor.Answering, Detail: "libvirtd does not know that the domain runs"}
	}
	c := hypervisor.Condition{Monitor: hypervisor.Answering, Guest: s.word}
	if s == forDisk {
		c.Guest = ioError
	}
	if s.word != "running" {
		c.Detail = "the domain is " + s.String()
	}
	return c
}

// listen runs `virsh event` over and over. Each start is followed by a look at all
// domains, for what happened in between was not heard.
func (d *Driver) listen(ctx context.Context) {
	// The child's life hangs on this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		// Whatever ends it, it is started again; the looks tell of a daemon that is gone.
		_ = d.hear(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// hear runs `virsh event` until it ends.
func (d *Driver) hear(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := d.virsh.command(ctx, "event", "--loop", "--event", "lifecycle")
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("virsh event: %w", err)
	}
	d.poke()
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		if name, what, detail, ok := parseEvent(scanner.Text()); ok {
			d.note(name, what, detail)
		}
	}
	cancel() // a line too long ends the listening, too
	return cmd.Wait()
}

// note takes down why a domain stopped.
func (d *Driver) note(domainName, what, detail string) {
	d.mu.Lock()
	for m := range d.machines {
		if m.name == domainName && what == "Stopped" {
			d.stopped[domainName] = detail
		}
	}
	d.mu.Unlock()
	d.poke()
}

// whyStopped returns the reason that the last event gave.
func (d *Driver) whyStopped(domainName string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped[domainName]
}
