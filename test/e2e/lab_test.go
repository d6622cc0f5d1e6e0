package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
	"storebeat/test/program"
)

// patience is how long anything may take that has no limit of its own. It says
// nothing about how fast the product is: the demo measures that.
const patience = 2 * time.Minute

// lab is a cluster under test with its machines.
type lab struct {
	*testing.T
	*cluster.Cluster
	ctx      context.Context
	prefix   string // of the machines' names
	machines []*cluster.Machine
}

// newLab builds a cluster that is ended with the test. Where nothing else is
// said it has three hosts, two datastores and the fast profile.
func newLab(t *testing.T, o cluster.Options) *lab {
	t.Helper()
	o = withDefaults(t, o)
	l := &lab{T: t, ctx: t.Context(), prefix: "vm"}
	c, err := cluster.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	l.Cluster = c
	t.Cleanup(l.end)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

func withDefaults(t *testing.T, o cluster.Options) cluster.Options {
	t.Helper()
	if o.Dir == "" {
		o.Dir = shortDir(t)
	}
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	if o.Datastores == 0 {
		o.Datastores = 2
	}
	if o.Profile == "" {
		o.Profile = "fast"
	}
	o.Binary = program.Path
	return o
}

// shortDir makes a directory that goes with the test. Its path is short enough
// for the sockets below it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// end ends the cluster, and shows the logs if the test failed.
func (l *lab) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Cluster.End(ctx); err != nil {
		l.Errorf("end the cluster: %v", err)
	}
	for _, m := range l.machines {
		if err := m.Console.Look(); err != nil {
			l.Error(err)
		}
		if _, faults := m.Console.State(); len(faults) > 0 {
			l.Errorf("the console of %s shows that it did not run once at a time: %v", m.Name, faults)
		}
	}
	if l.Failed() {
		for _, h := range l.Hosts {
			log, _ := os.ReadFile(h.Log())
			l.Logf("log of %s:\n%s", h.Name, log)
		}
	}
}

// await waits for a condition and fails the test if it never holds.
func (l *lab) await(what string, ok func() (done bool, state string)) {
	l.Helper()
	if err := cluster.Await(l.ctx, patience, what, ok); err != nil {
		l.Fatal(err)
	}
}

// awaitSettled waits until one master sees every running host live and every
// machine running.
func (l *lab) awaitSettled() {
	l.Helper()
	l.await("the cluster to be whole", func() (bool, string) {
		for _, h := range l.Up() {
			l.revive(h)
		}
		return l.Settled(l.ctx, len(l.machines))
	})
}

// protect makes so many machines, spread over the datastores, and waits until
// all of them run and have said so themselves.
func (l *lab) protect(machines int, driver string) {
	l.Helper()
	l.awaitMaster()
	for range machines {
		n := len(l.machines)
		l.add(cluster.NewMachine(fmt.Sprintf("%s%d", l.prefix, n+1), l.Datastores[n%len(l.Datastores)], driver))
	}
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)
}

func (l *lab) awaitMaster() {
	l.Helper()
	l.await("the cluster to form", func() (bool, string) { return l.Settled(l.ctx, 0) })
	l.await("every host to use every datastore", func() (bool, string) {
		for _, h := range l.Hosts {
			v, err := h.View(l.ctx, true)
			if err != nil {
				return false, err.Error()
			}
			for _, d := range v.Datastores {
				if d.State != "available" {
					return false, fmt.Sprintf("%s is %s for %s: %s", d.Name, d.State, h.Name, d.Why)
				}
			}
		}
		return true, ""
	})
}

// awaitAnswer waits until a host's agent answers.
func (l *lab) awaitAnswer(h *cluster.Host) {
	l.Helper()
	l.await("the agent of "+h.Name+" to answer", func() (bool, string) {
		l.revive(h)
		_, err := h.View(l.ctx, true)
		return err == nil, fmt.Sprint(err)
	})
}

// revive starts an agent again that has ended because its computer was too busy for it to
// begin in time, as its service unit would. One that ended for another reason stays ended.
func (l *lab) revive(h *cluster.Host) {
	l.Helper()
	select {
	case <-h.Ended():
	default:
		return
	}
	log, err := os.ReadFile(h.Log())
	l.do(err)
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if last := lines[max(0, len(lines)-2):]; strings.Contains(strings.Join(last, "\n"), "context deadline exceeded") {
		l.Logf("the agent of %s ended, and is started again: %q", h.Name, last)
		h.KillAgent()
		l.do(h.Start())
	}
}

// add protects one machine and watches its console from now on.
func (l *lab) add(m *cluster.Machine) {
	l.Helper()
	if err := l.Protect(l.ctx, l.Up()[0], m); err != nil {
		l.Fatal(err)
	}
	l.machines = append(l.machines, m)
	go l.watch(m)
}

