package lab

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/config"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

// Options say what lab to build.
type Options struct {
	Binary     string // the program under test
	Hosts      int    // 1 to 64
	Datastores int    // 1 or more
	Profile    string // fast, default or relaxed; "" is fast
	Settings   string // further blocks for the configuration
	Size       string // of each datastore, such as "8m", for one that can be full; "" for no limit
}

// Validate refuses options that make no lab.
func (o Options) Validate() error {
	if err := isProgram(o.Binary); err != nil {
		return err
	}
	if p := datastorehb.Profile(o.profile()); !slices.Contains(profiles, p) {
		return fmt.Errorf("profile %q: choose one of %v", p, profiles)
	}
	switch {
	case o.Hosts < 1 || o.Hosts > 64:
		return fmt.Errorf("%d hosts: choose 1 to 64", o.Hosts)
	case o.Datastores < 1 || o.Datastores > 16:
		return fmt.Errorf("%d datastores: choose 1 to 16", o.Datastores)
	}
	return nil
}

var profiles = []datastorehb.Profile{datastorehb.Fast, datastorehb.Normal, datastorehb.Relaxed}

func (o Options) profile() string { return cmp.Or(o.Profile, "fast") }

func isProgram(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("program %q: give an absolute path", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("program %s: %w: make build, or name another", path, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("program %s: it is no file that can be executed: name another", path)
	}
	return nil
}

// Lab is a set of hosts with the storage and the network that they share.
type Lab struct {
	Dir        string    // of everything
	Cluster    uuid.UUID // to which the hosts belong
	Hosts      []*Host
	Datastores []Datastore
	Network    *Network
	Watch      *Watch

	binary  string
	lock    *os.File
	spawner chan func()
}

// Datastore is storage that all hosts share.
type Datastore struct {
	Name string
	Dir  string // behind it, where nothing hangs
	ID   uuid.UUID
}

// living are the labs of this program.
var living struct {
	sync.Mutex
	labs map[*Lab]bool
}

// Build makes a lab whose hosts are off, and removes what dead labs have left.
func Build(o Options) (*Lab, error) {
	if err := errors.Join(Available(), o.Validate()); err != nil {
		return nil, err
	}
	dir, lock, err := makeDir()
	if err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	l := &Lab{Dir: dir, Cluster: uuid.New(), Network: newNetwork(), binary: o.Binary, lock: lock, spawner: make(chan func())}
	living.Lock()
	if living.labs == nil {
		living.labs = map[*Lab]bool{}
	}
	living.labs[l] = true
	living.Unlock()
	go l.spawn()
	if err := l.furnish(o); err != nil {
		return nil, errors.Join(fmt.Errorf("make a lab: %w", err), l.End())
	}
	var places []Place
	for _, h := range l.Hosts {
		places = append(places, Place{Host: h.Name, Dir: h.RunDir()})
	}
	l.Watch = NewWatch(places)
	return l, nil
}

func (l *Lab) furnish(o Options) error {
	for i := range o.Datastores {
		d := Datastore{Name: fmt.Sprintf("ds%d", i+1)}
		d.Dir = filepath.Join(l.Dir, d.Name)
		if err := os.MkdirAll(d.Dir, 0o755); err != nil {
			return err
		}
		if o.Size != "" {
			if err := unix.Mount("storebeat-lab", d.Dir, "tmpfs", 0, "size="+o.Size); err != nil {
				return fmt.Errorf("limit %s to %q: %w", d.Name, o.Size, err)
			}
		}
		id, err := store.Init(d.Dir, l.Cluster, d.Name, 64)
		if err != nil {
			return err
		}
		d.ID = id.Datastore
		l.Datastores = append(l.Datastores, d)
	}
	for i := range o.Hosts {
		id := datastorehb.HostID(i + 1)
		l.Hosts = append(l.Hosts, newHost(l, id))
	}
	return l.configure(o.profile(), o.Settings)
}

// configure writes the same configuration and key for every host.
func (l *Lab) configure(profile, settings string) error {
	text, key := l.configuration(profile)+settings, config.NewKey()
	for _, h := range l.Hosts {
		if err := h.install(text, key); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) configuration(profile string) string {
	text := fmt.Sprintf("cluster {\n  name = \"lab\"\n  uuid = %q\n}\ntiming {\n  profile = %q\n}\n", l.Cluster, profile)
	text += fmt.Sprintf("hypervisor {\n  memory = \"1 GiB\"\n}\nisolation {\n  addresses = [%q]\n}\n", gatewayAddress)
	for _, h := range l.Hosts {
		text += fmt.Sprintf("host %q {\n  id = %d\n  heartbeat = %q\n}\n", h.Name, h.ID, h.Address)
	}
	for _, d := range l.Datastores {
		text += fmt.Sprintf("datastore %q {\n  path = %q\n  uuid = %q\n  accept_no_barrier = true\n}\n", d.Name, "/mnt/"+d.Name, d.ID)
	}
	return text
}

// Start switches every host on and starts its agent.
func (l *Lab) Start() error {
	for _, h := range l.Hosts {
		if err := h.PowerOn(); err != nil {
			return err
		}
	}
	return nil
}

// On lists the hosts that are switched on.
func (l *Lab) On() (on []*Host) {
	for _, h := range l.Hosts {
		if h.IsOn() {
			on = append(on, h)
		}
	}
	return on
}

// Host returns the host of that name.
func (l *Lab) Host(name string) (*Host, error) {
	names := make([]string, len(l.Hosts))
	for i, h := range l.Hosts {
		if names[i] = h.Name; h.Name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("host %q: there are %v", name, names)
}

// End switches everything off and removes it. It goes on after errors and returns
// them all. A second call does nothing.
func (l *Lab) End() error {
	living.Lock()
	first := living.labs[l]
	delete(living.labs, l)
	living.Unlock()
	if !first {
		return nil
	}
	var errs []error
	for _, h := range l.Hosts {
		errs = append(errs, h.PowerOff())
	}
	if l.Watch != nil {
		l.Watch.End()
	}
	close(l.spawner)
	errs = append(errs, remove(l.Dir), l.lock.Close())
	return errors.Join(errs...)
}

// spawn runs what makes processes that are to die with this program: the kernel
// takes the thread that made them for their parent.
func (l *Lab) spawn() {
	lockThread()
	for f := range l.spawner {
		f()
	}
}

// endOnSignal ends all labs when the program is told to end.
func endOnSignal() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s := <-told
		signal.Stop(told)
		if err := endAll(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(128 + int(s.(syscall.Signal)))
	}()
}

func endAll() error {
	living.Lock()
	var labs []*Lab
	for l := range living.labs {
		labs = append(labs, l)
	}
	living.Unlock()
	var errs []error
	for _, l := range labs {
		errs = append(errs, l.End())
	}
	return errors.Join(errs...)
}
