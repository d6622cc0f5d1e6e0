package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"

	"storebeat/datastorehb"
)

// Validate judges a configuration as a whole and lists everything that is wrong
// with it. Load and Parse have done it already; it is for configurations that
// were put together or changed by a program.
func Validate(c *Config) hcl.Diagnostics {
	diags := validate(c, nil)
	inOrder(diags)
	return diags
}

// judge collects what is wrong. Settings that could not even be read are passed
// over, since their values are not those of the file.
type judge struct {
	c      *Config
	failed map[string]bool
	diags  hcl.Diagnostics
}

func validate(c *Config, failed map[string]bool) hcl.Diagnostics {
	j := &judge{c: c, failed: failed}
	j.cluster()
	j.hosts()
	j.datastores()
	j.timing()
	j.numbers()
	j.isolation()
	j.drivers()
	j.sockets()
	j.notify()
	return j.diags
}

func (j *judge) errorf(path, summary, format string, args ...any) {
	if !j.failed[path] {
		j.diags = append(j.diags, problem(j.c.places.of(path), summary, fmt.Sprintf(format, args...)))
	}
}

func (j *judge) warnf(path, summary, format string, args ...any) {
	if !j.failed[path] {
		j.diags = append(j.diags, warning(j.c.places.of(path), summary, fmt.Sprintf(format, args...)))
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (j *judge) name(path, what, name string) {
	if !nameForm.MatchString(name) {
		j.errorf(path, "Invalid name", "%s %q: write 1 to 63 letters, digits, dots, dashes or underscores, with a letter or digit first.", what, shorten(name))
	}
}

func (j *judge) cluster() {
	switch {
	case j.c.Cluster.Name == "":
		j.errorf("cluster.name", "Missing cluster name", "Write name = \"…\" into the cluster block; \"storebeat init\" writes a whole file.")
	default:
		j.name("cluster.name", "Cluster", j.c.Cluster.Name)
	}
	if j.c.Cluster.UUID == uuid.Nil {
		j.errorf("cluster.uuid", "Missing cluster UUID", "Write uuid = \"…\" into the cluster block, the same on every host; \"uuidgen\" makes one.")
	}
	if j.c.Cluster.KeyFile == "" {
		j.errorf("cluster.key_file", "Missing key file", "key_file is empty; name the file that \"storebeat init\" wrote.")
	}
}

// unique reports values that occur twice. It remembers where each was first.
type unique[K comparable] map[K]string

func (u unique[K]) add(j *judge, key K, path, what, remedy string) {
	if first, ok := u[key]; ok {
		j.errorf(path, "Duplicate "+what, "%s %v stands at %s already; %s.", capital(what), key, line(j.c.places.of(first)), remedy)
		return
	}
	u[key] = path
}

func capital(s string) string { return string(s[0]-'a'+'A') + s[1:] }

func (j *judge) hosts() {
	if len(j.c.Hosts) == 0 {
		j.errorf("", "No hosts", "Add a host \"NAME\" block for each host of the cluster.")
	}
	if most := int(MaxHostID); len(j.c.Hosts) > most {
		j.errorf(hostPath(most), "Too many hosts", "The file has %d hosts; a cluster has at most %d.", len(j.c.Hosts), most)
	}
	names, ids := unique[string]{}, unique[string]{}
	heartbeat, management := unique[string]{}, unique[string]{}
	for i, h := range j.c.Hosts {
		path := hostPath(i)
		j.name(path, "Host", h.Name)
		names.add(j, h.Name, path, "host name", "give each host its own")
		j.hostID(h, path, ids)
		if !h.Heartbeat.IsValid() {
			j.errorf(path+".heartbeat", "Missing address", "Host %q has no heartbeat address; write heartbeat = \"192.0.2.1\" with its own.", h.Name)
			continue
		}
		heartbeat.add(j, h.Heartbeat.String(), path+".heartbeat", "heartbeat address", "give each host its own")
		management.add(j, h.Management.String(), path+".management", "management address", "give each host its own")
	}
	if _, ok := j.c.Host(j.c.Self); j.c.Self != "" && !ok {
		j.errorf("self", "Unknown host", "self = %q names no host block; there are %s. Leave self out to go by the computer's host name.", shorten(j.c.Self), j.c.hostNames())
	}
}

func (j *judge) hostID(h Host, path string, ids unique[string]) {
	switch {
	case j.failed[path+".id"]:
	case h.ID == 0 || h.ID > MaxHostID:
		j.errorf(path+".id", "Missing host id", "Host %q needs an id from 1 to %d that no other host has and that it keeps for ever: it is its slot on every datastore.", h.Name, MaxHostID)
	default:
		ids.add(j, fmt.Sprint(h.ID), path+".id", "host id", "give each host its own, or they overwrite each other's slots")
	}
}

func (j *judge) datastores() {
	if len(j.c.Datastores) == 0 {
		j.errorf("", "No datastores", "Add a datastore \"NAME\" block for each shared directory.")
	}
	names, ids, paths := unique[string]{}, unique[uuid.UUID]{}, unique[string]{}
	for i, d := range j.c.Datastores {
		path := datastorePath(i)
		j.name(path, "Datastore", d.Name)
		names.add(j, d.Name, path, "datastore name", "give each datastore its own")
		switch {
		case j.failed[path+".uuid"]:
		case d.UUID == uuid.Nil:
			j.errorf(path+".uuid", "Missing datastore UUID", "Datastore %q has no UUID; write the one it was initialised with, or a new one from \"uuidgen\" and then run \"storebeat datastore init %s\".", d.Name, d.Name)
		default:
			ids.add(j, d.UUID, path+".uuid", "datastore UUID", "each datastore has its own")
		}
		switch {
		case j.failed[path+".path"]:
		case d.Path == "":
			j.errorf(path+".path", "Missing path", "Datastore %q has no path; write path = \"/…\" with the directory where it is mounted.", d.Name)
		default:
			paths.add(j, filepath.Clean(d.Path), path+".path", "path", "two names for one datastore would count as two proofs; remove one of the blocks")
		}
		j.barrier(d, path)
	}
}

func (j *judge) barrier(d Datastore, path string) {
	if d.Preferred && d.Excluded {
		j.errorf(path+".excluded", "Contradiction", "Datastore %q is both preferred and excluded; remove one.", d.Name)
	}
	switch b := d.WriteBarrier; {
	case b == nil:
	case *b == datastorehb.BarrierNone && !d.AcceptNoBarrier:
		j.warnf(path+".write_barrier", "No write barrier", "Nothing stops a lost host's late writes on datastore %q, so no machine on it is protected; write accept_no_barrier = true to take the risk.", d.Name)
	case *b != datastorehb.BarrierNone && d.AcceptNoBarrier:
		j.errorf(path+".accept_no_barrier", "Contradiction", "Datastore %q has write barrier %q, so there is no missing one to accept; remove accept_no_barrier, or correct write_barrier.", d.Name, b.String())
	}
}

// timing first bounds each duration, which also keeps the sums below from
// running over, and then asks for R9.
func (j *judge) timing() {
	const longest = time.Hour
	t, good := j.c.Timing, true
	for _, s := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"interval", t.Interval, 50 * time.Millisecond},
		{"lease", t.Lease, 100 * time.Millisecond},
		{"freeze", t.Freeze, 10 * time.Millisecond},
		{"takeover", t.Takeover, 100 * time.Millisecond},
	} {
		path := "timing." + s.name
		if j.failed[path] {
			good = false
		} else if s.value < s.least || s.value > longest {
			good = false
			j.errorf(path, "Out of bounds", "%s = %q; write a duration from %q to %q.", s.name, s.value, s.least, longest)
		}
	}
	if !good || j.failed["timing.profile"] {
		return
	}
	if err := t.Validate(); err != nil {
		j.errorf(j.blamed(), "Unsafe timing", "With profile %q and what is set beside it, %v (docs/safety.md, R9).", string(j.c.Profile), err)
	}
}

