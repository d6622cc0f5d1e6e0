package qemu

import (
	"context"
	"time"

	"storebeat/agent/hypervisor/diskfault"
	"storebeat/agent/hypervisor/qmp"
)

// trouble is a guest's trouble with its disks.
type trouble struct {
	last  time.Time // request that failed
	tried time.Time // to let it go on
	vain  int       // tries on end that were made while its disks could be read
	full  bool      // the last request failed for want of room, which more room mends
	told  bool      // people know of it
}

// retry lets a guest go on that was stopped for an I/O error, every askEvery: the
// request that failed is made again, and once the storage is back the guest has
// noticed nothing. One that can't though its disks are well is over.
func (m *machine) retry(ctx context.Context, session *qmp.Session) error {
	m.mu.Lock()
	due := time.Since(m.trouble.tried) >= askEvery
	m.mu.Unlock()
	if !due {
		return nil
	}
	readable := disksAnswer(ctx, session)
	// That took time, in which a user may have had the guest go on, and paused it. Who pauses
	// it while it stands still for its disk is not heard: QEMU does not note that.
	if state, err := m.patiently(ctx, session); err != nil || state != ioError {
		return err
	}
	m.mu.Lock()
	m.trouble.tried = time.Now()
	if !readable || m.trouble.full {
		m.trouble.vain = 0
	}
	lost, detail := m.trouble.vain >= diskfault.VainTries, m.condition.Detail
	m.trouble.vain++
	if lost {
		m.over = ioError
	}
	m.mu.Unlock()
	command := "cont"
	if lost {
		command = "quit"
		m.Because(diskfault.Lost(detail))
	}
	_, err := session.Send(ctx, command, nil)
	return err
}

// recovered forgets a trouble once no request has failed for a while, and reports
// whether people are to be told. The caller holds the lock.
func (m *machine) recovered() bool {
	if time.Since(m.trouble.last) <= 2*askEvery {
		return false
	}
	told := m.trouble.told
	m.trouble.vain, m.trouble.told = 0, false
	return told
}

// disksAnswer reports whether every disk can be opened and read by somebody else.
func disksAnswer(ctx context.Context, session *qmp.Session) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var devices []struct {
		Inserted *struct {
			File string `json:"file"`
		} `json:"inserted"`
	}
	if session.Execute(ctx, "query-block", nil, &devices) != nil {
		return false
	}
	for _, d := range devices {
		if d.Inserted != nil && !diskfault.Answers(d.Inserted.File) {
			return false
		}
	}
	return len(devices) > 0
}
