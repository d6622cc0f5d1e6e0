package freeze

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor/procfs"
)

// State is what a machine's threads are seen to do.
//
//	Running ──freeze issued──▶ Freezing ──all seen stopped──▶ Frozen
//	   ▲                                                        │
//	   └────────────────────────thaw────────────────────────────┘
//	any ──nothing left──▶ Gone
type State uint8

const (
	// Running means that some thread may execute and none was told to stop.
	Running State = iota + 1
	// Freezing means that the freeze has been issued but some thread may execute still.
	Freezing
	// Frozen means that no thread can execute.
	Frozen
	// Gone means that nothing is left of the machine.
	Gone
)

var stateNames = [...]string{Running: "running", Freezing: "freezing", Frozen: "frozen", Gone: "gone"}

// String returns the word used in logs and messages.
func (s State) String() string {
	if s > 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText makes the state readable in messages.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (s *State) UnmarshalText(text []byte) error {
	at := slices.Index(stateNames[:], string(text))
	if at <= 0 {
		return fmt.Errorf("state %.20q is none of running, freezing, frozen, gone", text)
	}
	*s = State(at)
	return nil
}

// State looks at every thread of the machine. On an error nothing is known.
func (h Handle) State() (State, error) {
	state, _, err := look(h, &groups{})
	return state, err
}

// IOPending tells whether some thread waits in the kernel where no signal
// reaches it: I/O of the machine is under way still (R12).
func (h Handle) IOPending() (bool, error) {
	_, blocked, err := look(h, &groups{})
	return blocked, err
}

// Sight is what was seen of one machine.
type Sight struct {
	State State
	Err   error // when set, nothing is known
}

// States looks at several machines with one walk through /proc for all that
// are frozen weakly.
func States(handles []Handle) []Sight {
	shared := &groups{}
	out := make([]Sight, len(handles))
	for i, h := range handles {
		out[i].State, _, out[i].Err = look(h, shared)
	}
	return out
}

// look judges one machine by its processes. They are listed again in the end: a
// process that was born meanwhile has not been judged.
func look(h Handle, before *groups) (state State, blocked bool, err error) {
	pids, err := h.processes(before)
	if err != nil {
		return 0, false, err
	}
	if len(pids) == 0 {
		return Gone, false, nil
	}
	all, err := h.judge(pids)
	if err != nil {
		return 0, false, err
	}
	if all.stopped == all.processes {
		again, err := h.processes(&groups{})
		if err != nil {
			return 0, false, err
		}
		if subset(again, pids) {
			return Frozen, all.blocked, nil
		}
	}
	if all.told {
		return Freezing, all.blocked, nil
	}
	return Running, all.blocked, nil
}

// judge looks at each process. The freezer of the cgroup speaks for what is in
// the cgroup, and for nothing else.
func (h Handle) judge(pids []int) (tally, error) {
	var all tally
	told, done, inside := false, false, []int(nil)
	if !h.Weak() {
		var err error
		told, done = cgroupFrozen(h.Cgroup)
		if inside, err = processesIn(h.Cgroup); err != nil {
			return all, err
		}
	}
	all.told = told
	for _, pid := range pids {
		in := slices.Contains(inside, pid)
		if err := all.add(pid, in && told, in && done); err != nil {
			return all, err
		}
	}
	return all, nil
}

func subset(part, whole []int) bool {
	return !slices.ContainsFunc(part, func(pid int) bool { return !slices.Contains(whole, pid) })
}

// processes lists what can execute of the machine: what is in its cgroup, its
// leading process, and for weak freeze the process group.
func (h Handle) processes(g *groups) ([]int, error) {
	var pids []int
	if !h.Weak() {
		members, err := processesIn(h.Cgroup)
		if err != nil || slices.Contains(members, h.PID) {
			return members, err
		}
		pids = members
	}
	stat, err := procfs.ReadStat(h.PID)
	if err != nil && !errors.Is(err, procfs.ErrGone) {
		return nil, fmt.Errorf("look at process %d: %w", h.PID, err)
	}
	gone := err != nil
	if !gone && stat.Start != h.StartTime {
		return pids, nil
	}
	if !gone && !stat.Dead() {
		pids = append(pids, h.PID)
	}
	if !h.Weak() || !gone && stat.Group != h.PID {
		return pids, nil
	}
	group, err := g.members(h.orphan)
	return append(pids, group...), err
}

// groups is one walk through /proc, made when it is first needed.
type groups struct {
	loaded bool
	stats  []procfs.Stat
}

// members lists the processes that belong. What can't be read might be one of
// them, so it is an error; what has ended meanwhile is not.
func (g *groups) members(belongs func(procfs.Stat) bool) ([]int, error) {
	if err := g.load(); err != nil {
		return nil, err
	}
	var pids []int
	for _, stat := range g.stats {
		if belongs(stat) {
			pids = append(pids, stat.PID)
		}
	}
	return pids, nil
}

func (g *groups) load() error {
	if g.loaded {
		return nil
	}
	pids, err := procfs.Pids()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, pid := range pids {
		stat, err := procfs.ReadStat(pid)
		if errors.Is(err, procfs.ErrGone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list process groups: %w", err)
		}
		// Kernel threads have no group.
		if stat.Group > 0 {
			g.stats = append(g.stats, stat)
		}
	}
	g.loaded = true
	return nil
}

// tally sums up a machine's processes.
type tally struct {
	processes int
	stopped   int  // processes no thread of which can execute
	told      bool // some process is stopped, or has a stop pending
	blocked   bool // some thread is in uninterruptible sleep
}

// add judges one process. told says that the freezer of its cgroup has been
// told to freeze it, frozen that it has done so.
func (t *tally) add(pid int, told, frozen bool) error {
	threads, err := threadsOf(pid)
	if errors.Is(err, procfs.ErrGone) || err == nil && threads.total() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	t.processes++
	t.blocked = t.blocked || threads.blocked > 0
	stopping := threads.stopped > 0 || threads.blocked > 0 && stopPending(pid)
	t.told = t.told || stopping
	if frozen || told && threads.runnable == 0 || stopping && threads.runnable+threads.sleeping == 0 {
		t.stopped++
	}
	return nil
}

// threads counts the threads of a process by what they do.
//
// A thread in interruptible sleep counts as frozen once its cgroup has been told
// to freeze: the kernel has set its trap within that write, and on waking the
// thread falls into it before it reaches its program. That is also what a frozen
// thread looks like in /proc. Under SIGSTOP it does not count, because a stopped
// thread shows as stopped.
type threads struct{ runnable, sleeping, stopped, blocked int }

func (t threads) total() int { return t.runnable + t.sleeping + t.stopped + t.blocked }

// threadsOf reads all threads of a process. One that is born meanwhile counts
// as runnable.
func threadsOf(pid int) (threads, error) {
	var out threads
	tasks, err := procfs.Tasks(pid)
	if err != nil {
		return out, err
	}
	for _, tid := range tasks {
		stat, err := procfs.ReadTaskStat(pid, tid)
		if errors.Is(err, procfs.ErrGone) {
			continue
		}
		if err != nil {
			return out, err
		}
		out.count(stat.State)
	}
	again, err := procfs.Tasks(pid)
	if err == nil && !subset(again, tasks) {
		out.runnable++
	}
	return out, err
}

func (t *threads) count(state byte) {
	switch state {
	case 'Z', 'X', 'x':
	case 'T':
		t.stopped++
	case 'D':
		t.blocked++
	case 'S', 't', 'I':
		t.sleeping++
	default:
		t.runnable++
	}
}

// stopPending tells whether a SIGSTOP waits for a process all of whose threads
// are out of reach: as soon as one comes back it will stop, and the rest with it.
func stopPending(pid int) bool {
	pending, err := pendingSignals(pid)
	return err == nil && pending&(1<<(unix.SIGSTOP-1)) != 0
}