// watch reads a machine's console until the test ends.
func (l *lab) watch(m *cluster.Machine) {
	for l.ctx.Err() == nil {
		if err := m.Console.Look(); err != nil {
			l.Errorf("read the console of %s: %v", m.Name, err)
			return
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// awaitTicks waits until each of these guests has counted on by so many.
func (l *lab) awaitTicks(more uint64, machines ...*cluster.Machine) {
	l.Helper()
	type point struct {
		count uint64
		runs  int
	}
	before := map[*cluster.Machine]point{}
	for _, m := range machines {
		newest, runs := m.Console.Newest()
		before[m] = point{newest.Count, runs}
	}
	for _, m := range machines {
		l.await(m.Name+" to count on", func() (bool, string) {
			was := before[m]
			now, runs := m.Console.Newest()
			again := runs > was.runs && now.Count >= more
			return again || runs == was.runs && now.Count >= was.count+more, fmt.Sprintf("it is at %d in run %d", now.Count, runs)
		})
	}
}

// runs returns how often each machine was started, by its own words.
func (l *lab) runs() map[string]int {
	runs := map[string]int{}
	for _, m := range l.machines {
		_, runs[m.Name] = m.Console.Newest()
	}
	return runs
}

// view returns the master's view, waiting for a master where there is none just now.
func (l *lab) view() (v core.View) {
	l.Helper()
	l.await("a master's view", func() (bool, string) {
		state := "no host is up"
		for _, h := range l.Up() {
			var err error
			if v, err = h.View(l.ctx, false); err == nil && v.Leading {
				return true, ""
			}
			state = fmt.Sprintf("%s follows host %d, %v", h.Name, v.Master, err)
		}
		return false, state
	})
	return v
}

// machine returns what the master says of a machine.
func (l *lab) machine(m *cluster.Machine) core.MachineView {
	l.Helper()
	for _, v := range l.view().Machines {
		if v.VM == m.VM {
			return v
		}
	}
	return core.MachineView{State: "not known"}
}

// owner returns the host that runs a machine, once the master knows it.
func (l *lab) owner(m *cluster.Machine) *cluster.Host {
	l.Helper()
	var v core.MachineView
	l.await(m.Name+" to be on a host", func() (bool, string) {
		v = l.machine(m)
		return v.Host != 0, v.State + ": " + v.Why
	})
	return l.host(v.Host)
}

func (l *lab) host(id datastorehb.HostID) *cluster.Host { return l.Hosts[id-1] }

// master waits until all hosts that are up agree who is master, and returns that
// one's host and the others. Who it is may have changed a moment later.
func (l *lab) master() (master *cluster.Host, others []*cluster.Host) {
	l.Helper()
	l.await("every host to have the same master", func() (bool, string) {
		master, others = nil, nil
		masters := map[datastorehb.HostID]bool{}
		for _, h := range l.Up() {
			v, err := h.View(l.ctx, true)
			if err != nil {
				return false, err.Error()
			}
			masters[v.Master] = true
			if v.Leading {
				master = h
			} else {
				others = append(others, h)
			}
		}
		return master != nil && len(masters) == 1, fmt.Sprintf("masters are %v", slices.Collect(maps.Keys(masters)))
	})
	return master, others
}

// subordinate returns a host that runs machines and is not master, the machines on it,
// and all others.
func (l *lab) subordinate() (h *cluster.Host, its, rest []*cluster.Machine) {
	l.Helper()
	l.await("a host to run machines that is not master", func() (bool, string) {
		_, others := l.master()
		for _, h = range others {
			if its = l.shownOn(h); len(its) > 0 {
				return true, ""
			}
		}
		return false, "all machines are on the master"
	})
	for _, m := range l.machines {
		if !slices.Contains(its, m) {
			rest = append(rest, m)
		}
	}
	return h, its, rest
}

// events returns the journal of a host, oldest first.
func (l *lab) events(h *cluster.Host) (events []journal.Entry) {
	l.Helper()
	l.await("the journal of "+h.Name, func() (bool, string) {
		err := h.Client.Call(l.ctx, agent.MethodEvents, journal.Filter{Limit: journal.MaxLimit}, &events)
		return err == nil, fmt.Sprint(err)
	})
	return events
}

// since returns the events of a host after an instant. Their numbers would not do:
// an agent that is killed takes those with it that are not on disk yet.
func (l *lab) since(h *cluster.Host, at time.Time) (events []journal.Entry) {
	l.Helper()
	for _, e := range l.events(h) {
		if e.Wall.After(at) {
			events = append(events, e)
		}
	}
	return events
}

// awaitEvent waits for an event of a kind after an instant, and returns it.
func (l *lab) awaitEvent(h *cluster.Host, since time.Time, kind core.Kind) (found journal.Entry) {
	l.Helper()
	l.await(fmt.Sprintf("the event %s on %s", kind, h.Name), func() (bool, string) {
		kinds := []string{}
		for _, e := range l.since(h, since) {
			kinds = append(kinds, string(e.Kind))
			if e.Kind == kind {
				found = e
				return true, ""
			}
		}
		return false, "there were " + strings.Join(kinds, ", ")
	})
	return found
}

// refuse fails the test if a host recorded an event of one of these kinds.
func (l *lab) refuse(h *cluster.Host, since time.Time, kinds ...core.Kind) {
	l.Helper()
	for _, e := range l.since(h, since) {
		for _, kind := range kinds {
			if e.Kind == kind {
				l.Errorf("%s recorded %s: %s %v", h.Name, kind, e.Text, e.Evidence)
			}
		}
	}
}

// refuseMany fails the test if a host recorded a kind of event more often than that.
func (l *lab) refuseMany(h *cluster.Host, kind core.Kind, most int) {
	l.Helper()
	count := 0
	for _, e := range l.events(h) {
		if e.Kind == kind {
			count++
		}
	}
	if count > most {
		l.Errorf("%s recorded %s %d times; %d are enough", h.Name, kind, count, most)
	}
}

// driver is QEMU where it is there, and plain processes else.
func driver(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); errors.Is(err, exec.ErrNotFound) {
		t.Log("QEMU is not installed: the machines are plain processes")
		return "process"
	}
	return "qemu"
}
