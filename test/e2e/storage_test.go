package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/poweron"
	"storebeat/test/faultfs"
)

// faultyLab is a cluster in which every host has a mount of its own of each datastore.
type faultyLab struct {
	*lab
	mounts map[string]*faultfs.Mount // by host and datastore
}

func newFaultyLab(t *testing.T, o cluster.Options) *faultyLab {
	t.Helper()
	if err := faultfs.Available(); err != nil {
		t.Skip(err)
	}
	l := &faultyLab{mounts: map[string]*faultfs.Mount{}}
	o.Mount = func(h *cluster.Host, d cluster.Datastore) (string, error) { return l.mountFor(t, h, d) }
	l.lab = newLab(t, o)
	t.Cleanup(l.heal) // before the cluster is ended: what hangs can't be
	return l
}

func (l *faultyLab) mountFor(t *testing.T, h *cluster.Host, d cluster.Datastore) (string, error) {
	path := filepath.Join(h.Dir, d.Name)
	if err := os.Mkdir(path, 0o755); err != nil {
		return "", err
	}
	m, err := faultfs.New(d.Path, path)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	l.mounts[h.Name+d.Name] = m
	return path, nil
}

func (l *faultyLab) heal() {
	for _, m := range l.mounts {
		m.Heal()
	}
}

func (l *faultyLab) mount(h *cluster.Host, d cluster.Datastore) *faultfs.Mount {
	return l.mounts[h.Name+d.Name]
}

// homedOn lists the machines whose home is a datastore.
func (l *lab) homedOn(d cluster.Datastore) (on []*cluster.Machine) {
	for _, m := range l.machines {
		if m.Home.ID == d.ID {
			on = append(on, m)
		}
	}
	return on
}

// TestVouching takes one host's path to a datastore away while the network is
// fine. The others vouch for the host, so its machines are not even frozen.
func TestVouching(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"subordinate", "master"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			l := newFaultyLab(t, cluster.Options{Profile: "default"})
			l.protect(6, "process")
			h, others := l.master()
			if who == "subordinate" {
				h = others[0]
			}
			runs, from, before := l.runs(), time.Now(), l.view()
			for _, m := range l.machines {
				m.Console.ResetGap()
			}
			sick := l.machinesOn(h)[0].Home
			l.mount(h, sick).Hang()
			l.awaitTicks(90, l.machines...) // 9 seconds, more than two leases
			for _, o := range l.Hosts {
				l.refuse(o, from, "lease-lapsed", "machines-frozen", "term-closed", "start-ordered")
			}
			l.awaitHostState(h, "storage-lost")
			l.mount(h, sick).Heal()
			l.awaitSettled()
			l.expectRuns(runs)
			l.expectGenerations(before, runs)
			for _, m := range l.machines {
				if newest, _ := m.Console.Newest(); newest.Gap > 3*time.Second {
					t.Errorf("%s stood still for %v", m.Name, newest.Gap)
				}
			}
		})
	}
}

// awaitHostState waits until a master that is not the host itself sees it in a state.
// A master that has lost a datastore says so of the datastore.
func (l *lab) awaitHostState(h *cluster.Host, state string) {
	l.Helper()
	l.await(h.Name+" to be "+state, func() (bool, string) {
		v := l.view()
		at := slices.IndexFunc(v.Hosts, func(s core.HostView) bool { return s.ID == h.ID })
		if at < 0 {
			return false, "it is not known"
		}
		return v.Host == h.ID || v.Hosts[at].State == state, fmt.Sprintf("it is %s: %v", v.Hosts[at].State, v.Hosts[at].Evidence)
	})
}

// TestEveryPathHangs lets a datastore hang for everybody for 8 seconds. Its
// machines are frozen and go on where they stopped; nobody is started again, and
// the machines on the other datastore notice nothing.
func TestEveryPathHangs(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{})
	l.protect(6, "process")
	sick, well := l.Datastores[0], l.Datastores[1]
	halted := l.protectHalted(sick)
	runs, from, before := l.runs(), time.Now(), l.view()
	for _, h := range l.Hosts {
		l.mount(h, sick).Hang()
	}
	for _, m := range l.homedOn(well) {
		m.Console.ResetGap()
	}
	l.awaitTicks(80, l.homedOn(well)...)
	for _, m := range l.homedOn(sick) {
		owner := l.host(viewOf(before, m).Host)
		l.awaitEvent(owner, from, "machines-frozen")
		if m == halted {
			l.awaitEvent(owner, from, "machine-halted")
		}
	}
	l.heal()
	l.awaitTicks(5, l.machines...)
	l.awaitSettled()
	l.expectRuns(runs)
	l.expectGenerations(before, runs)
	for _, h := range l.Hosts {
		l.refuse(h, from, "term-closed", "start-ordered")
	}
	for _, m := range l.homedOn(well) {
		if newest, _ := m.Console.Newest(); newest.Gap > 3*time.Second {
			t.Errorf("%s stood still for %v, though its datastore was well", m.Name, newest.Gap)
		}
	}
}

// protectHalted adds a real guest that is to be halted before it is frozen, nil where there
// is no QEMU.
func (l *lab) protectHalted(home cluster.Datastore) *cluster.Machine {
	l.Helper()
	if driver(l.T) != "qemu" {
		return nil
	}
	m := cluster.NewMachine(l.prefix+"-halted", home, "qemu")
	m.Policy.Pause = poweron.StopThenFreeze
	l.add(m)
	l.awaitSettled()
	l.awaitTicks(2, m)
	return m
}

// TestPathAndNetworkLost takes a host's network and its path to one datastore
// away. The machines there are taken over; when the host is back it puts its
// frozen instances down. Those on the other datastore run on where they are.
func TestPathAndNetworkLost(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{})
	cut := cutter(t, l.lab)
	l.protect(6, "process")
	h, its, _ := l.subordinate()
	sick := its[0].Home
	want, from := l.runs(), time.Now()
	for _, m := range its {
		if m.Home.ID == sick.ID {
			want[m.Name]++
		}
	}
	restore := cut(h)
	l.mount(h, sick).Hang()
	l.awaitRuns(want)
	l.awaitEvent(h, from, "machines-frozen")
	l.heal()
	restore()
	l.awaitEvent(h, from, "machine-put-down")
	l.awaitSettled()
	l.awaitTicks(3, l.machines...)
	l.expectRuns(want)
}

// cutter returns a function that drops everything from and to a host's address,
// until the function that it returns is called.
func cutter(t *testing.T, l *lab) func(h *cluster.Host) (restore func()) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil || os.Geteuid() != 0 {
		t.Skip("cutting the network needs root and nftables")
	}
	table := fmt.Sprintf("storebeat_%d_%s", os.Getpid(), filepath.Base(l.Dir))
	table = strings.ReplaceAll(table, "-", "_")
	nft(t, "add", "table", "ip", table)
	t.Cleanup(func() { nft(t, "delete", "table", "ip", table) })
	nft(t, "add", "chain", "ip", table, "out", "{ type filter hook output priority 0; }")
	return func(h *cluster.Host) func() {
		nft(t, "add", "rule", "ip", table, "out", "ip", "saddr", h.Address, "drop")
		nft(t, "add", "rule", "ip", table, "out", "ip", "daddr", h.Address, "drop")
		return func() { nft(t, "flush", "chain", "ip", table, "out") }
	}
}

func nft(t *testing.T, words ...string) {
	t.Helper()
	if out, err := exec.Command("nft", words...).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", strings.Join(words, " "), err, out)
	}
}
