package lab

import (
	"os"
	"syscall"
	"time"

	"storebeat/agent/hypervisor/qemu/bootsector"
)

// diskWatch looks for writes of earlier runs that reach a machine's disk late.
type diskWatch struct {
	marks []bootsector.Mark // as they were when the newest run began
	own   uint32            // the newest run's number on the disk; 0: not known yet
	told  bool
	again time.Time
}

// diskEvery is how often a disk is read. What reached it late stays there to be
// seen, so this says only how soon it is noticed.
const diskEvery = 100 * time.Millisecond

// newRun remembers what earlier runs have written. Whatever of theirs is there
// later and not among it was written late.
func (d *diskWatch) newRun(m *Machine) {
	marks, err := bootsector.ReadMarks(m.Disk())
	if err == nil {
		d.marks, d.own = marks, 0
	}
}

// lookAtDisk compares a machine's disk with what may be there. What looks wrong is
// read again, so that nobody takes half a write for a late one. A guest that has
// counted to two has written the mark of one.
func (w *Watch) lookAtDisk(m *watched) {
	now := time.Now()
	if m.disk.told || len(m.runs) < 2 || m.runs[len(m.runs)-1].Count < 2 || now.Before(m.disk.again) {
		return
	}
	m.disk.again = now.Add(diskEvery)
	if m.disk.late(m.machine) == nil {
		return
	}
	if mark := m.disk.late(m.machine); mark != nil {
		w.fault(m, "count %d of its boot %d reached the disk after boot %d: a late write", mark.Count, mark.Boot, m.disk.own)
		m.disk.told = true
	}
}

// late returns a mark that was written late: it is another one than when the
// newest run began, and yet of an earlier run.
func (d *diskWatch) late(m *Machine) *bootsector.Mark {
	marks, err := bootsector.ReadMarks(m.Disk())
	if err != nil || len(d.marks) != len(marks) {
		return nil // its datastore is away, as some tests want it
	}
	if d.own == 0 {
		d.own = marks[1].Boot
	}
	for i, mark := range marks {
		if mark != d.marks[i] && mark.Boot < d.own {
			return &mark
		}
	}
	return nil
}

func inode(info os.FileInfo) any {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return [2]uint64{s.Dev, s.Ino}
	}
	return nil
}
