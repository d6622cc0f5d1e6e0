package config

import (
	"path/filepath"
	"slices"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/notify"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Ports used for an address that names none.
const (
	// HeartbeatPort is the UDP port of network heartbeats.
	HeartbeatPort = 7480
	// ManagementPort is the TCP port of requests between agents.
	ManagementPort = 7481
	// MetricsPort is the TCP port of metrics.
	MetricsPort = 7482
)

// Profile names a set of timings.
type Profile = datastorehb.Profile

// The profiles, from the quickest to the calmest.
const (
	// Fast suits storage that never stalls for more than a second.
	Fast = datastorehb.Fast
	// Normal is the default.
	Normal = datastorehb.Normal
	// Relaxed suits slow or busy storage.
	Relaxed = datastorehb.Relaxed
)

// Drivers are the hypervisor drivers that exist.
var Drivers = []string{"process", "qemu", "libvirt"}

// ownDrivers are those that bring all they need but QEMU.
var ownDrivers = []string{"process", "qemu"}

// DefaultPath is where the configuration is looked for.
const DefaultPath = "/etc/storebeat/storebeat.hcl"

// Default returns the values that hold where the file says nothing. It lacks
// what has no default: cluster, hosts and datastores.
func Default() *Config {
	return &Config{
		RunDirectory:   "/run/storebeat",
		StateDirectory: "/var/lib/storebeat",
		Cluster:        Cluster{KeyFile: "cluster.key"},
		Profile:        Normal,
		Timing:         Normal.Timing(),
		Heartbeat:      Heartbeat{Datastores: datastorehb.LeastHeartbeatDatastores, Threshold: 25},
		Hypervisor: Hypervisor{
			Drivers:        slices.Clone(ownDrivers),
			LibvirtURI:     "qemu:///system",
			CgroupRoot:     "",
			ParallelStarts: 4,
			Memory:         Memory{Percent: 90},
		},
		Guard:    Guard{Spawn: true},
		Machines: poweron.DefaultPolicy().Complete(),
		Log:      Log{Level: "info", Format: "text"},
	}
}

// newNotify is a notification with the values that hold where its block says nothing.
func newNotify(name string) Notify {
	return Notify{Name: name, Timeout: 10 * time.Second, Rate: notify.Rate{Count: 10, Per: time.Minute}}
}

// complete fills in what follows from other settings, and makes paths absolute.
func (c *Config) complete() {
	folder := filepath.Dir(c.Path)
	for _, p := range []*string{&c.RunDirectory, &c.StateDirectory, &c.Cluster.KeyFile, &c.Hypervisor.CgroupRoot, &c.ControlSocket, &c.Guard.Socket, &c.Guard.Watchdog} {
		*p = absolute(folder, *p)
	}
	for i := range c.Datastores {
		c.Datastores[i].Path = absolute(folder, c.Datastores[i].Path)
	}
	if c.ControlSocket == "" {
		c.ControlSocket = filepath.Join(c.RunDirectory, "control.sock")
	}
	if c.Guard.Socket == "" {
		c.Guard.Socket = filepath.Join(c.RunDirectory, "guard.sock")
	}
	for i := range c.Notify {
		if n := &c.Notify[i]; len(n.Kinds) == 0 && n.Severity == "" {
			n.Severity = core.Warning
		}
	}
	for i := range c.Hosts {
		if h := &c.Hosts[i]; !h.Management.IsValid() && h.Heartbeat.IsValid() {
			h.Management = netipPort(h.Heartbeat.Addr(), ManagementPort)
		}
	}
}

// absolute leaves the empty path empty: it means "not set".
func absolute(folder, path string) string {
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	return filepath.Clean(path)
}
