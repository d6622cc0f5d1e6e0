package guard

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// realtimePriority is the lowest: above every ordinary process, below whatever
// the operator has given a real-time priority on purpose.
const realtimePriority = 1

// harden makes it less likely that the guard is held up when the computer is
// short of memory or processors. A guard without these rights is still a guard,
// so a refusal is only logged.
func harden(log *quietLog) {
	oneAtATime()
	steps := []struct {
		what string
		do   func() error
	}{
		{"lock memory", lockMemory},
		{"take real-time priority", takeRealtimePriority},
		{"be spared when memory runs out", spareFromOOM},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			log.say(hclog.Warn, "guard could not "+step.what, "error", err)
		}
	}
}

// oneAtATime lets one thread at a time run Go code, here and in the program that
// takes over. The Go runtime waits for its other threads by spinning, and a thread
// that spins with real-time priority may keep the very thread that it waits for from
// the processor, and everybody else too, for ever.
func oneAtATime() {
	runtime.GOMAXPROCS(1)
	_ = os.Setenv("GOMAXPROCS", "1") // from its first instant on
}

// lockMemory locks pages as they are used, because the runtime maps far more
// than it uses; and brings in and locks all that is mapped from files, the
// program itself above all: its file may be on a disk that hangs.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("list mappings: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		start, length, ok := parseFileMapping(line)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, start, length, 0); errno != 0 {
			return fmt.Errorf("lock mapping %s: %w", strings.TrimSpace(line), errno)
		}
	}
	return nil
}

// parseFileMapping reads a line of /proc/self/maps and tells whether it is of a
// readable mapping of a file.
func parseFileMapping(line string) (start, length uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasPrefix(fields[1], "r") || !strings.HasPrefix(fields[5], "/") {
		return 0, 0, false
	}
	from, to, found := strings.Cut(fields[0], "-")
	first, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if !found || err1 != nil || err2 != nil || end <= first {
		return 0, 0, false
	}
	return uintptr(first), uintptr(end - first), true
}

// takeRealtimePriority sets every thread. Guards of one computer take turns, as do
// their threads. Later threads inherit it from the one
// that starts them. Listed twice, because a thread may be born meanwhile.
func takeRealtimePriority() error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realtimePriority}
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				continue
			}
			if err := unix.SchedSetAttr(tid, attr, 0); err != nil {
				return fmt.Errorf("set scheduling of thread %d: %w", tid, err)
			}
		}
	}
	return nil
}

func spareFromOOM() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}
