// Package order is what a lab and the program inside its hosts say to each other:
// JSON, a line each, over two virtual serial ports.
package order

// The names of the ports.
const (
	OrderPort   = "storebeat.orders"
	ConsolePort = "storebeat.consoles"
)

// RunDir is where the agent of a host keeps the consoles of its machines.
const RunDir = "/run/storebeat"

// Order has a host do something. What is empty is left alone. The parts are
// carried out in the order in which they stand here.
type Order struct {
	ID     uint64            `json:"id"`
	Wall   int64             `json:"wall,omitempty"` // the time of day, in nanoseconds since 1970
	Seed   []byte            `json:"seed,omitempty"` // stirred into the kernel's random numbers
	Files  map[string]string `json:"files,omitempty"`
	Script string            `json:"script,omitempty"` // for the shell; it must not be waited for
	Mounts []Mount           `json:"mounts,omitempty"`
}

// Mount is an NFS file system.
type Mount struct{ Source, Target, Options string }

// Answer is how an order was carried out.
type Answer struct {
	ID     uint64 `json:"id"`
	Output string `json:"output,omitempty"` // of the script, both kinds
	Code   int    `json:"code,omitempty"`   // with which it ended
	Error  string `json:"error,omitempty"`
}

// Console is what a machine on the host has written to its console.
type Console struct {
	Instance string `json:"instance"` // the directory of one instance, and its file
	Data     []byte `json:"data"`
}
