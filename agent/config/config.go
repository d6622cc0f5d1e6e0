package config

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"

	"storebeat/agent/notify"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// MaxHostID is the highest host id: the heartbeat region has one slot for each.
const MaxHostID datastorehb.HostID = 1000

// Config is one whole configuration.
type Config struct {
	Path string // of the file; its folder is where relative paths start

	Self           string // the name of this host, empty when the host name decides
	RunDirectory   string // sockets and what need not outlive a boot
	StateDirectory string // journal and what should
	ControlSocket  string // of the agent, for the command line

	Cluster    Cluster
	Hosts      []Host      // in the order of the file
	Datastores []Datastore // in the order of the file
	Profile    Profile
	Timing     datastorehb.Timing
	Heartbeat  Heartbeat
	Isolation  Isolation
	Hypervisor Hypervisor
	Guard      Guard
	Machines   poweron.Policy // what a machine gets that is protected without wishes of its own
	Log        Log
	Metrics    Metrics
	Notify     []Notify // in the order of the file

	key      Key
	source   [sha256.Size]byte // of the file's content
	places   places
	override func(*Config)
}

// Override has with carry out what the command line says in place of the file: now, and
// whenever Watch reads the file again, so that it compares like with like.
func (c *Config) Override(with func(*Config)) {
	c.override = with
	with(c)
}

// Cluster says which cluster this is.
type Cluster struct {
	Name    string
	UUID    uuid.UUID
	KeyFile string
}

// Host is one member of the cluster.
type Host struct {
	Name       string
	ID         datastorehb.HostID
	Heartbeat  netip.AddrPort // UDP, for network heartbeats
	Management netip.AddrPort // TCP, for requests between agents
}

// Datastore is one directory on a shared file system.
type Datastore struct {
	Name            string
	UUID            uuid.UUID
	Path            string
	Preferred       bool     // ranked before others as a heartbeat datastore
	Excluded        bool     // never a heartbeat datastore
	WriteBarrier    *Barrier // nil leaves it to "storebeat datastore check"
	AcceptNoBarrier bool     // machines may be protected here though nothing stops late writes
}

// Barrier is what stops a lost host's late writes (R12).
type Barrier = datastorehb.WriteBarrier

// Heartbeat says how heartbeat datastores are chosen.
type Heartbeat struct {
	Datastores int // how many each host writes to
	Threshold  int // per cent of the hosts that must reach a datastore for it to be chosen
}

// Isolation says how a host finds out that it is isolated. What it then does
// with a machine stands in the machine's policy.
type Isolation struct {
	Addresses []netip.Addr // pinged; a host that reaches one of them is not isolated
}

// Hypervisor says how machines are run.
type Hypervisor struct {
	Drivers        []string
	LibvirtURI     string // of the libvirtd that driver libvirt talks to
	CgroupRoot     string // cgroup v2 folder below which each machine gets its own
	ParallelStarts int    // how many machines may be starting at a time on this host
	Memory         Memory // what machines may use on this host
}

// Guard says how the guard is reached and what it does besides freezing.
type Guard struct {
	Socket   string
	Watchdog string // a watchdog device to feed, empty for none
	Spawn    bool   // the agent starts the guard itself; false when a service unit does
}

// Log says what is logged and how.
type Log struct {
	Level  string // trace, debug, info, warn or error
	Format string // text or json
}

// Metrics says where Prometheus finds the agent's metrics.
type Metrics struct {
	Address netip.AddrPort // not valid: they are not served
}

// Notify says which events a command is run for.
type Notify = notify.Rule

// Key returns the cluster key that Load read; it is zero after Parse.
func (c *Config) Key() Key { return c.key }

// Host returns the host of that name.
func (c *Config) Host(name string) (Host, bool) {
	for _, h := range c.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// HostByID returns the host with that id.
func (c *Config) HostByID(id datastorehb.HostID) (Host, bool) {
	for _, h := range c.Hosts {
		if h.ID == id {
			return h, true
		}
	}
	return Host{}, false
}

// Datastore returns the datastore of that name.
func (c *Config) Datastore(name string) (Datastore, bool) {
	for _, d := range c.Datastores {
		if d.Name == name {
			return d, true
		}
	}
	return Datastore{}, false
}

// DatastoreByUUID returns the datastore with that identity.
func (c *Config) DatastoreByUUID(id uuid.UUID) (Datastore, bool) {
	for _, d := range c.Datastores {
		if d.UUID == id {
			return d, true
		}
	}
	return Datastore{}, false
}

// FindSelf says which of the hosts this one is. A name given on the command
// line goes before the file's self, and that before the computer's host name,
// with or without its domain.
func (c *Config) FindSelf(given, hostname string) (Host, error) {
	if given == "" {
		given = c.Self
	}
	if given != "" {
		if h, ok := c.Host(given); ok {
			return h, nil
		}
		return Host{}, fmt.Errorf("%s has no host %q, only %s: name one of these, or add a host block for it", c.Path, given, c.hostNames())
	}
	short, _, _ := strings.Cut(hostname, ".")
	for _, name := range []string{hostname, short} {
		if h, ok := c.Host(name); ok {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("%s has no host of this computer's name %q, only %s: set self, give --host, or add a host block", c.Path, hostname, c.hostNames())
}

func (c *Config) hostNames() string {
	names := make([]string, 0, len(c.Hosts))
	for _, h := range c.Hosts {
		names = append(names, fmt.Sprintf("%q", h.Name))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// places remembers where in the file each setting stands.
type places map[string]hcl.Range

// of returns the place of a setting, or else of the block around it, or else of
// the file.
func (p places) of(path string) hcl.Range {
	for {
		if r, ok := p[path]; ok {
			return r
		}
		cut := strings.LastIndexByte(path, '.')
		if cut < 0 {
			return p[""]
		}
		path = path[:cut]
	}
}