// blamed is the setting to point at when the timings do not fit together: the
// first one that the file sets.
func (j *judge) blamed() string {
	for _, name := range []string{"takeover", "lease", "interval", "freeze"} {
		if _, ok := j.c.places["timing."+name]; ok {
			return "timing." + name
		}
	}
	return "timing"
}

func (j *judge) numbers() {
	c := j.c
	for _, n := range []struct {
		path        string
		value       int
		least, most int
	}{
		{"heartbeat.datastores", c.Heartbeat.Datastores, datastorehb.LeastHeartbeatDatastores, datastorehb.MostHeartbeatDatastores},
		{"heartbeat.threshold", c.Heartbeat.Threshold, 0, 100},
		{"hypervisor.parallel_starts", c.Hypervisor.ParallelStarts, 1, 1000},
		{"machine_defaults.priority", c.Machines.Priority, 1, 5},
		{"machine_defaults.attempts", c.Machines.Attempts, 0, 100},
		{"machine_defaults.limit", c.Machines.Limit, 1, 1000},
	} {
		if n.value < n.least || n.value > n.most {
			j.errorf(n.path, "Out of bounds", "%s = %d; write a number from %d to %d.", last(n.path), n.value, n.least, n.most)
		}
	}
	const day = 24 * time.Hour
	for _, d := range []struct {
		path               string
		value, least, most time.Duration
	}{
		{"machine_defaults.window", c.Machines.Window, time.Second, 30 * day},
		{"machine_defaults.stop_time", c.Machines.StopTime, 0, day},
	} {
		if d.value < d.least || d.value > d.most {
			j.errorf(d.path, "Out of bounds", "%s = %q; write a duration from %q to %q.", last(d.path), d.value, d.least, d.most)
		}
	}
}

