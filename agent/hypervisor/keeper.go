package hypervisor

import (
	"context"

	"github.com/google/uuid"
)

// Keeper is a driver whose hypervisor has guests of its own, which people define,
// start and end with the hypervisor's own tools.
type Keeper interface {
	Driver
	// Guests lists the names of all guests that are there, running or not.
	Guests(ctx context.Context) ([]string, error)
	// Export says what it takes to protect the guest of that name as a machine
	// whose home is one of the datastores, and whose disks lie on them. former returns what
	// is stored of the machine already: what the hypervisor knows no more, such as whether
	// it started the guest by itself, is carried over from there.
	Export(ctx context.Context, name string, datastores []Place, former func(vm uuid.UUID) Former) (Guest, error)
	// Kept lists the machines that the hypervisor has a definition of.
	Kept(ctx context.Context) ([]Kept, error)
	// Tame keeps the hypervisor from starting a machine by itself.
	Tame(ctx context.Context, vm uuid.UUID) error
	// Untame takes Tame back for a machine that is not protected any more, as far as
	// its definition remembers that there was something to take back.
	Untame(ctx context.Context, vm uuid.UUID, definition []byte) error
	// Forget removes what the hypervisor keeps of a machine that has no process
	// here: its definition, and saved states of a past generation. The caller
	// knows that another host owns the machine. ErrRunning means that a process
	// of it runs here all the same, which nobody has taken over; nothing was removed.
	Forget(ctx context.Context, vm uuid.UUID) error
}

// Adopter is a driver that can take over guests which somebody has started without it,
// by their monitors.
type Adopter interface {
	Driver
	// Read says what it takes to protect the guest behind a monitor as a machine of
	// that name; "" for the name that the guest has.
	Read(ctx context.Context, monitor, name string, datastores []Place) (Guest, error)
	// Offer has the next start of the machine on this host take over the guest behind
	// the monitor, as long as its process lives.
	Offer(ctx context.Context, monitor string, vm uuid.UUID, runDir string) error
}

// Kept is a machine that a hypervisor has a definition of.
type Kept struct {
	VM        uuid.UUID
	Name      string
	Running   bool
	Autostart bool   // the hypervisor starts it with its host
	Digest    string // of what the hypervisor starts it with next: another one means that somebody has changed it
}

// Place is a datastore as a host sees it.
type Place struct {
	Name string
	Path string // where it is mounted
}

// Former is what is stored of a machine.
type Former struct {
	Definition []byte // nil if it is not protected
	Home       string // name of its home datastore; "" if nothing is stored
}

// Guest is what a hypervisor says of one of its guests.
type Guest struct {
	VM         uuid.UUID `json:"vm"`
	Name       string    `json:"name"`
	Running    bool      `json:"running"`
	Memory     uint64    `json:"memory"`     // in bytes
	Datastore  string    `json:"datastore"`  // name of its home, where its first disk lies unless it has one already; "" if no disk is on a datastore
	Definition []byte    `json:"definition"` // for Spec; nil if there are problems
	Digest     string    `json:"-"`          // see Kept
	Problems   []string  `json:"problems"`   // each a reason why it can't be protected, with the remedy
	Warnings   []string  `json:"warnings"`   // what will not be as its user may expect
}
