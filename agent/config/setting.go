package config

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"storebeat/agent/core"
	"storebeat/poweron"
)

// setting is one name of the file and the field it stands for. The tables below
// are the only place that knows which names there are; decoding, comparing and
// taking over changes all walk them.
type setting struct {
	name string
	live bool // a change can be carried out without restarting the agent
	value
}

// value reads and shows one field of a Config.
type value interface {
	// set takes the value from the file. The error says what is wrong with it
	// and what to write instead.
	set(v cty.Value) error
	// String shows the value as it would stand in the file.
	String() string
	// assign copies the same field of another Config.
	assign(from value)
}

// field is the one implementation of value.
type field[T any] struct {
	p     *T
	parse func(cty.Value) (T, error)
	show  func(T) string
}

func (f field[T]) set(v cty.Value) error {
	parsed, err := f.parse(v)
	if err == nil {
		*f.p = parsed
	}
	return err
}

func (f field[T]) String() string    { return f.show(*f.p) }
func (f field[T]) assign(from value) { *f.p = *from.(field[T]).p }

// fixed is a setting that takes effect when the agent starts.
func fixed(name string, v value) setting { return setting{name, false, v} }

// live is a setting that takes effect at once.
func live(name string, v value) setting { return setting{name, true, v} }

// topLevel are the settings outside all blocks.
func topLevel(c *Config) []setting {
	return []setting{
		fixed("self", text(&c.Self)),
		fixed("run_directory", text(&c.RunDirectory)),
		fixed("state_directory", text(&c.StateDirectory)),
		fixed("control_socket", text(&c.ControlSocket)),
	}
}

// section is a block without a label, of which there is at most one.
type section struct {
	name     string
	settings []setting
}

// sections are all blocks without a label.
func sections(c *Config) []section {
	return []section{
		{"cluster", []setting{
			fixed("name", text(&c.Cluster.Name)),
			fixed("uuid", identity(&c.Cluster.UUID)),
			fixed("key_file", text(&c.Cluster.KeyFile)),
		}},
		{"timing", timingSettings(c)},
		{"heartbeat", []setting{
			live("datastores", number(&c.Heartbeat.Datastores)),
			live("threshold", number(&c.Heartbeat.Threshold)),
		}},
		{"isolation", []setting{
			live("addresses", addresses(&c.Isolation.Addresses)),
			live("response", choice(&c.Machines.Isolation, poweron.Leave, poweron.ShutDown, poweron.PowerOff)),
		}},
		{"hypervisor", []setting{
			fixed("drivers", texts(&c.Hypervisor.Drivers)),
			fixed("libvirt_uri", text(&c.Hypervisor.LibvirtURI)),
			fixed("cgroup_root", text(&c.Hypervisor.CgroupRoot)),
			live("parallel_starts", number(&c.Hypervisor.ParallelStarts)),
			live("memory", memory(&c.Hypervisor.Memory)),
		}},
		{"guard", []setting{
			fixed("socket", text(&c.Guard.Socket)),
			fixed("watchdog", text(&c.Guard.Watchdog)),
			fixed("spawn", truth(&c.Guard.Spawn)),
		}},
		{"machine_defaults", machineSettings(&c.Machines)},
		{"log", []setting{
			live("level", choice(&c.Log.Level, "trace", "debug", "info", "warn", "error")),
			fixed("format", choice(&c.Log.Format, "text", "json")),
		}},
		{"metrics", []setting{
			live("address", listening(&c.Metrics.Address, MetricsPort)),
		}},
	}
}

// timingSettings begins with the profile, so that single values go over it.
func timingSettings(c *Config) []setting {
	profile := choice(&c.Profile, Fast, Normal, Relaxed)
	chosen := profile.parse
	profile.parse = func(v cty.Value) (Profile, error) {
		p, err := chosen(v)
		if err == nil {
			c.Timing = p.Timing()
		}
		return p, err
	}
	return []setting{
		fixed("profile", profile),
		fixed("interval", duration(&c.Timing.Interval)),
		fixed("lease", duration(&c.Timing.Lease)),
		fixed("freeze", duration(&c.Timing.Freeze)),
		fixed("takeover", duration(&c.Timing.Takeover)),
	}
}

func machineSettings(p *poweron.Policy) []setting {
	return []setting{
		live("priority", number(&p.Priority)),
		live("restart", truth(&p.Restart)),
		live("attempts", number(&p.Attempts)),
		live("limit", number(&p.Limit)),
		live("window", duration(&p.Window)),
		live("stop_time", duration(&p.StopTime)),
		live("on_guest_shut_down", choice(&p.OnGuestShutDown, poweron.StayOff, poweron.StartAgain)),
		live("on_host_shutdown", choice(&p.OnHostShutdown, poweron.RestartElsewhere, poweron.WaitForReboot, poweron.LeaveOff)),
		live("reboot_wait", duration(&p.RebootWait)),
		live("pause", choice(&p.Pause, poweron.Automatic, poweron.Freeze, poweron.StopThenFreeze)),
	}
}

func hostSettings(h *Host) []setting {
	return []setting{
		fixed("id", hostID(&h.ID)),
		fixed("heartbeat", addressPort(&h.Heartbeat, HeartbeatPort)),
		fixed("management", addressPort(&h.Management, ManagementPort)),
	}
}

func datastoreSettings(d *Datastore) []setting {
	return []setting{
		fixed("path", text(&d.Path)),
		fixed("uuid", identity(&d.UUID)),
		live("preferred", truth(&d.Preferred)),
		live("excluded", truth(&d.Excluded)),
		live("write_barrier", barrier(&d.WriteBarrier)),
		live("accept_no_barrier", truth(&d.AcceptNoBarrier)),
	}
}

func notifySettings(n *Notify) []setting {
	return []setting{
		live("events", kinds(&n.Kinds)),
		live("severity", choice(&n.Severity, core.Severities...)),
		live("command", texts(&n.Command)),
		live("timeout", duration(&n.Timeout)),
		live("rate", rate(&n.Rate)),
	}
}

// labelled names the blocks that carry a label, of which there are many.
const (
	hostBlock      = "host"
	datastoreBlock = "datastore"
	notifyBlock    = "notify"
)

// hostPath, datastorePath and notifyPath name a block by its place in the file, since two
// blocks may carry the same label by mistake.
func hostPath(i int) string      { return fmt.Sprintf("%s[%d]", hostBlock, i) }
func datastorePath(i int) string { return fmt.Sprintf("%s[%d]", datastoreBlock, i) }
func notifyPath(i int) string    { return fmt.Sprintf("%s[%d]", notifyBlock, i) }
