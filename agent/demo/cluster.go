package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

// cluster is a demo cluster on this machine.
type cluster struct {
	dir        string
	id         uuid.UUID
	binary     string
	hosts      []*host
	datastores []datastore
}

// datastore is one directory that stands in for a shared one.
type datastore struct {
	name string
	path string
	id   uuid.UUID
}

// host is one agent with its guard and machines.
type host struct {
	name   string
	id     datastorehb.HostID
	dir    string
	config string
	client *control.Client
	agent  *exec.Cmd // nil while it is down
	ended  chan struct{}
}

// build makes directories, datastores, key and configurations.
func build(o Options, dir string) (*cluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, id: uuid.New(), binary: binary}
	for i := range o.Datastores {
		d := datastore{name: fmt.Sprintf("ds%d", i+1), path: filepath.Join(dir, fmt.Sprintf("ds%d", i+1))}
		if err := os.Mkdir(d.path, 0o755); err != nil {
			return nil, err
		}
		id, err := store.Init(d.path, c.id, d.name, 64)
		if err != nil {
			return nil, err
		}
		d.id = id.Datastore
		c.datastores = append(c.datastores, d)
	}
	if err := config.WriteKey(filepath.Join(dir, "cluster.key"), config.NewKey()); err != nil {
		return nil, err
	}
	return c, c.configure(o)
}

// configure writes one configuration for each host.
func (c *cluster) configure(o Options) error {
	addresses, err := freeAddresses(o.Hosts)
	if err != nil {
		return err
	}
	var common strings.Builder
	fmt.Fprintf(&common, "cluster {\n  name = \"demo\"\n  uuid = %q\n  key_file = \"../cluster.key\"\n}\n", c.id)
	fmt.Fprintf(&common, "timing {\n  profile = %q\n}\nhypervisor {\n  memory = \"1 GiB\"\n}\n", o.Profile)
	for i, a := range addresses {
		fmt.Fprintf(&common, "host \"host%d\" {\n  id = %d\n  heartbeat = %q\n  management = %q\n}\n", i+1, i+1, a.heartbeat, a.management)
	}
	for _, d := range c.datastores {
		fmt.Fprintf(&common, "datastore %q {\n  path = %q\n  uuid = %q\n  accept_no_barrier = true\n}\n", d.name, d.path, d.id)
	}
	for i := range o.Hosts {
		h := &host{name: fmt.Sprintf("host%d", i+1), id: datastorehb.HostID(i + 1)}
		h.dir = filepath.Join(c.dir, h.name)
		h.config = filepath.Join(h.dir, "storebeat.hcl")
		if err := os.Mkdir(h.dir, 0o755); err != nil {
			return err
		}
		own := fmt.Sprintf("self = %q\nrun_directory = \"run\"\nstate_directory = \"state\"\ncontrol_socket = \"run/agent.sock\"\n", h.name)
		if err := os.WriteFile(h.config, []byte(own+common.String()+"guard {\n  socket = \"run/guard.sock\"\n}\n"), 0o644); err != nil {
			return err
		}
		h.client = control.NewClient(filepath.Join(h.dir, "run", "agent.sock"))
		c.hosts = append(c.hosts, h)
	}
	return nil
}

type addresses struct{ heartbeat, management string }

// freeAddresses finds an address and two ports for each host, on loopback
// addresses of its own.
func freeAddresses(hosts int) (free []addresses, err error) {
	for i := range hosts {
		ip := fmt.Sprintf("127.0.0.%d", i+1)
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
		free = append(free, addresses{u.LocalAddr().String(), t.Addr().String()})
	}
	return free, nil
}

// start runs a host's agent, which starts its guard.
func (c *cluster) start(h *host) error {
	log, err := os.OpenFile(filepath.Join(h.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	h.agent = exec.Command(c.binary, "agent", "--config", h.config)
	h.agent.Stdout, h.agent.Stderr = log, log
	h.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.agent.Start(); err != nil {
		return fmt.Errorf("start the agent of %s: %w", h.name, err)
	}
	if err := h.remember(); err != nil {
		return err
	}
	h.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(h.agent, h.ended)
	return nil
}

// agentFile holds the handle of a host's agent, for End.
const agentFile = "agent.json"

func (h *host) remember() error {
	handle, err := freeze.Of(h.agent.Process.Pid, "")
	if err != nil {
		return err
	}
	content, err := json.Marshal(handle)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, agentFile), content, 0o644)
}

// End ends a cluster that a demo has kept in dir, and removes dir.
func End(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	configs, err := filepath.Glob(filepath.Join(dir, "host*", "storebeat.hcl"))
	if err != nil || len(configs) == 0 {
		return fmt.Errorf("%s holds no demo cluster: name the directory that storebeat demo --keep printed", dir)
	}
	c := &cluster{dir: dir}
	for _, path := range configs {
		cfg, diags := config.Load(path)
		if cfg == nil {
			return fmt.Errorf("%s", config.Describe(diags))
		}
		self, err := cfg.FindSelf("", "")
		if err != nil {
			return err
		}
		c.id = cfg.Cluster.UUID
		h := &host{name: self.Name, id: self.ID, dir: filepath.Dir(path), config: path}
		if err := h.endAgent(ctx); err != nil {
			return err
		}
		c.hosts = append(c.hosts, h)
	}
	return errors.Join(c.end(ctx), os.RemoveAll(dir))
}

