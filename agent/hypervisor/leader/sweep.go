package leader

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
)

// sweep kills every process of the machine that outlived the leading one, and
// returns once none is left. It has no deadline: as long as a process of the
// machine hangs in the kernel, the machine is not gone.
func (p *Process) sweep() {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		// Best effort: whatever is seen to remain is killed one by one as well.
		_ = p.handle.Kill()
		left, known := p.remains()
		if known && len(left) == 0 {
			return
		}
		for _, h := range left {
			kill(h)
		}
		time.Sleep(pause)
	}
}

// remains lists the machine's processes that still have threads. It is unknown
// when the kernel can't be asked.
func (p *Process) remains() (left []hypervisor.Handle, known bool) {
	found, err := hypervisor.Scan(context.Background(), p.marker.Cluster, p.marker.Host, p.runDir)
	if found == nil && err != nil || mayHold(err, p.marker.VM) {
		return nil, false
	}
	for _, f := range found {
		if f.Marker == p.marker {
			left = append(append(left, f.Handle), f.Others...)
		}
	}
	if len(left) > 0 {
		return left, true
	}
	// The group or cgroup may hold processes that wiped out their marker.
	state, err := p.handle.State()
	return nil, err == nil && state == freeze.Gone
}

func kill(h hypervisor.Handle) {
	fd, err := openPidfd(h)
	if err != nil {
		return
	}
	defer fd.close()
	// What refuses to die is seen again by the next scan.
	_ = fd.signal(unix.SIGKILL)
}

// removeCgroup removes the machine's own, now empty cgroup. The kernel may need
// a moment to see that it is empty.
func removeCgroup(dir string) {
	if dir == "" {
		return
	}
	for range 50 {
		if err := freeze.RemoveCgroup(dir); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