func last(path string) string { return filepath.Ext(path)[1:] }

// isolation refuses the cluster's own addresses: a host always reaches itself.
func (j *judge) isolation() {
	const most = 16
	if n := len(j.c.Isolation.Addresses); n > most {
		j.errorf("isolation.addresses", "Too many addresses", "%d addresses are listed; %d are the most.", n, most)
		return
	}
	seen := unique[string]{}
	for _, a := range j.c.Isolation.Addresses {
		seen.add(j, a.String(), "isolation.addresses", "isolation address", "name each once")
		for i, h := range j.c.Hosts {
			if h.Heartbeat.Addr() == a {
				j.errorf("isolation.addresses", "Address of a host", "%v is host %q (%s), which answers itself when it is cut off; name a router or a server outside the cluster.", a, h.Name, line(j.c.places.of(hostPath(i))))
			}
		}
	}
}

func (j *judge) drivers() {
	if len(j.c.Hypervisor.Drivers) == 0 {
		j.errorf("hypervisor.drivers", "No drivers", "drivers is empty; name at least one of %s.", texts(&Drivers).String())
	}
	seen := unique[string]{}
	for _, d := range j.c.Hypervisor.Drivers {
		seen.add(j, d, "hypervisor.drivers", "driver", "name each once")
		if !slices.Contains(Drivers, d) {
			j.errorf("hypervisor.drivers", "Unknown driver", "%q is not one of %s.", shorten(d), texts(&Drivers).String())
		}
	}
	if uri := j.c.Hypervisor.LibvirtURI; !strings.HasPrefix(uri, "qemu:///") && !strings.HasPrefix(uri, "qemu+unix:///") {
		j.errorf("hypervisor.libvirt_uri", "Not a local QEMU", "%q is no URI of a libvirtd on this host with QEMU; write \"qemu:///system\", or \"qemu+unix:///system?socket=PATH\".", shorten(uri))
	}
}

// notify does not ask whether a command is there: it may come, as the mount of
// its file system does.
func (j *judge) notify() {
	names := unique[string]{}
	for i, n := range j.c.Notify {
		path := notifyPath(i)
		j.name(path, "Notify", n.Name)
		names.add(j, n.Name, path, "notify name", "give each its own")
		if limit := 10 * time.Minute; n.Timeout < 100*time.Millisecond || n.Timeout > limit {
			j.errorf(path+".timeout", "Out of bounds", "timeout = %q; write a duration from \"100ms\" to %q.", n.Timeout, limit)
		}
		switch {
		case j.failed[path+".command"]:
		case len(n.Command) == 0:
			j.errorf(path+".command", "Missing command", "Notify %q has no command; write command = [\"/path/of/program\", \"argument\"].", n.Name)
		case !filepath.IsAbs(n.Command[0]):
			j.errorf(path+".command", "No absolute path", "%q is looked for nowhere: write the whole path of the program.", shorten(n.Command[0]))
		}
	}
}

// sockets checks what the kernel allows: the path of a unix socket is short.
func (j *judge) sockets() {
	const longest = 107
	for _, s := range []struct{ setting, path string }{
		{"control_socket", j.c.ControlSocket},
		{"guard.socket", j.c.Guard.Socket},
	} {
		if len(s.path) > longest {
			j.errorf(s.setting, "Path too long", "%q has %d bytes; the kernel takes at most %d for a socket: choose a shorter one, or a shorter run_directory.", s.path, len(s.path), longest)
		}
	}
	if j.c.ControlSocket == j.c.Guard.Socket {
		j.errorf("guard.socket", "Duplicate socket", "%q is control_socket, too; give the guard its own.", shorten(j.c.Guard.Socket))
	}
	for _, d := range []struct{ setting, path string }{
		{"run_directory", j.c.RunDirectory},
		{"state_directory", j.c.StateDirectory},
	} {
		if d.path == "" {
			j.errorf(d.setting, "Missing path", "%s is empty; remove the line to get the default, or name a folder.", d.setting)
		}
	}
}
