package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/test/faultfs"
)

// Fault is something that can be done to a lab in so many words.
type Fault struct {
	Name   string
	Words  string // that follow the name
	Does   string
	strike func(ctx context.Context, l *Lab, words []string) (undo func() error, err error)
}

// Faults are all that can be done to a lab in words.
var Faults = []Fault{
	{"power-off", "HOST", "cut a host's power; its machines end at once", onHost(func(h *Host) (func() error, error) { return h.PowerOn, h.PowerOff() })},
	{"power-on", "HOST", "switch a host on; it boots and starts its agent", onHost(func(h *Host) (func() error, error) { return nil, h.PowerOn() })},
	{"freeze", "HOST", "stop every process of a host; storage and network live on", onHost(func(h *Host) (func() error, error) { return h.Resume, h.Freeze() })},
	{"resume", "HOST", "let a frozen host go on", onHost(func(h *Host) (func() error, error) { return nil, h.Resume() })},
	{"link-down", "HOST", "pull a host's network cable", onHost(func(h *Host) (func() error, error) { return h.LinkUp, h.LinkDown() })},
	{"link-up", "HOST", "put it back", onHost(func(h *Host) (func() error, error) { return nil, h.LinkUp() })},
	{"isolate", "HOST", "lose all that goes to and from a host, the gateway's answers too; its link stays up", onHost(func(h *Host) (func() error, error) {
		h.lab.Network.Isolate(h)
		return h.lab.Network.healed, nil
	})},
	{"cut", "FROM TO", "lose all that goes from one host to another, in that direction", strikeCut},
	{"partition", "HOST,HOST HOST…", "lose all that goes between groups of hosts", strikePartition},
	{"impair", "HOST [loss=0.3] [delay=50ms]", "have a host's cable lose and delay packets, both ways", strikeImpair},
	{"gateway-down", "", "have the gateway answer no pings", func(_ context.Context, l *Lab, _ []string) (func() error, error) {
		l.Network.SilenceGateway()
		return l.Network.healed, nil
	}},
	{"storage", "HOST|all DATASTORE|all KIND [ops=write,fsync] [errno=ENOSPC] [delay=2s] [bytes=512]",
		"disturb hosts' paths to datastores; kinds: hang, error, slow, torn, lying, lost-reply", strikeStorage},
	{"revoke-locks", "HOST|all DATASTORE|all", "have the file server take a host's locks away, as it does when their lease has run out", strikeRevoke},
	{"kill", "HOST agent|guard|hypervisor [MACHINE]", "kill processes of a host", strikeKill},
	{"hang", "HOST agent|guard|hypervisor [MACHINE]", "have processes of a host stand still, as if they hung", signalled(syscall.SIGSTOP)},
	{"unhang", "HOST agent|guard|hypervisor [MACHINE]", "let them go on", signalled(syscall.SIGCONT)},
	{"stop", "HOST agent", "end a host's agent in good order", strikeStop},
	{"start", "HOST agent", "start a host's agent", onProcess(func(h *Host) (func() error, error) { return nil, h.StartAgent() })},
	{"heal", "", "undo what was done to network and storage, and resume frozen hosts", func(_ context.Context, l *Lab, _ []string) (func() error, error) { return nil, l.Heal() }},
}

// Strike does something to the lab that is said in words. What it returns undoes
// it; nil where there is nothing to undo.
func (l *Lab) Strike(ctx context.Context, words ...string) (undo func() error, err error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("no fault is named: choose one of %s", strings.Join(faultNames(), ", "))
	}
	at := slices.IndexFunc(Faults, func(f Fault) bool { return f.Name == words[0] })
	if at < 0 {
		return nil, fmt.Errorf("fault %q: choose one of %s", words[0], strings.Join(faultNames(), ", "))
	}
	f := Faults[at]
	switch least, most := f.words(); {
	case len(words)-1 < least:
		return nil, fmt.Errorf("%s needs more words: %s %s", f.Name, f.Name, f.Words)
	case len(words)-1 > most:
		return nil, fmt.Errorf("%s takes no %q: %s %s", f.Name, words[1+most], f.Name, f.Words)
	}
	if undo, err = f.strike(ctx, l, words[1:]); err != nil {
		return undo, fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return undo, nil
}

