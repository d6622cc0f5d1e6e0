package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
)

// workerTime is how long a worker of libvirtd may wait for a domain that does not
// answer. Whoever asks more often takes away those that other domains need.
const workerTime = 30 * time.Second

// prelaunch is the state of a guest that has never been let run.
const prelaunch = "prelaunch"

// judgeLimit is how long libvirtd may take to say why a domain ended.
const judgeLimit = 3 * time.Second

// machine is one domain's process. Handle, Kill, Done and Exit are the process's own.
type machine struct {
	*leader.Process
	driver *Driver
	vm     uuid.UUID
	name   string // of the domain

	mu        sync.Mutex
	condition hypervisor.Condition
	ending    bool          // the domain is being ended because its guest crashed
	well      chan struct{} // holds something once libvirtd answers again
	trouble   diskTrouble
	begun     bool // the guest has run, so that who pauses it is a user
	paused    bool // by a user
	halted    bool // by the agent, or about to be
	movement  movement
}

func newMachine(d *Driver, vm uuid.UUID, name string) *machine {
	return &machine{driver: d, vm: vm, name: name, condition: hypervisor.Condition{Monitor: hypervisor.Connecting}, well: make(chan struct{}, 1),
		movement: movement{told: make(chan hypervisor.Movement, 1)}}
}

// Condition says what libvirtd said last.
func (m *machine) Condition() hypervisor.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.condition
}

func (m *machine) setCondition(c hypervisor.Condition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Monitor == hypervisor.Answering && m.condition.Monitor != c.Monitor {
		select {
		case m.well <- struct{}{}:
		default:
		}
	}
	if !m.begun && c.Guest == paused {
		c.Guest, c.Detail = prelaunch, ""
	}
	if c.Guest == ioError {
		c.Detail = cmp.Or(m.trouble.detail, c.Detail)
	}
	m.condition = c
}

// Shutdown asks the guest by its agent or its power button, as libvirt prefers.
func (m *machine) Shutdown(ctx context.Context) error {
	_, err := m.driver.virsh.call(ctx, "shutdown", m.vm.String())
	return err
}

// begin lets a newborn guest run once its process does. The order is given over
// and over until libvirtd says that the guest has begun; somebody who pauses it
// afterwards is heeded.
func (m *machine) begin() {
	for pause, trouble := 5*time.Millisecond, 200*time.Millisecond; ; pause = min(pause+time.Millisecond, 100*time.Millisecond) {
		if state, err := m.Handle().State(); err == nil && state == freeze.Running {
			begun, err := m.letRun()
			switch {
			case begun:
				m.hasBegun()
				return
			case errors.Is(err, errSilent):
				pause = workerTime
			case err != nil:
				pause, trouble = trouble, min(2*trouble, callLimit) // libvirtd has trouble: leave it time
			}
		}
		select {
		case <-m.Done():
			return
		case <-m.well:
		case <-time.After(pause):
		}
	}
}

func (m *machine) hasBegun() {
	m.mu.Lock()
	m.begun = true
	m.mu.Unlock()
	m.driver.poke()
}

// letRun gives the order to run if the guest has never run, and tells whether
// it has by now.
func (m *machine) letRun() (bool, error) {
	ctx := context.Background()
	status, err := m.guestStatus(ctx)
	if err != nil {
		return false, err
	}
	if status != prelaunch {
		return status != "", nil
	}
	_, err = m.driver.virsh.call(ctx, "resume", m.vm.String())
	return false, err
}

// judge asks libvirtd why the domain ended. A daemon that does not know can't have
// ended it by anybody's order.
func (m *machine) judge(leader.Ending) hypervisor.Exit {
	ctx, cancel := context.WithTimeout(context.Background(), judgeLimit)
	defer cancel()
	var last error
	off := false // set back to a snapshot, and not running since
	for {
		reason, err := m.reason(ctx)
		if exit, known := exits[reason]; known && reason != setBack {
			return exit
		}
		if err != nil {
			last = err
		} else {
			off = reason == setBack
		}
		select {
		case <-ctx.Done():
			if off {
				return exits[setBack]
			}
			detail := "QEMU ended"
			if last != nil {
				detail += fmt.Sprintf("; why is not known: %v", last)
			}
			return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: detail}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ended says what libvirt knows of a domain's newest run. It forgets that when its daemon
// is restarted, and transient domains altogether.
func (d *Driver) Ended(ctx context.Context, vm uuid.UUID) (hypervisor.Exit, bool) {
	s, err := d.virsh.state(ctx, vm)
	if err != nil || s.active() {
		return hypervisor.Exit{}, false
	}
	exit, known := exits[s.reason]
	return exit, known
}

// reason returns libvirt's word for why the domain is off, "" while it has none.
// A transient domain is gone with its end, and only an event tells.
func (m *machine) reason(ctx context.Context) (string, error) {
	s, err := m.driver.virsh.state(ctx, m.vm)
	if errors.Is(err, errNoDomain) {
		return m.driver.whyStopped(m.name), err
	}
	if err != nil || s.active() {
		return "", err
	}
	return s.reason, nil
}

// crashedInside ends a domain whose guest has crashed and which libvirt has been
// told to preserve.
func (m *machine) crashedInside() {
	m.mu.Lock()
	again := m.ending
	m.ending = true
	m.mu.Unlock()
	if again {
		return
	}
	go m.endCrashed(hypervisor.Exit{Kind: hypervisor.Crashed, Detail: "the guest panicked"})
}
