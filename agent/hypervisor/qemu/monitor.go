package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/qmp"
)

// converse keeps a session with the monitor for as long as the process lives.
// It owns the machine's goroutine and may wait for a frozen QEMU for ever:
// nobody waits for it.
func (m *machine) converse(session *qmp.Session) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-m.Done()
		cancel()
	}()
	for ctx.Err() == nil {
		if session == nil {
			session = m.reconnect(ctx)
			continue
		}
		m.setSession(session)
		m.listen(ctx, session)
		m.setSession(nil)
		_ = session.Close()
		session = nil
	}
	if session != nil {
		_ = session.Close()
	}
}

func (m *machine) setSession(s *qmp.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = s
}

// reconnect makes one attempt to reach the monitor. It has no deadline of its
// own: a frozen QEMU greets when it is thawed.
func (m *machine) reconnect(ctx context.Context) *qmp.Session {
	session, err := qmp.Dial(ctx, m.at.monitor, m.hear)
	if err == nil {
		return session
	}
	if ctx.Err() == nil {
		m.lost(hypervisor.Connecting, err.Error())
	}
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
	}
	return nil
}

// listen asks for the guest's state now, after every change and now and then,
// until the session ends.
func (m *machine) listen(ctx context.Context, session *qmp.Session) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-session.Ended():
			m.lost(hypervisor.Connecting, "the monitor closed its session")
			return
		case <-ctx.Done():
			return
		case <-m.changed:
		case <-again.C:
		}
		if err := m.ask(ctx, session); err != nil {
			return
		}
		again.Reset(askEvery)
	}
}

// ask asks for the guest's state and acts on it: a guest that was never let run
// is let run (whether it may is the freezer's business, not ours), one whose disk
// failed is let try again what failed, and a QEMU whose guest is over is closed.
func (m *machine) ask(ctx context.Context, session *qmp.Session) error {
	state, err := m.patiently(ctx, session)
	if err != nil {
		return err
	}
	m.guestIs(state)
	m.mu.Lock()
	over := m.over != ""
	m.mu.Unlock()
	switch {
	case over:
		_, err = session.Send(ctx, "quit", nil)
	case state == prelaunch:
		_, err = session.Send(ctx, "cont", nil)
	case state == ioError:
		err = m.retry(ctx, session)
	}
	return err
}

// patiently asks one question and waits for its answer as long as it takes.
// After askLimit the monitor counts as silent. No second question is asked
// meanwhile, so a frozen QEMU does not wake up to a pile of them.
func (m *machine) patiently(ctx context.Context, session *qmp.Session) (string, error) {
	sendCtx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	call, err := session.Send(sendCtx, "query-status", nil)
	if err != nil {
		return "", err
	}
	select {
	case <-call.Answered():
	case <-sendCtx.Done():
		m.lost(hypervisor.Silent, fmt.Sprintf("no answer within %v: the machine is frozen, or QEMU hangs", askLimit))
	}
	return stateFrom(ctx, call)
}

// status asks for the guest's state.
func status(ctx context.Context, session *qmp.Session) (string, error) {
	call, err := session.Send(ctx, "query-status", nil)
	if err != nil {
		return "", err
	}
	return stateFrom(ctx, call)
}

func stateFrom(ctx context.Context, call *qmp.Call) (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	err := call.Wait(ctx, &answer)
	if err == nil && answer.Status == "" {
		err = errors.New("QEMU's answer to query-status names no state")
	}
	return answer.Status, err
}
