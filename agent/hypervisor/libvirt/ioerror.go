package libvirt

import (
	"context"
	"errors"
	"strings"
	"time"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/diskfault"
)

// ioError is what a guest is called whose disk failed, by every driver.
const ioError = "io-error"

// diskTrouble is a guest's trouble with its disks.
type diskTrouble struct {
	underWay bool
	seen     time.Time // the guest stopped for it
	tried    time.Time // to let it go on
	vain     int       // tries on end that were made while its disks could be read
	told     bool      // people know of it
	detail   string
}

// ioFailed lets a guest go on that libvirt has paused for an I/O error: the request that
// failed is made again, and once the storage is back the guest has noticed nothing. One
// that can't though its disks are well is over. It waits for nothing.
func (m *machine) ioFailed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble.seen = time.Now()
	if m.trouble.underWay || time.Since(m.trouble.tried) < lookEvery/2 {
		return
	}
	m.trouble.underWay = true
	go m.retry()
}

func (m *machine) retry() {
	defer func() {
		m.mu.Lock()
		m.trouble.underWay, m.trouble.tried = false, time.Now()
		m.mu.Unlock()
	}()
	if state, err := m.Handle().State(); err != nil || state != freeze.Running {
		return // QEMU would not answer, and nobody waits for a frozen one
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*callLimit)
	defer cancel()
	detail, readable := m.diskErrors(ctx), m.disksAnswer(ctx)
	// That took time, in which a user may have had the guest go on, and paused it. Who pauses
	// it while it stands still for its disk is not heard: neither QEMU nor libvirt notes that.
	if s, err := m.driver.virsh.state(ctx, m.vm); err != nil || s != forDisk {
		return
	}
	if m.failedAgain(detail, readable) {
		m.endCrashed(diskfault.Lost(detail))
		return
	}
	// The looks tell what came of it, and of a daemon that is gone.
	_, _ = m.driver.virsh.call(ctx, "resume", m.vm.String())
	m.driver.poke()
}

// failedAgain counts a failure, and tells whether the guest's hold on its disks is lost.
func (m *machine) failedAgain(detail string, readable bool) (lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.trouble.told {
		m.trouble.told = true
		m.Tell(hypervisor.GuestDiskFailed, detail)
	}
	m.trouble.detail = detail
	if !readable || strings.Contains(detail, "no space") {
		m.trouble.vain = 0
	}
	m.trouble.vain++
	return m.trouble.vain > diskfault.VainTries
}

// diskErrors is what QEMU says of the disks.
func (m *machine) diskErrors(ctx context.Context) string {
	out, err := m.driver.virsh.call(ctx, "domblkerror", m.vm.String())
	if err != nil {
		return "a request to a disk failed; which one is not known: " + err.Error()
	}
	return "a request to a disk failed: " + oneLine(out)
}

// disksAnswer reports whether every disk can be opened and read by somebody else.
func (m *machine) disksAnswer(ctx context.Context) bool {
	text, err := m.driver.virsh.call(ctx, "dumpxml", m.vm.String())
	if err != nil {
		return false
	}
	dom, err := parseDomain(text)
	if err != nil {
		return false
	}
	for _, file := range dom.disks() {
		if !diskfault.Answers(file) {
			return false
		}
	}
	return len(dom.disks()) > 0
}

// goesOn forgets a trouble once the guest has not stopped for a while.
func (m *machine) goesOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trouble.seen.IsZero() || time.Since(m.trouble.seen) <= 2*lookEvery {
		return
	}
	if m.trouble.told {
		m.Tell(hypervisor.GuestDiskRecovered, "")
	}
	m.trouble = diskTrouble{underWay: m.trouble.underWay, tried: m.trouble.tried}
}

// endCrashed ends a domain whose guest is over. QEMU ends in good order; if it can't be
// asked, it is asked again when its state is next seen.
func (m *machine) endCrashed(why hypervisor.Exit) {
	m.Because(why)
	err := m.NoteEnding() // or the next agent may take it for a user's will
	_, err2 := m.driver.virsh.callWithin(context.Background(), 2*callLimit, "destroy", "--graceful", m.vm.String())
	if errors.Join(err, err2) != nil {
		m.mu.Lock()
		m.ending = false
		m.mu.Unlock()
	}
}
