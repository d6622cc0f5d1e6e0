package guard

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"storebeat/agent/freeze"
)

// admit takes a new connection on, or closes it.
func (s *server) admit(conn *net.UnixConn) {
	if len(s.clients) >= maxConnections {
		s.complain("connection refused", "reason", "too many connections")
		conn.Close()
		return
	}
	if err := mayConnect(conn); err != nil {
		s.complain("connection refused", "reason", err)
		conn.Close()
		return
	}
	s.connect(conn, nil)
}

// connect makes a connection one of the guard's. rest is what was read from it before.
func (s *server) connect(conn *net.UnixConn, rest []byte) *connection {
	c := &connection{conn: conn, outbox: make(chan []byte, outboxLines)}
	s.clients[c] = true
	c.start(rest, s.calls, s.stopped)
	return c
}

// receive handles one call. A client that sends what is no request is answered
// and left: what it meant by the rest can't be known.
func (s *server) receive(one call) {
	c := one.from
	switch {
	case one.closed:
		s.drop(c, one.err)
	case one.err != nil:
		c.send(answer{ID: one.request.ID, Error: one.err.Error()})
		if !refusable(one.request) {
			c.leave()
		}
	default:
		a := s.perform(c, one.request)
		a.ID = one.request.ID
		c.send(a)
	}
}

// refusable tells whether a bad request was at least well-formed, so that the
// connection can go on.
func refusable(r request) bool { return r.ID != 0 && r.Op != "" }

// drop forgets a connection. That the agent is gone changes nothing at first: its
// leases run out unless it comes back in time.
func (s *server) drop(c *connection, err error) {
	c.leave()
	delete(s.clients, c)
	if s.agent == c {
		s.agent = nil
		s.keeper.AgentLeft(s.now())
		s.log.say(hclog.Warn, "agent is disconnected; machines run until their leases end", "incarnation", s.agentRun, "error", err)
	}
}

// perform carries out one request. All but the questions are for the agent alone.
func (s *server) perform(c *connection, r request) answer {
	switch r.Op {
	case opPing:
		return answer{Fed: s.watchdog.lastFed(), Guard: &s.self}
	case opInventory:
		return s.inventory()
	case opHello:
		return s.hello(c, r.Incarnation)
	}
	if s.agent != c {
		return failed(errors.New("this connection is not the agent's: another has said hello since, or it has not"))
	}
	switch r.Op {
	case opSetLease:
		return failed(s.keeper.SetLease(s.now(), r.Datastore, r.Term, r.Length, r.Deadline))
	case opCustody:
		return s.custody(r)
	case opEnd:
		deadline, err := s.keeper.EndCustody(s.now(), r.Datastore, r.Term)
		s.log.say(hclog.Info, "custody ends", "datastore", r.Datastore, "term", r.Term, "error", err)
		a := failed(err)
		a.Deadline = deadline
		return a
	case opRegister:
		return s.register(*r.Machine)
	case opLetGo:
		return s.letGo(r.Datastore, r.Term, r.VMs)
	case opFreeze:
		return s.each(r.VMs, func(vm uuid.UUID) error { return s.keeper.Freeze(s.now(), vm) })
	case opForget:
		return s.each(r.VMs, s.forget)
	}
	return failed(errors.New("operation is not carried out here"))
}

// custody makes a lease last until the agent is back.
func (s *server) custody(r request) answer {
	err := s.keeper.BeginCustody(s.now(), r.Datastore, r.Term)
	s.log.say(hclog.Info, "custody begins: the agent stops in good order", "datastore", r.Datastore, "term", r.Term, "error", err)
	return failed(err)
}

func failed(err error) answer {
	if err == nil {
		return answer{}
	}
	return answer{Error: err.Error()}
}

func (s *server) each(vms []uuid.UUID, do func(uuid.UUID) error) answer {
	var errs []error
	for _, vm := range vms {
		errs = append(errs, do(vm))
	}
	// What has become due is done before the answer goes out.
	s.turn()
	return failed(errors.Join(errs...))
}

// hello makes the connection the agent's. The newest one wins, because an agent
// that restarts may be there before the end of its forerunner is noticed. The
// forerunner is told: if it runs on, it has to begin anew with all its machines
// frozen, and must not take refused leases for a passing trouble.
func (s *server) hello(c *connection, incarnation uint64) answer {
	if s.agent != nil && s.agent != c {
		s.agent.send(failed(fmt.Errorf("another agent has said hello (incarnation %d)", incarnation)))
	}
	s.agent, s.agentRun = c, incarnation
	s.keeper.AgentCame()
	s.log.say(hclog.Info, "agent is connected", "incarnation", incarnation)
	return s.inventory()
}

func (s *server) inventory() answer {
	inventory := s.keeper.Inventory(s.now())
	inventory.Guard = s.self
	return answer{Inventory: &inventory}
}

// register takes a machine on and freezes it before answering. A former process
// of the machine may have ended unnoticed.
func (s *server) register(m Machine) answer {
	if old := s.keeper.machines[m.VM]; old != nil && old.Handle != m.Handle {
		s.notice(m.VM)
	}
	if err := s.keeper.Register(s.now(), m); err != nil {
		return failed(err)
	}
	s.turn()
	return answer{}
}

// forget looks at the machine itself first: its end may not have been noticed.
func (s *server) forget(vm uuid.UUID) error {
	s.notice(vm)
	return s.keeper.Forget(vm)
}

// notice looks whether a machine is gone. One that runs is not looked at otherwise.
func (s *server) notice(vm uuid.UUID) {
	if m := s.keeper.machines[vm]; m != nil {
		if state, err := m.Handle.State(); err == nil && state == freeze.Gone {
			s.keeper.Confirm(s.now(), vm, state)
		}
	}
}

// letGo thaws what the Keeper lets go. One that can't be thawed is held again.
// Leases that ran out while this went on are seen to before the answer.
func (s *server) letGo(datastore uuid.UUID, term uint64, vms []uuid.UUID) answer {
	result := s.keeper.LetGo(s.now(), datastore, term, vms)
	result.Running = slices.DeleteFunc(result.Running, func(vm uuid.UUID) bool {
		err := s.keeper.machines[vm].Handle.Thaw()
		if err == nil {
			return false
		}
		result.Refused = append(result.Refused, Refusal{VM: vm, Why: err.Error()})
		_ = s.keeper.Freeze(s.now(), vm) // it is known, so this can't fail
		return true
	})
	s.log.say(hclog.Info, "machines let go", "datastore", datastore, "term", term, "running", len(result.Running), "refused", len(result.Refused))
	s.turn()
	return answer{LetGo: &result}
}
