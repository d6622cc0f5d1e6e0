package nfslab

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
	"storebeat/test/lab"
	"storebeat/test/nfslab/order"
)

const (
	network  = "10.99.0" // of every lab: no packet leaves one
	network6 = "fd00:99::"
	device   = "eth0"
)

// Host is one computer of a lab.
type Host struct {
	Name    string
	ID      datastorehb.HostID
	Dir     string // of its files, outside of it
	Address string

	lab       *Lab
	machineID string

	mu       sync.Mutex
	computer *computer // nil while it is off
}

func newHost(l *Lab, id datastorehb.HostID) (*Host, error) {
	h := &Host{Name: fmt.Sprintf("host%d", id), ID: id, Address: fmt.Sprintf("%s.%d", network, id), lab: l,
		machineID: strings.ReplaceAll(uuid.NewString(), "-", "")}
	h.Dir = filepath.Join(l.Dir, h.Name)
	return h, os.MkdirAll(h.consoles(), 0o755)
}

// Address6 is the host's address by IPv6.
func (h *Host) Address6() string { return fmt.Sprintf("%s%d", network6, h.ID) }

func (h *Host) tap() string { return fmt.Sprintf("tap%d", h.ID) }

// consoles holds what machines on the host have written to their consoles.
func (h *Host) consoles() string { return filepath.Join(h.Dir, "consoles") }

// PowerOn switches the host on: it goes on from the snapshot as a computer of its
// own, with a new boot id and nothing on its disk, mounts the datastores as the
// lab's options say, and starts its agent.
func (h *Host) PowerOn(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(h.consoles()), os.MkdirAll(h.consoles(), 0o755)); err != nil {
		return err
	}
	c, err := h.lab.start(ctx, h.Dir, h.tap(), h.lab.file("snapshot"), h.keepConsole)
	if err != nil {
		return fmt.Errorf("switch %s on: %w", h.Name, err)
	}
	h.mu.Lock()
	h.computer = c
	h.mu.Unlock()
	if a, err := c.order(ctx, h.first()); err != nil || a.Code != 0 {
		return fmt.Errorf("set %s up: %w: %s", h.Name, errors.Join(err, fmt.Errorf("status %d", a.Code)), a.Output)
	}
	return h.StartAgent(ctx)
}

// first makes the host itself, out of the copy of another that it is.
func (h *Host) first() order.Order {
	seed := make([]byte, 64)
	_, _ = rand.Read(seed) // it never fails
	o := order.Order{Wall: time.Now().UnixNano(), Seed: seed,
		Files: map[string]string{"/etc/machine-id": h.machineID + "\n", "/etc/hostname": h.Name + "\n", "/run/boot_id": uuid.NewString() + "\n",
			"/etc/storebeat/storebeat.hcl": h.lab.configuration, "/etc/storebeat/cluster.key": h.lab.key}}
	o.Script = fmt.Sprintf(`set -e
hostname %s
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
ip link set %[2]s address 02:5c:00:00:00:%02[3]x
ip addr add %[4]s/24 dev %[2]s
echo 0 >/proc/sys/net/ipv6/conf/%[2]s/accept_dad
ip addr add %[5]s/64 dev %[2]s
ip link set %[2]s up
`, h.Name, device, h.ID, h.Address, h.Address6())
	for _, d := range h.lab.Datastores {
		options := "clientaddr=" + h.Address
		if h.lab.options.Mount != "" {
			options += "," + h.lab.options.Mount
		}
		o.Mounts = append(o.Mounts, order.Mount{Source: ServerAddress + ":/" + d.Name, Target: "/mnt/" + d.Name, Options: options})
	}
	return o
}

// keepConsole adds to what a machine has written to its console.
func (h *Host) keepConsole(c order.Console) {
	dir := filepath.Join(h.consoles(), filepath.Base(c.Instance))
	if os.MkdirAll(dir, 0o755) != nil {
		return // the lab ends
	}
	f, err := os.OpenFile(filepath.Join(dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(c.Data) // what is missing the watch takes for a fault
}

// PowerOff cuts the host's power.
func (h *Host) PowerOff() error {
	h.mu.Lock()
	c := h.computer
	h.computer = nil
	h.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.kill()
}

func (h *Host) on() (*computer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.computer == nil {
		return nil, errors.New(h.Name + " is off")
	}
	return h.computer, nil
}

// IsOn reports whether the host is switched on.
func (h *Host) IsOn() bool {
	_, err := h.on()
	return err == nil
}

// Reset is closed when the host has reset itself. It stays off then.
func (h *Host) Reset() (<-chan struct{}, error) {
	c, err := h.on()
	if err != nil {
		return nil, err
	}
	return c.reset, nil
}

// Run runs a shell script on the host and returns what it says.
func (h *Host) Run(ctx context.Context, script string) (string, error) {
	c, err := h.on()
	if err != nil {
		return "", err
	}
	a, err := c.order(ctx, order.Order{Script: script})
	if err != nil {
		return "", fmt.Errorf("%q on %s: %w", script, h.Name, err)
	}
	if a.Code != 0 {
		return a.Output, fmt.Errorf("%q on %s ends with %d: %s", script, h.Name, a.Code, a.Output)
	}
	return a.Output, nil
}

// Log is the path of the agent's log, on the host.
const Log = "/run/agent.log"

// StartAgent starts the host's agent, as its unit would.
func (h *Host) StartAgent(ctx context.Context) error {
	_, err := h.Run(ctx, "setsid storebeat agent >>"+Log+" 2>&1 </dev/null &")
	return err
}

// LinkDown cuts the host's cable. The host doesn't see it, but loses everything.
func (h *Host) LinkDown() error { return h.lab.space.ip("link set " + h.tap() + " down") }

// LinkUp mends it.
func (h *Host) LinkUp() error { return h.lab.space.ip("link set " + h.tap() + " up") }

// read runs the program on the host and reads the JSON that it prints.
func (h *Host) read(ctx context.Context, command string, result any) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	text, err := h.Run(ctx, command+" -o json 2>/dev/null")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), result); err != nil {
		return fmt.Errorf("%s on %s prints %q: %w", command, h.Name, text, err)
	}
	return nil
}

// View returns the view of the host's own agent.
func (h *Host) View(ctx context.Context) (v core.View, err error) {
	return v, h.read(ctx, "storebeat status --local", &v)
}

// Events returns the journal of the host's own agent, oldest first.
func (h *Host) Events(ctx context.Context) (events []journal.Entry, err error) {
	return events, h.read(ctx, "storebeat events --limit 1000", &events)
}

// Protect puts a machine on the protected list, as a user would.
func (h *Host) Protect(ctx context.Context, m *lab.Machine) error {
	file := fmt.Sprintf(`machine %q {
  driver = "qemu"
  datastore = %q
  uuid = %q
  memory = "1MiB"
  definition = { memory_mib = 1, machine = "pc", accel = "tcg", disks = [{ path = %q, interface = "ide" }] }
  policy { stop_time = %q }
}
`, m.Name, m.Home.Name, m.VM, filepath.Base(m.Disk()), m.Policy.StopTime)
	_, err := h.Run(ctx, "storebeat vm protect - <<'END'\n"+file+"END\n")
	return err
}
