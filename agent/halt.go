package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

const (
	// haltTime bounds the order to halt a guest: by then its lease has ended, and whatever
	// was heard of the order, the guard freezes.
	haltTime = 2 * time.Second
	// resumeTime bounds one try to have a guest go on, and resumeAgain is the pause until the next.
	resumeTime  = 5 * time.Second
	resumeAgain = 100 * time.Millisecond
	// haltTellEvery is how often it is logged that one guest can't be halted: where storage is always a
	// little too slow it is to be with each heartbeat.
	haltTellEvery = time.Minute
)

// haltMark is a file in a machine's run directory: its guest was halted by the agent, or
// may have been, and is to go on. It outlives the agent, and not the host's boot.
func (ms *machines) haltMark(vm uuid.UUID, generation uint64) string {
	return filepath.Join(hypervisor.MachineDir(ms.agent.cfg.RunDirectory, vm, generation), "halted")
}

func (ms *machines) wasHalted(vm uuid.UUID, generation uint64) bool {
	_, err := os.Stat(ms.haltMark(vm, generation))
	return err == nil
}

// halt halts guests whose driver can do that. Each machine's orders are given one after the other.
func (ms *machines) halt(e core.HaltGuests) {
	for _, vm := range e.VMs {
		m := ms.get(vm)
		if m == nil {
			continue
		}
		halter, can := m.Machine.(hypervisor.Halter)
		if !can {
			continue
		}
		m.orders.add("halt", func() {
			ctx, cancel := context.WithTimeout(context.Background(), haltTime)
			defer cancel()
			note := func() error { return os.WriteFile(ms.haltMark(m.vm, m.generation), nil, 0o600) }
			if err := halter.Halt(ctx, note); err != nil && time.Since(m.unhalted) > haltTellEvery {
				m.unhalted = time.Now()
				ms.agent.log.Warn("can't halt the guest; it is frozen all the same if the lease ends, and its clock goes on", "vm", m.vm, "error", err)
			}
		})
	}
}

// resume has guests go on that were halted, however long that takes.
func (ms *machines) resume(e core.ResumeGuests) {
	for _, vm := range e.VMs {
		m := ms.get(vm)
		if m == nil {
			continue
		}
		if halter, can := m.Machine.(hypervisor.Halter); can {
			m.orders.add("resume", func() { ms.resumeNow(m, halter) })
		}
	}
}

func (ms *machines) resumeNow(m *machine, halter hypervisor.Halter) {
	mark := ms.haltMark(m.vm, m.generation)
	for tries := 1; ms.wasHalted(m.vm, m.generation); tries++ {
		ctx, cancel := context.WithTimeout(context.Background(), resumeTime)
		err := halter.Resume(ctx)
		cancel()
		if err == nil {
			err = os.Remove(mark)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if tries == 10 {
			ms.agent.log.Error("a guest that was halted before its lease could end does not go on yet; it is tried again and again", "vm", m.vm, "error", err)
		}
		select {
		case <-m.Done():
			return
		case <-time.After(resumeAgain):
		}
	}
}

// lastOrders is how long the end of the agent waits for guests to go on that it has halted.
const lastOrders = 2 * time.Second

// awaitOrders waits until the orders to guests are given: without an agent, one that was
// halted would stay so.
func (ms *machines) awaitOrders() {
	for deadline := time.Now().Add(lastOrders); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(ms.all(), func(m *machine) bool { name, _, _ := m.orders.state(); return name != "" }) {
			return
		}
	}
}
