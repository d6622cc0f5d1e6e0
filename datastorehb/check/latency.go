package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// alignedSlot returns a buffer of one slot, aligned to a page as O_DIRECT asks
// for, and a function that gives it back.
func alignedSlot() ([]byte, func(), error) {
	buf, err := unix.Mmap(-1, 0, datastorehb.SlotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("taking memory for a slot: %w", os.NewSyscallError("mmap", err))
	}
	return buf, func() { _ = unix.Munmap(buf) }, nil
}

// checkDirect writes and reads one slot past the page cache.
func checkDirect(p *probe) []Finding {
	const name = "direct I/O"
	const remedy = "heartbeats are then read and written through the page cache, which on a file system shared by hosts may be out of date: use NFS 4.1 or later or a cluster file system"
	err := directRoundTrip(filepath.Join(p.scratch, "direct"))
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP):
		return one(name, Warning, fmt.Sprintf("not supported: %v", err), remedy)
	case err != nil:
		return p.broken(name, err, remedy)
	}
	return one(name, OK, fmt.Sprintf("a slot of %d bytes came back as written", datastorehb.SlotSize), "")
}

func directRoundTrip(path string) error {
	buf, release, err := alignedSlot()
	if err != nil {
		return err
	}
	defer release()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range buf {
		buf[i] = byte(i % 251)
	}
	want := bytes.Clone(buf)
	if _, err := f.WriteAt(buf, 0); err != nil {
		return err
	}
	clear(buf)
	switch _, err := f.ReadAt(buf, 0); {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("reading %s: less is there than was written, and acknowledged", path)
	case err != nil:
		return err
	}
	if !bytes.Equal(want, buf) {
		return fmt.Errorf("reading %s: other bytes than were written", path)
	}
	return nil
}

func checkLatency(p *probe) []Finding {
	const name = "write latency"
	l, err := measureLatency(p, "slot")
	if err != nil {
		return p.broken(name, err, "see whether the disk behind the mount is healthy")
	}
	p.latency = &l
	return judgeLatency(l, p.opts.Timing)
}

// measureLatency times heartbeat-like writes until there are enough or the time
// for them is used up.
func measureLatency(p *probe, file string) (Latency, error) {
	buf, release, err := alignedSlot()
	if err != nil {
		return Latency{}, err
	}
	defer release()
	f, direct, err := openDurable(filepath.Join(p.scratch, file))
	if err != nil {
		return Latency{}, err
	}
	defer f.Close()
	var took []time.Duration
	for began := time.Now(); len(took) < p.opts.Writes && time.Since(began) < p.opts.Budget; {
		if err := p.ctx.Err(); err != nil {
			return Latency{}, err
		}
		buf[0]++
		issued := time.Now()
		if _, err := f.WriteAt(buf, 0); err != nil {
			return Latency{}, err
		}
		took = append(took, time.Since(issued))
	}
	l := summarise(took)
	l.Direct = direct
	return l, nil
}

// openDurable opens a file of one slot such that a write is durable when it
// returns, past the page cache if the file system does that.
func openDurable(path string) (f *os.File, direct bool, err error) {
	if err := writeDurably(path, make([]byte, datastorehb.SlotSize)); err != nil {
		return nil, false, err
	}
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_DSYNC|unix.O_DIRECT, 0)
	if err == nil {
		return f, true, nil
	}
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_DSYNC, 0)
	return f, false, err
}

// summarise sorts the durations in place.
func summarise(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	return Latency{
		Writes: len(took), Min: took[0], Median: percentile(took, 50), P99: percentile(took, 99), Max: took[len(took)-1],
	}
}

// percentile returns the least duration that so many per cent don't exceed.
func percentile(sorted []time.Duration, percent float64) time.Duration {
	i := int(math.Ceil(float64(len(sorted))*percent/100)) - 1
	return sorted[max(0, i)]
}

// judgeLatency holds the latency against the profile: a write that takes half a
// lease leaves no room for a second one before machines are frozen, and one that
// takes half an interval makes heartbeats late.
func judgeLatency(l Latency, t datastorehb.Timing) []Finding {
	const name = "write latency"
	what := fmt.Sprintf("min %v, median %v, p99 %v, max %v over %d synchronous writes of one slot", round(l.Min), round(l.Median), round(l.P99), round(l.Max), l.Writes)
	if !l.Direct {
		what += ", through the page cache"
	}
	const remedy = "choose a calmer profile, or take load off the storage"
	switch {
	case l.P99 >= t.Lease/2:
		return one(name, Unsafe, fmt.Sprintf("%s: with a lease of %v machines would be frozen again and again", what, t.Lease), remedy)
	case l.P99 >= t.Interval/2:
		return one(name, Warning, fmt.Sprintf("%s: too slow for a heartbeat interval of %v", what, t.Interval), remedy)
	}
	return one(name, OK, what, "")
}

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