// words returns how many words the fault takes.
func (f Fault) words() (least, most int) {
	for w := range strings.FieldsSeq(f.Words) {
		if most++; !strings.HasPrefix(w, "[") {
			least++
		}
	}
	if strings.HasSuffix(f.Words, "…") {
		most = math.MaxInt - 1
	}
	return least, most
}

func faultNames() (names []string) {
	for _, f := range Faults {
		names = append(names, f.Name)
	}
	return names
}

// Heal undoes what was done to network and storage, puts cables back, and resumes
// frozen hosts. Hosts that are off stay off.
func (l *Lab) Heal() error {
	l.Network.Heal()
	for _, h := range l.On() {
		for _, d := range l.Datastores {
			h.Storage(d).Heal()
		}
		if err := h.LinkUp(); err != nil {
			return err
		}
		if err := h.Resume(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) healed() error {
	n.Heal()
	return nil
}

func onHost(do func(h *Host) (func() error, error)) func(context.Context, *Lab, []string) (func() error, error) {
	return func(_ context.Context, l *Lab, words []string) (func() error, error) {
		h, err := l.Host(words[0])
		if err != nil {
			return nil, err
		}
		return do(h)
	}
}

func onProcess(do func(h *Host) (func() error, error)) func(context.Context, *Lab, []string) (func() error, error) {
	return func(ctx context.Context, l *Lab, words []string) (func() error, error) {
		if words[1] != string(Agent) {
			return nil, fmt.Errorf("%q: only an agent can be started or stopped", words[1])
		}
		return onHost(do)(ctx, l, words)
	}
}

func strikeCut(_ context.Context, l *Lab, words []string) (func() error, error) {
	from, err := l.Host(words[0])
	if err != nil {
		return nil, err
	}
	to, err := l.Host(words[1])
	if err != nil {
		return nil, err
	}
	l.Network.Cut(from, to)
	return l.Network.healed, nil
}

func strikePartition(_ context.Context, l *Lab, words []string) (func() error, error) {
	var groups [][]*Host
	for _, word := range words {
		var group []*Host
		for name := range strings.SplitSeq(word, ",") {
			h, err := l.Host(name)
			if err != nil {
				return nil, err
			}
			group = append(group, h)
		}
		groups = append(groups, group)
	}
	l.Network.Partition(groups...)
	return l.Network.healed, nil
}

func strikeImpair(_ context.Context, l *Lab, words []string) (func() error, error) {
	h, err := l.Host(words[0])
	if err != nil {
		return nil, err
	}
	var line Line
	err = settings(words[1:], map[string]func(string) error{
		"loss": func(v string) (err error) {
			if line.Loss, err = strconv.ParseFloat(v, 64); err != nil {
				return errors.New("give a share, 0 to 1, such as 0.3")
			}
			return nil
		},
		"delay": durationTo(&line.Delay),
	})
	if err != nil {
		return nil, err
	}
	return func() error { return l.Network.Impair(h, Line{}) }, l.Network.Impair(h, line)
}

func strikeStorage(_ context.Context, l *Lab, words []string) (func() error, error) {
	mounts, err := l.paths(words[0], words[1])
	if err != nil {
		return nil, err
	}
	f := faultfs.Fault{Kind: faultfs.Kind(words[2])}
	err = settings(words[3:], map[string]func(string) error{
		"ops": func(v string) error {
			for op := range strings.SplitSeq(v, ",") {
				f.Ops = append(f.Ops, faultfs.Op(op))
			}
			return nil
		},
		"errno": func(v string) (err error) { f.Errno, err = errnoOf(v); return err },
		"delay": durationTo(&f.Delay),
		"bytes": func(v string) (err error) {
			if f.Bytes, err = strconv.Atoi(v); err != nil {
				return errors.New("give a whole number of bytes")
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if err := m.Inject(f); err != nil {
			return nil, err
		}
	}
	return func() error {
		for _, m := range mounts {
			m.Heal()
		}
		return nil
	}, nil
}

// paths lists the paths of a host, or all, to a datastore, or all.
func (l *Lab) paths(host, datastore string) (mounts []*faultfs.Mount, err error) {
	hosts, datastores := l.On(), l.Datastores
	if host != "all" {
		h, err := l.Host(host)
		if err != nil {
			return nil, err
		}
		hosts = []*Host{h}
	}
	if datastore != "all" {
		d, err := l.Datastore(datastore)
		if err != nil {
			return nil, err
		}
		datastores = []Datastore{d}
	}
	for _, h := range hosts {
		for _, d := range datastores {
			m := h.Storage(d)
			if m == nil {
				return nil, fmt.Errorf("%s is off", h.Name)
			}
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

func strikeRevoke(_ context.Context, l *Lab, words []string) (func() error, error) {
	mounts, err := l.paths(words[0], words[1])
	for _, m := range mounts {
		m.Revoke()
	}
	return nil, err
}

func strikeKill(ctx context.Context, l *Lab, words []string) (func() error, error) {
	h, p, m, err := l.process(words)
	if err != nil {
		return nil, err
	}
	var undo func() error
	if p == Agent {
		undo = h.StartAgent
	}
	return undo, h.end(ctx, p, m, syscall.SIGKILL)
}

// signalled sends a signal to processes. What it returns has them go on.
func signalled(s syscall.Signal) func(context.Context, *Lab, []string) (func() error, error) {
	return func(_ context.Context, l *Lab, words []string) (func() error, error) {
		h, p, m, err := l.process(words)
		if err != nil {
			return nil, err
		}
		return func() error { return h.Signal(p, m, syscall.SIGCONT) }, h.Signal(p, m, s)
	}
}

// process finds what is meant by a host, a kind of process and, if need be, a machine.
func (l *Lab) process(words []string) (h *Host, p Process, m *Machine, err error) {
	if h, err = l.Host(words[0]); err != nil {
		return nil, "", nil, err
	}
	if p = Process(words[1]); p != Agent && p != Guard && p != Hypervisor {
		return nil, "", nil, fmt.Errorf("process %q: choose agent, guard or hypervisor", p)
	}
	if len(words) > 2 {
		m, err = l.machine(words[2])
	}
	return h, p, m, err
}

func (l *Lab) machine(name string) (*Machine, error) {
	var names []string
	for _, m := range l.Watch.Machines() {
		if names = append(names, m.Name); m.Name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("machine %q: there are %v", name, names)
}

func strikeStop(ctx context.Context, l *Lab, words []string) (func() error, error) {
	return onProcess(func(h *Host) (func() error, error) { return h.StartAgent, h.StopAgent(ctx) })(ctx, l, words)
}

// durationTo returns how a setting is read that is a length of time.
func durationTo(to *time.Duration) func(value string) error {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return errors.New("give a length of time such as 50ms or 2s")
		}
		*to = d
		return nil
	}
}

// settings reads words such as delay=2s.
func settings(words []string, known map[string]func(value string) error) error {
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		set := known[name]
		if !ok || set == nil {
			var names []string
			for n := range known {
				names = append(names, n+"=")
			}
			slices.Sort(names)
			return fmt.Errorf("%q: choose from %s", word, strings.Join(names, ", "))
		}
		if err := set(value); err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
	}
	return nil
}

func errnoOf(name string) (syscall.Errno, error) {
	for n := syscall.Errno(1); n < 200; n++ {
		if unix.ErrnoName(n) == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("there is no error %q: give one such as EIO, ENOSPC, ESTALE or EACCES", name)
}

// Datastore returns the datastore of that name.
func (l *Lab) Datastore(name string) (Datastore, error) {
	names := make([]string, len(l.Datastores))
	for i, d := range l.Datastores {
		if names[i] = d.Name; d.Name == name {
			return d, nil
		}
	}
	return Datastore{}, fmt.Errorf("datastore %q: there are %v", name, names)
}
