package procfs

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrHangs means that the kernel has not answered in time: the process is inside
// a system call that keeps its memory locked, such as mmap of a file on storage
// that hangs. Nothing is known of it, least of all that it is not there.
var ErrHangs = errors.New("process hangs in the kernel and can't be looked at")

const (
	// promptly is how long one read may hold up those of other processes.
	promptly = 5 * time.Millisecond
	// patience is how long a read may take before its process counts as hanging.
	// It says nothing about a process, only that nothing is known of it yet, so a
	// computer without a moment to spare may be taken for one whose storage hangs.
	patience = time.Second
)

// Answer is what was read of one process's memory.
type Answer struct {
	Words []string
	Err   error // when set, nothing is known; ErrGone and ErrHangs are two reasons
}

// Environs reads the environments of processes as they were when their programs
// were started. What hangs holds up the rest for a moment only, and this call for
// about a second in all, once: a read that does not return goes on in
// a thread of its own, and whoever asks again for the same process meanwhile is
// told at once that it hangs.
func Environs(processes []Stat) map[int]Answer { return askAll(processes, "environ", environ) }

// Arguments reads the command lines of processes, just like Environs.
func Arguments(processes []Stat) map[int]Answer { return askAll(processes, "cmdline", arguments) }

func askAll(processes []Stat, what string, read func(pid int) ([]string, error)) map[int]Answer {
	out := make(map[int]Answer, len(processes))
	late := map[int]*reading{}
	for _, p := range processes {
		r := ask(question{p.PID, p.Start, what}, read)
		if !r.answered(min(promptly, time.Until(r.until))) {
			late[p.PID] = r
			continue
		}
		out[p.PID] = r.result
	}
	for pid, r := range late {
		if r.answered(time.Until(r.until)) {
			out[pid] = r.result
			continue
		}
		out[pid] = Answer{Err: fmt.Errorf("process %d: %w", pid, ErrHangs)}
	}
	return out
}

// question is what is asked of a process, named beyond the reuse of its id.
type question struct {
	pid   int
	start uint64
	what  string
}

// reading is one question that was asked.
type reading struct {
	until  time.Time // when the process counts as hanging
	done   chan struct{}
	result Answer // once done is closed
}

// readings are the questions without an answer. The threads that hang in them can't
// be got back, so there is one for each question and no more.
var readings = struct {
	mu    sync.Mutex
	under map[question]*reading
}{under: map[question]*reading{}}

// ask begins to read, unless that is under way already.
func ask(q question, read func(pid int) ([]string, error)) *reading {
	readings.mu.Lock()
	defer readings.mu.Unlock()
	if r := readings.under[q]; r != nil {
		return r
	}
	r := &reading{until: time.Now().Add(patience), done: make(chan struct{})}
	readings.under[q] = r
	go func() {
		defer close(r.done)
		r.result.Words, r.result.Err = read(q.pid)
		readings.mu.Lock()
		defer readings.mu.Unlock()
		delete(readings.under, q)
	}()
	return r
}

// answered reports whether the result is there, and waits for it if it must.
func (r *reading) answered(within time.Duration) bool {
	select {
	case <-r.done:
		return true
	default:
	}
	if within <= 0 {
		return false
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-r.done:
		return true
	case <-timer.C:
		return false
	}
}

// environ reads the environment of a process, however long that takes. A zombie
// has none of its own, so its other threads are asked.
func environ(pid int) ([]string, error) {
	env, err := readWords(fmt.Sprintf("/proc/%d/environ", pid))
	if err == nil && len(env) > 0 || err != nil && !errors.Is(err, ErrGone) {
		return env, err
	}
	// Kernels say "nothing there" or "no such process" of a zombie's memory.
	stat, statErr := ReadStat(pid)
	if statErr != nil || stat.State != 'Z' || stat.Threads <= 1 {
		return env, err
	}
	tasks, err := Tasks(pid)
	if err != nil {
		return nil, err
	}
	for _, tid := range tasks {
		env, err := readWords(fmt.Sprintf("/proc/%d/task/%d/environ", pid, tid))
		if err == nil && len(env) > 0 {
			return env, nil
		}
	}
	return nil, nil
}

// arguments reads the command line of a process, however long that takes.
func arguments(pid int) ([]string, error) { return readWords(fmt.Sprintf("/proc/%d/cmdline", pid)) }
