package hypervisor

import (
	"context"

	"storebeat/datastorehb"
)

// Receiver is a driver whose hypervisor moves running machines between hosts, by tools of
// its own, and asks before it does (R15).
type Receiver interface {
	Driver
	// MayReceive judges what the hypervisor is about to make for the machine here, in the
	// hypervisor's own form: it must be one that could be protected. It asks nobody.
	MayReceive(spec Spec, offered []byte) error
	// Receive takes into care the process that the hypervisor has made to take in a
	// running machine, stopped. Nothing of the guest executes in it, and the hypervisor waits
	// with it meanwhile: its daemon is not asked. After an error the process is as it was.
	Receive(ctx context.Context, spec Spec, pid int) (Machine, error)
}

// Migrant is a machine that its hypervisor may move to another host.
type Migrant interface {
	Machine
	// Movements is where each of the hypervisor's words is taken from on a process that receives
	// its guest or has handed it over, the newest one at least; and then one that tells how it ended.
	// While the hypervisor does not answer there is none. It is never closed.
	Movements() <-chan Movement
}

// MovementKind says where the guest of a process is.
type MovementKind uint8

const (
	// Settled means that it executes in the process, or stands still there by somebody's will.
	Settled MovementKind = iota + 1
	// Receiving means that it is moved here, and does not execute in the process yet.
	Receiving
	// HandedOver means that it has left the process, which executes it again only if the hypervisor
	// takes that back.
	HandedOver
)

// Movement is what a hypervisor said of a process.
type Movement struct {
	Kind  MovementKind
	Asked datastorehb.Instant // what it said is no older
}
