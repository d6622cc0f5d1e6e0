package faultfs

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// gate stands in front of a file system and lets requests pass, or not.
type gate struct {
	fuse.RawFileSystem

	mu      sync.Mutex
	faults  []Fault
	changed chan struct{} // closed when other faults are injected
	hung    int
	counts  map[Op]int
	handles map[uint64]*handle
	defects []error // of the file system itself
}

// handle is a file or directory that the mount's users have open.
type handle struct {
	node      uint64
	directory bool
	locked    bool
	revoked   bool // its locks were taken away, and nothing can be done with it any more
}

func newGate(behind fuse.RawFileSystem) *gate {
	return &gate{RawFileSystem: behind, changed: make(chan struct{}), counts: map[Op]int{}, handles: map[uint64]*handle{}}
}

// panicked keeps that the file system itself failed. Whoever asked gets an error, but
// that is no fault that was injected.
func (g *gate) panicked(with any) fuse.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.defects = append(g.defects, fmt.Errorf("the file system of the test failed: %v\n%s", with, debug.Stack()))
	return fuse.EIO
}

func (g *gate) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.defects[:min(len(g.defects), 3)]...) // more would tell no more
}

// set replaces the faults. Whatever waits goes on, and meets the new ones.
func (g *gate) set(faults []Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = faults
	close(g.changed)
	g.changed = make(chan struct{})
}

// present returns the fault that an operation meets now, if any.
func (g *gate) present(op Op) (Fault, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.faults {
		if f.strikes(op) {
			return f, g.changed
		}
	}
	return Fault{}, g.changed
}

// enter lets a request in when it may be carried out, and returns the fault that
// goes on to hold for it.
func (g *gate) enter(op Op) (Fault, fuse.Status) {
	g.mu.Lock()
	g.counts[op]++
	g.mu.Unlock()
	for {
		f, changed := g.present(op)
		switch f.Kind {
		case Hang:
			g.wait(changed)
			continue
		case Error:
			return f, fuse.Status(f.errno())
		case Slow:
			select {
			case <-time.After(f.Delay):
			case <-changed:
				continue
			}
		}
		return f, fuse.OK
	}
}

func (g *gate) wait(changed <-chan struct{}) {
	g.count(1)
	defer g.count(-1)
	<-changed
}

func (g *gate) count(more int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hung += more
}

func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hung
}

func (g *gate) counted() map[Op]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.counts)
}

// do carries a request out, as far as it may be.
func (g *gate) do(op Op, call func() fuse.Status) fuse.Status {
	f, s := g.enter(op)
	if !s.Ok() || f.Kind == Lying {
		return s
	}
	if s = call(); s.Ok() && f.Kind == LostReply {
		return fuse.Status(f.errno())
	}
	return s
}

// doOpen carries out what an open file is asked for.
func (g *gate) doOpen(op Op, fh uint64, call func() fuse.Status) fuse.Status {
	return g.do(op, func() fuse.Status {
		if g.isRevoked(fh) {
			return fuse.Status(syscall.EIO)
		}
		return call()
	})
}

// doEntry carries out what gives the kernel a new node. Of one whose reply is
// lost, the kernel knows nothing.
func (g *gate) doEntry(op Op, out *fuse.EntryOut, call func() fuse.Status) fuse.Status {
	made := false
	s := g.do(op, func() fuse.Status {
		s := call()
		made = s.Ok()
		return s
	})
	if made && !s.Ok() {
		g.RawFileSystem.Forget(out.NodeId, 1)
	}
	return s
}

// opened takes down that somebody has a file open.
func (g *gate) opened(node, fh uint64, directory bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handles[fh] = &handle{node: node, directory: directory}
}

func (g *gate) closed(fh uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.handles, fh)
}

func (g *gate) isRevoked(fh uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.handles[fh]
	return h != nil && h.revoked
}

func (g *gate) locked(fh uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.handles[fh]; h != nil {
		h.locked = true
	}
}

// revoke gives up all locks, and everything that is open of the files that they
// were on.
func (g *gate) revoke() {
	g.mu.Lock()
	lost := map[uint64]bool{}
	for _, h := range g.handles {
		lost[h.node] = lost[h.node] || h.locked
	}
	locks := map[uint64]uint64{} // handle → node
	for fh, h := range g.handles {
		if h.revoked = h.revoked || lost[h.node] && !h.directory; h.locked {
			h.locked, locks[fh] = false, h.node
		}
	}
	g.mu.Unlock()
	for fh, node := range locks {
		g.unlock(node, fh)
	}
}

func (g *gate) unlock(node, fh uint64) {
	for _, flags := range []uint32{0, fuse.FUSE_LK_FLOCK} {
		in := fuse.LkIn{Fh: fh, LkFlags: flags, Lk: fuse.FileLock{End: 1<<63 - 1, Typ: syscall.F_UNLCK}}
		in.NodeId = node
		g.RawFileSystem.SetLk(nil, &in) // there may be no lock of the one or the other kind
	}
}

// release closes what is still open when nobody can use the mount any more.
func (g *gate) release() {
	g.mu.Lock()
	left := g.handles
	g.handles = map[uint64]*handle{}
	g.mu.Unlock()
	for fh, h := range left {
		in := fuse.ReleaseIn{Fh: fh}
		in.NodeId = h.node
		if h.directory {
			g.RawFileSystem.ReleaseDir(&in)
		} else {
			g.RawFileSystem.Release(nil, &in)
		}
	}
}