// endAgent ends the agent that an earlier process started.
func (h *host) endAgent(ctx context.Context) error {
	content, err := os.ReadFile(filepath.Join(h.dir, agentFile))
	if err != nil {
		return err
	}
	var handle freeze.Handle
	if err := json.Unmarshal(content, &handle); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(h.dir, agentFile), err)
	}
	return errors.Join(unlessGone(handle.Kill()), unlessGone(freeze.Wait(ctx, handle)))
}

// processes lists the machine processes of a host.
func (c *cluster) processes(ctx context.Context, h *host) ([]hypervisor.Found, error) {
	return hypervisor.Scan(ctx, c.id, h.id, filepath.Join(h.dir, "run"))
}

// kill ends agent, guard and machines of a host as a power failure would: all at
// once, without a word.
func (c *cluster) kill(ctx context.Context, h *host) (time.Time, error) {
	var victims []freeze.Handle
	g, err := c.guardOf(ctx, h)
	if err != nil {
		return time.Time{}, err
	}
	victims = append(victims, g)
	found, err := c.processes(ctx, h)
	if err != nil {
		return time.Time{}, err
	}
	for _, f := range found {
		victims = append(victims, f.Handle)
		victims = append(victims, f.Others...)
	}
	at := time.Now()
	_ = h.agent.Process.Kill()
	for _, v := range victims {
		if err := unlessGone(v.Kill()); err != nil {
			return at, fmt.Errorf("kill process %d of %s: %w", v.PID, h.name, err)
		}
	}
	<-h.ended
	h.agent = nil
	return at, nil
}

// guardOf returns the guard's process, by its socket: it outlives the agent.
func (c *cluster) guardOf(ctx context.Context, h *host) (freeze.Handle, error) {
	g, err := guard.Dial(ctx, filepath.Join(h.dir, "run", "guard.sock"))
	if err != nil {
		return freeze.Handle{}, err
	}
	defer g.Close()
	return freeze.Of(g.PID(), "")
}

// end stops everything that is still there. It goes on after errors and returns them all.
func (c *cluster) end(ctx context.Context) error {
	var errs []error
	for _, h := range c.hosts {
		if h.agent != nil {
			_ = h.agent.Process.Kill() // it may have ended by itself
			<-h.ended
		}
		if g, err := c.guardOf(ctx, h); err == nil {
			errs = append(errs, unlessGone(g.Kill()))
		}
		found, err := c.processes(ctx, h)
		errs = append(errs, err)
		for _, f := range found {
			errs = append(errs, unlessGone(f.Handle.Kill()), unlessGone(freeze.Wait(ctx, f.Handle)))
		}
	}
	return errors.Join(errs...)
}

// unlessGone is err, unless it says that there is nothing left to end.
func unlessGone(err error) error {
	if errors.Is(err, freeze.ErrGone) {
		return nil
	}
	return err
}

// view returns the view of a host's agent.
func (h *host) view(ctx context.Context, local bool) (v core.View, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = h.client.Call(ctx, agent.MethodView, agent.ViewRequest{Local: local}, &v)
	return v, err
}

// up lists the hosts whose agents run.
func (c *cluster) up() (up []*host) {
	for _, h := range c.hosts {
		if h.agent != nil {
			up = append(up, h)
		}
	}
	return up
}

// await polls until a condition holds, and says what it waited for if it does not.
func await(ctx context.Context, limit time.Duration, what string, ok func() (bool, string)) error {
	deadline := time.Now().Add(limit)
	for {
		done, state := ok()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s: %s", limit, what, state)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// settled reports whether one master sees every running host live and every
// machine running.
func (c *cluster) settled(ctx context.Context, machines int) (bool, string) {
	masters := 0
	for _, h := range c.up() {
		v, err := h.view(ctx, true)
		if err != nil {
			return false, fmt.Sprintf("%s does not answer yet: %v", h.name, err)
		}
		if v.Leading {
			masters++
			if ok, why := c.mastered(v, machines); !ok {
				return false, why
			}
		} else if v.Master == 0 {
			return false, h.name + " has no master yet"
		}
	}
	return masters == 1, fmt.Sprintf("there are %d masters", masters)
}

func (c *cluster) mastered(v core.View, machines int) (bool, string) {
	for _, s := range v.Hosts {
		if s.State != "live" && slices.ContainsFunc(c.up(), func(h *host) bool { return h.id == s.ID }) {
			return false, fmt.Sprintf("%s is %s", s.Name, s.State)
		}
	}
	for _, d := range v.Datastores {
		if d.Phase != "held" {
			return false, fmt.Sprintf("the master's term on %s is %s", d.Name, d.Phase)
		}
	}
	running := 0
	for _, m := range v.Machines {
		if m.State != "running" {
			return false, fmt.Sprintf("%s is %s: %s", m.Name, m.State, m.Why)
		}
		running++
	}
	return running == machines, fmt.Sprintf("%d of %d machines run", running, machines)
}
