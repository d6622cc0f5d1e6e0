package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrGone means that there is no such process, or thread, any more.
var ErrGone = errors.New("process is gone")

// maxWords bounds what is read of one environment or command line. The kernel's own limit is
// higher, but the marker is put first and nobody needs megabytes.
const maxWords = 1 << 20

// Stat is the part of /proc/PID/stat that the drivers need.
type Stat struct {
	PID     int
	Name    string // of the program, cut off by the kernel after 15 bytes
	State   byte   // R, S, D, T (stopped), t (traced), Z (zombie), X (dead), I (idle)
	Parent  int
	Group   int
	Session int
	Threads int
	Kernel  bool   // a thread of the kernel's own: it has neither memory nor files
	Start   uint64 // in clock ticks since boot
	// CPU is the processor time that all threads have used, with those that are gone.
	CPU time.Duration
	// Resident is the memory that the process holds, in bytes. The kernel counts it
	// roughly, and tells it without looking at that memory.
	Resident uint64
}

// Dead tells whether nothing of the process executes or holds files any more.
// A zombie that still has threads is not dead: one of them may hang in the
// kernel and holds every file and lock of the process.
func (s Stat) Dead() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Pids lists the ids of all processes.
func Pids() ([]int, error) { return numbers("/proc") }

// Tasks lists the thread ids of a process.
func Tasks(pid int) ([]int, error) { return numbers(fmt.Sprintf("/proc/%d/task", pid)) }

// ReadStat reads the state of a process, or rather of its leading thread.
func ReadStat(pid int) (Stat, error) { return readStat(fmt.Sprintf("/proc/%d/stat", pid)) }

// ReadTaskStat reads the state of one thread.
func ReadTaskStat(pid, tid int) (Stat, error) {
	return readStat(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
}

// Cgroup returns the path of a process's cgroup in the cgroup v2 hierarchy, as
// seen from its mount; "" where there is no such hierarchy.
func Cgroup(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", gone(err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", nil
}

// Stopped tells whether every thread of the process is stopped by a signal.
func Stopped(pid int) (bool, error) {
	tasks, err := Tasks(pid)
	if err != nil {
		return false, err
	}
	for _, tid := range tasks {
		stat, err := ReadTaskStat(pid, tid)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return false, err
		}
		if stat.State != 'T' && stat.State != 't' {
			return false, nil
		}
	}
	return len(tasks) > 0, nil
}

func readWords(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxWords))
	if err != nil {
		return nil, gone(err)
	}
	data = bytes.TrimRight(data, "\x00")
	if len(data) == 0 {
		return nil, nil
	}
	return strings.Split(string(data), "\x00"), nil
}

func readStat(path string) (Stat, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Stat{}, gone(err)
	}
	stat, err := parseStat(data)
	if err != nil {
		return Stat{}, fmt.Errorf("%s: %w", path, err)
	}
	return stat, nil
}

// kernelThread is PF_KTHREAD of the kernel's include/linux/sched.h, among the
// flags in field 9.
const kernelThread = 0x00200000

// parseStat reads the fields by their numbers in proc_pid_stat(5). The name, in
// parentheses, may itself hold blanks and parentheses, so counting begins after
// the last one.
func parseStat(data []byte) (Stat, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("no process name in %.80q", data)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:open])))
	if err != nil {
		return Stat{}, fmt.Errorf("process id: %w", err)
	}
	const first = 3 // number of the first field after the name
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) <= 22-first || len(fields[0]) != 1 {
		return Stat{}, fmt.Errorf("%d fields after the name in %.80q", len(fields), data)
	}
	stat := Stat{PID: pid, Name: string(data[open+1 : end]), State: fields[0][0]}
	for _, f := range []struct {
		number int
		into   *int
	}{{4, &stat.Parent}, {5, &stat.Group}, {6, &stat.Session}, {20, &stat.Threads}} {
		if *f.into, err = strconv.Atoi(fields[f.number-first]); err != nil {
			return Stat{}, fmt.Errorf("field %d: %w", f.number, err)
		}
	}
	if err := stat.parseUse(fields, first); err != nil {
		return Stat{}, err
	}
	flags, err := strconv.ParseUint(fields[9-first], 10, 32)
	if err != nil {
		return Stat{}, fmt.Errorf("flags: %w", err)
	}
	stat.Kernel = flags&kernelThread != 0
	if stat.Start, err = strconv.ParseUint(fields[22-first], 10, 64); err != nil {
		return Stat{}, fmt.Errorf("start time: %w", err)
	}
	return stat, nil
}

// tick is the unit of processor time in /proc, USER_HZ, which is the same for all programs.
const tick = 10 * time.Millisecond

// parseUse reads what a process has used: utime, stime and rss.
func (s *Stat) parseUse(fields []string, first int) error {
	if len(fields) <= 24-first {
		return fmt.Errorf("%d fields after the name", len(fields))
	}
	for _, number := range []int{14, 15} {
		ticks, err := strconv.ParseUint(fields[number-first], 10, 48)
		if err != nil {
			return fmt.Errorf("field %d: %w", number, err)
		}
		s.CPU += time.Duration(ticks) * tick
	}
	pages, err := strconv.ParseInt(fields[24-first], 10, 48)
	if err != nil {
		return fmt.Errorf("field 24: %w", err)
	}
	s.Resident = uint64(max(0, pages)) * uint64(os.Getpagesize())
	return nil
}

func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, gone(err)
	}
	var out []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			out = append(out, n)
		}
	}
	return out, nil
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}
