package datastorehb

import "fmt"

// WriteBarrier is what stops a lost host's late writes on a datastore (R12). A
// frozen or killed guest may have writes under way in the kernel; the barrier
// keeps them from reaching a disk that has a new owner.
type WriteBarrier uint8

const (
	// BarrierNone means that nothing is known to stop late writes: protection
	// needs the operator's explicit acceptance.
	BarrierNone WriteBarrier = iota
	// BarrierLock means image locks on NFSv4.1 or later: the server refuses the
	// writes of a client whose lock lease has ended.
	BarrierLock
	// BarrierClusterFS means that the cluster file system throws out, or resets,
	// a host that lost touch before it lets others at its files.
	BarrierClusterFS
	// BarrierFence means that a fence agent or a watchdog takes the host down. It
	// can't be found out; it comes from the configuration.
	BarrierFence
)

var barrierNames = [...]string{
	BarrierNone:      "none",
	BarrierLock:      "lock",
	BarrierClusterFS: "cluster-fs",
	BarrierFence:     "fence",
}

// String returns the barrier's name from the glossary.
func (b WriteBarrier) String() string {
	if int(b) < len(barrierNames) {
		return barrierNames[b]
	}
	return fmt.Sprintf("WriteBarrier(%d)", uint8(b))
}

// ParseWriteBarrier returns the barrier of that name.
func ParseWriteBarrier(name string) (WriteBarrier, error) {
	for i, n := range barrierNames {
		if n == name {
			return WriteBarrier(i), nil
		}
	}
	return BarrierNone, fmt.Errorf("write barrier %q is unknown; use one of lock, cluster-fs, fence, none", name)
}

// MarshalText returns the barrier's name.
func (b WriteBarrier) MarshalText() ([]byte, error) {
	if int(b) >= len(barrierNames) {
		return nil, fmt.Errorf("write barrier %d is unknown", uint8(b))
	}
	return []byte(barrierNames[b]), nil
}

// UnmarshalText accepts a barrier's name.
func (b *WriteBarrier) UnmarshalText(text []byte) (err error) {
	*b, err = ParseWriteBarrier(string(text))
	return err
}
