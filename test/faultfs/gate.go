package faultfs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// fault is what happens to every request.
type fault struct {
	hang  chan struct{} // closed when requests may go on; nil when they need not wait
	errno syscall.Errno
	delay time.Duration
}

// gate stands in front of a file system and lets requests pass, or not.
type gate struct {
	fuse.RawFileSystem

	mu    sync.Mutex
	fault fault
	hung  int
}

// set replaces the fault. Whatever hangs goes on, and meets the new fault.
func (g *gate) set(f fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault.hang != nil {
		close(g.fault.hang)
	}
	g.fault = f
}

func (g *gate) present() fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

// pass waits as long as requests hang, and returns the error that they get.
func (g *gate) pass() fuse.Status {
	f := g.present()
	for f.hang != nil {
		g.count(1)
		<-f.hang
		g.count(-1)
		f = g.present()
	}
	time.Sleep(f.delay)
	return fuse.Status(f.errno)
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
