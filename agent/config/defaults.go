package config

import (
	"path/filepath"
	"slices"
	"time"

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
type Profile string

// The profiles, from the quickest to the calmest.
const (
	// Fast suits storage that never stalls for more than a second.
	Fast Profile = "fast"
	// Normal is the default.
	Normal Profile = "default"
	// Relaxed suits slow or busy storage.
	Relaxed Profile = "relaxed"
)

// Timing returns the profile's timings. An unknown profile has those of Normal.
func (p Profile) Timing() datastorehb.Timing {
	const freeze = 500 * time.Millisecond
	switch p {
	case Fast:
		return datastorehb.Timing{Interval: 250 * time.Millisecond, Lease: 1500 * time.Millisecond, Freeze: freeze, Takeover: 2200 * time.Millisecond}
	case Relaxed:
		return datastorehb.Timing{Interval: 2 * time.Second, Lease: 10 * time.Second, Freeze: freeze, Takeover: 12 * time.Second}
	}
	return datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: freeze, Takeover: 5 * time.Second}
}

// Drivers are the hypervisor drivers that exist.
var Drivers = []string{"process", "qemu"}

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
			Drivers:        slices.Clone(Drivers),
			CgroupRoot:     "",
			ParallelStarts: 4,
			Memory:         Memory{Percent: 90},
		},
		Guard:    Guard{Spawn: true},
		Machines: poweron.DefaultPolicy(),
		Log:      Log{Level: "info", Format: "text"},
	}
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
