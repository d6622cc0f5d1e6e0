package nfslab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/config"
	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
	"storebeat/test/lab"
	"storebeat/test/nfslab/order"
)

// Options say what lab to build.
type Options struct {
	Binary   string        // the program under test, linked statically
	Hosts    int           // 3 when 0
	Profile  string        // relaxed when "": the hosts are slow
	Lease    time.Duration // of the server's locks, whole seconds; 10 s when 0
	Mount    string        // options of the mounts; "" for the defaults
	Version3 bool          // the server speaks NFS 3, too; it can't be stopped and continued then
	Settings string        // further blocks for the configuration
}

// Lab is a set of hosts, their server and their network.
type Lab struct {
	Dir        string
	Hosts      []*Host
	Datastores []lab.Datastore
	Server     *Server
	Watch      *lab.Watch

	options       Options
	space         *space
	lock          *os.File
	configuration string
	key           string
}

const (
	prefix   = "storebeat-nfs-" // of every lab's directory
	lockFile = "lock"
)

func (l *Lab) file(name string) string { return filepath.Join(l.Dir, name) }

// Build makes a lab whose server runs and whose hosts are off, and removes what
// dead labs have left.
func Build(ctx context.Context, o Options) (*Lab, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	o.Hosts, o.Profile, o.Lease = cmp.Or(o.Hosts, 3), cmp.Or(o.Profile, "relaxed"), cmp.Or(o.Lease, 10*time.Second)
	l := &Lab{options: o}
	err := l.open()
	if err == nil {
		err = l.furnish(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a lab with NFS: %w", err), l.End())
	}
	return l, nil
}

// open makes the lab's directory and network.
func (l *Lab) open() (err error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if lock, err := lockDir(dir); err == nil { // its holder is dead
			err = errors.Join(os.RemoveAll(dir), lock.Close())
			if err != nil {
				return err
			}
		}
	}
	if l.Dir, err = os.MkdirTemp("", prefix); err != nil {
		return err
	}
	if l.lock, err = lockDir(l.Dir); err != nil {
		return err
	}
	if l.space, err = newSpace(); err != nil {
		return err
	}
	commands := []string{"link set lo up", "link add br0 type bridge", "addr add " + ServerAddress + "/24 dev br0", "addr add " + ServerAddress6 + "/64 dev br0 nodad", "link set br0 up"}
	for id := range l.options.Hosts + 1 { // one is for the computer of the snapshot
		tap := fmt.Sprintf("tap%d", id)
		commands = append(commands, "tuntap add dev "+tap+" mode tap", "link set "+tap+" master br0", "link set "+tap+" up")
	}
	return l.space.ip(commands...)
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// furnish makes everything in the lab.
func (l *Lab) furnish(ctx context.Context) (err error) {
	if err := makeImages(l.Dir, l.options.Binary); err != nil {
		return err
	}
	if l.Datastores, err = makeDatastores(l.Dir, "ds1", "ds2"); err != nil {
		return err
	}
	var places []lab.Place
	for id := range l.options.Hosts {
		h, err := newHost(l, datastorehb.HostID(id+1))
		if err != nil {
			return err
		}
		l.Hosts = append(l.Hosts, h)
		places = append(places, lab.Place{Host: h.Name, Dir: h.consoles()})
	}
	if err := l.configure(); err != nil {
		return err
	}
	if l.Server, err = newServer(l, l.options.Lease, l.options.Version3); err != nil {
		return err
	}
	l.Watch = lab.NewWatch(places)
	return errors.Join(l.Server.Start(), l.snapshot(ctx))
}

// configure makes the datastores and the configuration of every host.
func (l *Lab) configure() error {
	cluster := uuid.New()
	text := fmt.Sprintf("cluster {\n  name = \"lab\"\n  uuid = %q\n}\ntiming {\n  profile = %q\n}\nhypervisor {\n  memory = \"1 GiB\"\n}\nisolation {\n  addresses = [%q]\n}\n",
		cluster, l.options.Profile, ServerAddress)
	for _, h := range l.Hosts {
		text += fmt.Sprintf("host %q {\n  id = %d\n  heartbeat = %q\n}\n", h.Name, h.ID, h.Address)
	}
	for i, d := range l.Datastores {
		made, err := store.Init(d.Dir, cluster, d.Name, 64)
		if err != nil {
			return err
		}
		l.Datastores[i].ID = made.Datastore
		text += fmt.Sprintf("datastore %q {\n  path = %q\n  uuid = %q\n}\n", d.Name, "/mnt/"+d.Name, made.Datastore)
	}
	l.configuration = text + l.options.Settings
	key := l.file("cluster.key")
	if err := config.WriteKey(key, config.NewKey()); err != nil {
		return err
	}
	written, err := os.ReadFile(key)
	l.key = string(written)
	return err
}

// snapshot boots one computer as far as all hosts have in common, and saves it.
func (l *Lab) snapshot(ctx context.Context) error {
	dir := l.file("first")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	c, err := l.start(ctx, dir, "tap0", "", func(order.Console) {})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The program is read once, so that every host has it in memory.
	if _, err := c.order(ctx, order.Order{Script: "storebeat version; ls -lR /qemu >/dev/null"}); err != nil {
		text, _ := os.ReadFile(c.console())
		return errors.Join(fmt.Errorf("boot the computer of the snapshot: %w: %s", err, text), c.kill())
	}
	return c.save(ctx, l.file("snapshot"))
}

// Start switches every host on.
func (l *Lab) Start(ctx context.Context) error {
	errs := make(chan error)
	for _, h := range l.Hosts {
		go func() { errs <- h.PowerOn(ctx) }()
	}
	var err error
	for range l.Hosts {
		err = errors.Join(err, <-errs)
	}
	return err
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

// Heal mends every cable, and lets a server that stands still go on.
func (l *Lab) Heal() error {
	err := l.Server.Continue()
	for _, h := range l.Hosts {
		err = errors.Join(err, h.LinkUp())
	}
	return err
}

// Settled reports whether one master sees every host that is on live, each holds
// its terms, and so many machines run; if not, what is amiss.
func (l *Lab) Settled(ctx context.Context, machines int) (bool, string) {
	masters := 0
	for _, h := range l.On() {
		v, err := h.View(ctx)
		if err != nil {
			return false, err.Error()
		}
		if why := l.amiss(v, machines); why != "" {
			return false, h.Name + ": " + why
		}
		if v.Leading {
			masters++
		}
	}
	return masters == 1, fmt.Sprintf("there are %d masters", masters)
}

// amiss says what a host sees that is not as it should be.
func (l *Lab) amiss(v core.View, machines int) string {
	for _, d := range v.Datastores {
		if d.Phase != "held" {
			return fmt.Sprintf("the term on %s is %s", d.Name, d.Phase)
		}
	}
	if v.Master == 0 {
		return "there is no master"
	}
	if !v.Leading {
		return ""
	}
	for _, s := range v.Hosts {
		if l.Hosts[s.ID-1].IsOn() && s.State != "live" {
			return fmt.Sprintf("%s is %s", s.Name, s.State)
		}
	}
	running := 0
	for _, m := range v.Machines {
		if m.State == "running" {
			running++
		}
	}
	if running != machines {
		return fmt.Sprintf("%d of %d machines run", running, machines)
	}
	return ""
}

// End switches everything off and removes it. It goes on after errors and returns
// them all.
func (l *Lab) End() error {
	var errs []error
	for _, h := range l.Hosts {
		errs = append(errs, h.PowerOff())
	}
	if l.Watch != nil {
		l.Watch.End()
	}
	if l.Server != nil {
		errs = append(errs, l.Server.Kill())
	}
	if l.space != nil {
		l.space.close()
	}
	if l.Dir != "" {
		errs = append(errs, os.RemoveAll(l.Dir))
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
