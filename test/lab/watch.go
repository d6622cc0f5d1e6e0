package lab

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Watch is the independent judge: it reads, all the time and from outside the
// product, what every guest writes to its console on whichever host, and to its
// disk. Each instance of a machine has a console of its own on its host, which no
// storage fault reaches. Two things it takes for proof of a second copy: an older
// instance that writes a single byte to its console or disk after a newer one has
// booted, and a count that does not follow the one before.
type Watch struct {
	places  []Place
	quit    chan struct{}
	stopped chan struct{}

	mu       sync.Mutex
	machines map[uuid.UUID]*watched
	faults   []string
}

// Place is where the consoles of the machines on one host appear: each in a
// directory that is named after the machine and its generation.
type Place struct{ Host, Dir string }

// Run is one run of a guest, by its own words.
type Run struct {
	Host  string
	At    time.Time     // when it was seen to boot
	First time.Time     // when its first count was seen; zero: not yet
	Last  time.Time     // when its newest count was seen
	Count uint64        // the newest
	Gap   time.Duration // the longest time between two counts, since ResetGaps
}

// watched is one machine.
type watched struct {
	machine  *Machine
	consoles map[string]*console // by path and boot of the host
	runs     []*Run
	newest   *console // that booted last
	disk     diskWatch
}

// console is the serial port of one instance.
type console struct {
	host string
	file *os.File
	rest string
	run  *Run
}

const lookEvery = 20 * time.Millisecond

// NewWatch watches the machines that are added to it, until it is ended.
func NewWatch(places []Place) *Watch {
	w := &Watch{places: places, quit: make(chan struct{}), stopped: make(chan struct{}), machines: map[uuid.UUID]*watched{}}
	go func() {
		defer close(w.stopped)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look()
			case <-w.quit:
				return
			}
		}
	}()
	return w
}

// End looks one last time and stops.
func (w *Watch) End() {
	close(w.quit)
	<-w.stopped
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.machines {
		for _, c := range m.consoles {
			c.file.Close()
		}
	}
}

// Add watches a machine from now on.
func (w *Watch) Add(m *Machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines[m.VM] = &watched{machine: m, consoles: map[string]*console{}}
}

// look reads all that is new.
func (w *Watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.places {
		w.discover(p)
	}
	for _, m := range w.machines {
		for _, c := range m.consoles {
			w.read(m, c)
		}
		w.lookAtDisk(m)
	}
}

// discover opens the consoles that have come into being on a host. An open one
// can be read to its end even when its host has removed it.
func (w *Watch) discover(p Place) {
	entries, _ := os.ReadDir(p.Dir) // there is none while the host boots
	for _, e := range entries {
		name := e.Name()
		if len(name) < 38 {
			continue
		}
		vm, err := uuid.Parse(name[:36])
		m := w.machines[vm]
		if err != nil || m == nil {
			continue
		}
		file, err := os.Open(filepath.Join(p.Dir, name, "console.log"))
		if err != nil {
			continue
		}
		key := identity(p.Host, file)
		if m.consoles[key] != nil {
			file.Close()
			continue
		}
		m.consoles[key] = &console{host: p.Host, file: file}
	}
}

// identity tells a file from others of its name, as there are after a boot.
func identity(host string, f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return f.Name()
	}
	return fmt.Sprintf("%s %+v", host, inode(info))
}

// read takes in what is new on one console.
func (w *Watch) read(m *watched, c *console) {
	fresh, err := io.ReadAll(c.file)
	if err != nil {
		w.fault(m, "the console on %s can't be read: %v", c.host, err)
	}
	if len(fresh) == 0 {
		return
	}
	if c.run != nil && m.newest != c {
		w.fault(m, "the instance on %s (run of %d counts) wrote %q after the one on %s had booted: two copies", c.host, c.run.Count, fresh, m.newest.host)
	}
	now := time.Now()
	lines := strings.Split(c.rest+string(fresh), "\n")
	c.rest = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		w.take(m, c, strings.TrimSpace(line), now)
	}
}

// take takes in one line of a console.
func (w *Watch) take(m *watched, c *console, line string, now time.Time) {
	word, isCount := strings.CutPrefix(line, "T ")
	switch {
	case line == "BOOT":
		w.booted(m, c, now)
	case isCount && c.run != nil:
		n, err := strconv.ParseUint(word, 16, 64)
		if err != nil || n != c.run.Count+1 {
			w.fault(m, "on %s %q follows count %d: two copies, or a lost line", c.host, line, c.run.Count)
		}
		c.run.count(n, now)
	default:
		w.fault(m, "its console on %s says %q", c.host, line)
	}
}

// booted begins a run. What the others have written so far was before it.
func (w *Watch) booted(m *watched, c *console, now time.Time) {
	for _, other := range m.consoles {
		if other != c {
			w.read(m, other)
		}
	}
	c.run = &Run{Host: c.host, At: now, Last: now}
	m.runs, m.newest = append(m.runs, c.run), c
	m.disk.newRun(m.machine)
}

func (r *Run) count(n uint64, now time.Time) {
	if r.First.IsZero() {
		r.First = now
	} else {
		r.Gap = max(r.Gap, now.Sub(r.Last))
	}
	r.Count, r.Last = n, now
}

func (w *Watch) fault(m *watched, format string, args ...any) {
	w.faults = append(w.faults, time.Now().Format("15:04:05.000 ")+m.machine.Name+": "+fmt.Sprintf(format, args...))
}

// Faults returns all that is wrong with the guests so far: nothing, as it should be.
func (w *Watch) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

// Runs returns the runs of a machine, oldest first.
func (w *Watch) Runs(m *Machine) (runs []Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.machines[m.VM].runs {
		runs = append(runs, *r)
	}
	return runs
}

// Newest returns a machine's newest run, and how many there were.
func (w *Watch) Newest(m *Machine) (newest Run, runs int) {
	all := w.Runs(m)
	if len(all) > 0 {
		newest = all[len(all)-1]
	}
	return newest, len(all)
}

// Silence returns for how long nothing was heard of a machine.
func (w *Watch) Silence(m *Machine) time.Duration {
	newest, _ := w.Newest(m)
	return time.Since(newest.Last)
}

// ResetGaps begins to measure the longest time between two counts anew.
func (w *Watch) ResetGaps() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.machines {
		for _, r := range m.runs {
			r.Gap = 0
		}
	}
}

// Machines lists what is watched, by name.
func (w *Watch) Machines() []*Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*Machine
	for _, m := range slices.Collect(maps.Values(w.machines)) {
		all = append(all, m.machine)
	}
	slices.SortFunc(all, func(a, b *Machine) int { return strings.Compare(a.Name, b.Name) })
	return all
}
