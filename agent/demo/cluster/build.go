package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

// Options say what to build.
type Options struct {
	Binary     string // the program; it has the commands agent, guard and ticker
	Dir        string // an empty directory for everything
	Hosts      int
	Datastores int
	Profile    string // fast, default or relaxed

	// Mount returns the path at which a host sees a datastore. Without it every
	// host uses the directory itself.
	Mount func(h *Host, d Datastore) (string, error)
	// Directory returns where a datastore lies. Without it, in a directory of its
	// own below Dir.
	Directory func(name string) string
	// Settings are further blocks for every host's configuration.
	Settings string
}

// Cluster is a cluster on this computer.
type Cluster struct {
	Dir        string
	ID         uuid.UUID
	Binary     string
	Hosts      []*Host
	Datastores []Datastore
}

// Datastore is one directory that stands in for a shared one.
type Datastore struct {
	Name string
	Path string
	ID   uuid.UUID
}

// Build makes directories, datastores, key and configurations. It starts nothing.
func Build(o Options) (*Cluster, error) {
	c := &Cluster{Dir: o.Dir, ID: uuid.New(), Binary: o.Binary}
	for i := range o.Datastores {
		d := Datastore{Name: fmt.Sprintf("ds%d", i+1)}
		d.Path = filepath.Join(o.Dir, d.Name)
		if o.Directory != nil {
			d.Path = o.Directory(d.Name)
		}
		if err := os.MkdirAll(d.Path, 0o755); err != nil {
			return nil, err
		}
		id, err := store.Init(d.Path, c.ID, d.Name, 64)
		if err != nil {
			return nil, err
		}
		d.ID = id.Datastore
		c.Datastores = append(c.Datastores, d)
	}
	if err := config.WriteKey(filepath.Join(o.Dir, "cluster.key"), config.NewKey()); err != nil {
		return nil, err
	}
	return c, c.configure(o)
}

// configure writes one configuration for each host.
func (c *Cluster) configure(o Options) error {
	free, err := freeAddresses(o.Hosts)
	if err != nil {
		return err
	}
	common := c.common(o, free)
	for i := range o.Hosts {
		h := &Host{Name: fmt.Sprintf("host%d", i+1), ID: datastorehb.HostID(i + 1), Address: free[i].ip, cluster: c}
		h.Dir = filepath.Join(c.Dir, h.Name)
		h.Config = filepath.Join(h.Dir, "storebeat.hcl")
		if err := os.Mkdir(h.Dir, 0o755); err != nil {
			return err
		}
		stores, err := c.datastoreBlocks(o, h)
		if err != nil {
			return err
		}
		own := fmt.Sprintf("self = %q\nrun_directory = \"run\"\nstate_directory = \"state\"\ncontrol_socket = \"run/agent.sock\"\n", h.Name)
		if err := os.WriteFile(h.Config, []byte(own+common+stores), 0o644); err != nil {
			return err
		}
		h.Client = control.NewClient(filepath.Join(h.Dir, "run", "agent.sock"))
		c.Hosts = append(c.Hosts, h)
	}
	return nil
}

// common is the part of the configuration that all hosts share.
func (c *Cluster) common(o Options, free []addresses) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster {\n  name = \"demo\"\n  uuid = %q\n  key_file = \"../cluster.key\"\n}\n", c.ID)
	fmt.Fprintf(&b, "timing {\n  profile = %q\n}\nhypervisor {\n  memory = \"1 GiB\"\n}\n", o.Profile)
	for i, a := range free {
		fmt.Fprintf(&b, "host \"host%d\" {\n  id = %d\n  heartbeat = %q\n  management = %q\n}\n", i+1, i+1, a.heartbeat, a.management)
	}
	b.WriteString("guard {\n  socket = \"run/guard.sock\"\n}\n" + o.Settings)
	return b.String()
}

func (c *Cluster) datastoreBlocks(o Options, h *Host) (string, error) {
	var b strings.Builder
	for _, d := range c.Datastores {
		path := d.Path
		if o.Mount != nil {
			var err error
			if path, err = o.Mount(h, d); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&b, "datastore %q {\n  path = %q\n  uuid = %q\n  accept_no_barrier = true\n}\n", d.Name, path, d.ID)
	}
	return b.String(), nil
}

// Newcomer makes a directory and addresses for one more host, which has no
// configuration yet: Host.Config is where it is to be. The addresses are one for
// network heartbeats and one for requests.
func (c *Cluster) Newcomer() (h *Host, heartbeat, management string, err error) {
	n := len(c.Hosts) + 1
	free, err := freeAddresses(1)
	if err != nil {
		return nil, "", "", err
	}
	h = &Host{Name: fmt.Sprintf("host%d", n), ID: datastorehb.HostID(n), Address: free[0].ip, cluster: c}
	h.Dir = filepath.Join(c.Dir, h.Name)
	h.Config = filepath.Join(h.Dir, "storebeat.hcl")
	h.Client = control.NewClient(filepath.Join(h.RunDir(), "control.sock"))
	c.Hosts = append(c.Hosts, h)
	return h, free[0].heartbeat, free[0].management, os.Mkdir(h.Dir, 0o755)
}

type addresses struct{ ip, heartbeat, management string }

// networks counts the clusters of this process: each has loopback addresses of
// its own, so that none takes a port that another has found to be free.
var networks atomic.Uint32

// freeAddresses finds an address and two ports for each host, on loopback
// addresses of its own.
func freeAddresses(hosts int) (free []addresses, err error) {
	network := networks.Add(1)
	for i := range hosts {
		ip := fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%250, network%256, i+1)
		u, err := net.ListenPacket("udp", ip+":0")
		if err != nil {
			return nil, fmt.Errorf("find a free port on %s: %w", ip, err)
		}
		defer u.Close()
		t, err := net.Listen("tcp", ip+":0")
		if err != nil {
			return nil, fmt.Errorf("find a free port on %s: %w", ip, err)
		}
		defer t.Close()
		free = append(free, addresses{ip, u.LocalAddr().String(), t.Addr().String()})
	}
	return free, nil
}
