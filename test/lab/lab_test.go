package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/test/faultfs"
	"storebeat/test/lab"
)

// holderEnv has this program hold a lab until it is killed.
const holderEnv = "STOREBEAT_LAB_TEST_HOLDER"

func TestMain(m *testing.M) {
	lab.Main()
	if os.Getenv(holderEnv) != "" {
		hold()
	}
	os.Exit(m.Run())
}

// sleeper stands in for the program under test: here the lab itself is tested.
const sleeper = "/bin/true"

// newLab makes a lab whose hosts are off.
func newLab(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	if err := lab.Available(); err != nil {
		t.Skip(err)
	}
	o.Binary = sleeper
	l, err := lab.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.End(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program on a host and returns what it says.
func run(t *testing.T, h *lab.Host, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return h.Run(ctx, argv...)
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func TestHostsAreApart(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Hosts: 2, Datastores: 1})
	must(t, l.Start())
	seen := map[string]bool{}
	for _, h := range l.Hosts {
		for _, argv := range [][]string{{"hostname"}, {"cat", "/etc/machine-id"}, {"cat", "/proc/sys/kernel/random/boot_id"},
			{"cut", "-d.", "-f1", "/proc/uptime"}, {"ip", "-4", "-brief", "address", "show", "eth0"}} {
			out, err := run(t, h, argv...)
			must(t, err)
			if seen[out] {
				t.Errorf("%v says %q on both hosts", argv, out)
			}
			seen[out] = true
		}
		if out, err := run(t, h, "ls", "/sys/fs/cgroup/cgroup.kill", "/etc/storebeat/storebeat.hcl", "/mnt/ds1/.storebeat"); err != nil {
			t.Error(out, err)
		}
	}
	h := l.Hosts[0]
	before, err := run(t, h, "cat", "/proc/sys/kernel/random/boot_id")
	must(t, err)
	must(t, h.PowerOff())
	must(t, h.PowerOn())
	if after, err := run(t, h, "cat", "/proc/sys/kernel/random/boot_id"); err != nil || after == before {
		t.Errorf("after a boot the boot id is %q, before %q (%v)", after, before, err)
	}
}

func pings(t *testing.T, h *lab.Host, address string) bool {
	t.Helper()
	_, err := run(t, h, "ping", "-c1", "-W1", address)
	return err == nil
}

func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Hosts: 3, Datastores: 1})
	must(t, l.Start())
	a, b, c := l.Hosts[0], l.Hosts[1], l.Hosts[2]
	const gateway = "10.98.0.254"
	expect := func(what string, from *lab.Host, to string, want bool) {
		t.Helper()
		if want { // it may take a moment until they have found each other
			await(t, what+": "+from.Name+" to reach "+to, func() bool { return pings(t, from, to) })
		} else if pings(t, from, to) {
			t.Errorf("%s: %s reaches %s", what, from.Name, to)
		}
		l.Network.Heal()
	}
	expect("whole", a, b.Address, true)
	expect("whole", a, gateway, true)
	l.Network.Cut(b, a) // the answer is lost
	expect("cut", a, b.Address, false)
	l.Network.Cut(b, a)
	expect("cut", a, c.Address, true)
	l.Network.Partition([]*lab.Host{a}, []*lab.Host{b, c})
	expect("partition", b, a.Address, false)
	l.Network.Partition([]*lab.Host{a}, []*lab.Host{b, c})
	expect("partition", b, c.Address, true)
	l.Network.SilenceGateway()
	expect("silent gateway", a, gateway, false)
	l.Network.Isolate(a)
	expect("isolation", a, gateway, false)
	l.Network.Isolate(a)
	expect("isolation", c, a.Address, false)
	must(t, l.Network.Impair(a, lab.Line{Loss: 1}))
	expect("loss", b, a.Address, false)
	heard := func() string {
		out, err := run(t, a, "cat", "/sys/class/net/eth0/statistics/rx_packets")
		must(t, err)
		return out
	}
	must(t, a.LinkDown())
	before := heard()
	expect("link down", b, a.Address, false)
	if now := heard(); now != before {
		t.Errorf("with its cable pulled a host has heard %s packets, and %s before", now, before)
	}
	expect("link down", a, b.Address, false)
	if out, err := run(t, a, "cat", "/sys/class/net/eth0/carrier"); err == nil && strings.TrimSpace(out) != "0" {
		t.Errorf("the kernel sees carrier %q", out)
	}
	must(t, a.LinkUp())
	expect("link up", a, b.Address, true)
	const delay = 100 * time.Millisecond
	must(t, l.Network.Impair(a, lab.Line{Delay: delay}))
	began := time.Now()
	expect("delay", a, b.Address, true)
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back took %v", took)
	}
}

func TestStorageFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Hosts: 2, Datastores: 2})
	must(t, l.Start())
	a, b, sick := l.Hosts[0], l.Hosts[1], l.Datastores[0]
	const touch = "touch"
	a.Storage(sick).Hang()
	hung := make(chan error, 1)
	go func() {
		_, err := a.Run(t.Context(), touch, "/mnt/ds1/late")
		hung <- err
	}()
	await(t, "something to hang", func() bool { return a.Storage(sick).Hung() > 0 })
	for _, works := range []struct {
		host *lab.Host
		path string
	}{{a, "/mnt/ds2/x"}, {b, "/mnt/ds1/x"}} {
		if _, err := run(t, works.host, touch, works.path); err != nil {
			t.Error(err)
		}
	}
	a.Storage(sick).Heal()
	must(t, <-hung)
	must(t, a.Storage(sick).Inject(faultfs.Fault{Kind: faultfs.Error}))
	if _, err := run(t, a, touch, "/mnt/ds1/y"); err == nil {
		t.Error("an error is not seen")
	}
	// The power goes while something hangs: it is never carried out, and does not hold us up.
	a.Storage(sick).Hang()
	go func() { _, _ = a.Run(t.Context(), touch, "/mnt/ds1/never") }()
	await(t, "something to hang", func() bool { return a.Storage(sick).Hung() > 0 })
	must(t, a.PowerOff())
	if _, err := os.Stat(filepath.Join(sick.Dir, "never")); !os.IsNotExist(err) {
		t.Errorf("what hung when the power went was carried out: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Hosts: 2, Datastores: 1})
	must(t, l.Start())
	a, b := l.Hosts[0], l.Hosts[1]
	must(t, a.Freeze())
	count := filepath.Join(a.Dir, "run", "count")
	done := make(chan error, 1)
	go func() {
		_, err := a.Run(t.Context(), "sh", "-c", "echo x > /run/count")
		done <- err
	}()
	if _, err := run(t, b, "true"); err != nil {
		t.Error(err)
	}
	runtime.GC() // stops everything for a moment, which it can't while a child has not executed its program
	if _, err := os.Stat(count); err == nil {
		t.Error("a frozen host executes")
	}
	must(t, a.Resume())
	must(t, <-done)
	if _, err := os.Stat(count); err != nil {
		t.Error("a resumed host does not go on")
	}
	must(t, a.Freeze()) // and ends frozen
}

// hold is the program that holds a lab and is killed.
func hold() {
	l, err := lab.Build(lab.Options{Binary: sleeper, Hosts: 2, Datastores: 1})
	if err == nil {
		err = l.Start()
	}
	if err == nil {
		l.Hosts[0].Storage(l.Datastores[0]).Hang()
		go func() { _, _ = l.Hosts[0].Run(context.Background(), "touch", "/mnt/ds1/late") }()
		for l.Hosts[0].Storage(l.Datastores[0]).Hung() == 0 {
			time.Sleep(time.Millisecond)
		}
		err = l.Hosts[1].Freeze()
	}
	fmt.Println(l.Dir, err)
	select {}
}

func TestKilledLabIsSwept(t *testing.T) {
	if err := lab.Available(); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	self, err := os.Executable()
	must(t, err)
	holder := exec.Command(self)
	holder.Env = append(os.Environ(), holderEnv+"=1")
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	words, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	dir, said, _ := strings.Cut(strings.TrimSpace(words), " ")
	if said != "<nil>" {
		t.Error(said)
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	newLab(t, lab.Options{Hosts: 1, Datastores: 1})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left of a dead lab: %v", dir, err)
	}
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(at, filepath.Base(dir))); !os.IsNotExist(err) {
			t.Errorf("the cgroup of %s is left: %v", dir, err)
		}
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, o := range []lab.Options{{}, {Binary: "x", Hosts: 1, Datastores: 1}, {Binary: sleeper, Datastores: 1}, {Binary: sleeper, Hosts: 65, Datastores: 1}, {Binary: sleeper, Hosts: 1},
		{Binary: sleeper, Hosts: 1, Datastores: 1, Profile: "quick"}, {Binary: "/nowhere/storebeat", Hosts: 1, Datastores: 1}, {Binary: "/dev/null", Hosts: 1, Datastores: 1}} {
		if l, err := lab.Build(o); err == nil {
			t.Errorf("%+v is taken", o)
			must(t, l.End())
		}
	}
}

// TestStrikeInWords says faults in words: what makes no sense is refused with what would,
// and what is done can be undone.
func TestStrikeInWords(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Hosts: 2, Datastores: 1})
	must(t, l.Start())
	_, err := l.NewMachine("vm1", l.Datastores[0])
	must(t, err)
	for words, says := range map[string]string{
		"":                                   "choose one of power-off",
		"explode host1":                      "choose one of power-off",
		"freeze":                             "freeze HOST",
		"freeze host1 host2":                 `takes no "host2"`,
		"freeze host9":                       "there are [host1 host2]",
		"impair host1 loss=much":             "0 to 1",
		"impair host1 loss=2":                "0 to 1",
		"impair host1 delay=2":               "such as 50ms",
		"impair host1 noise=2":               "delay=, loss=",
		"storage host1 ds1 sad":              "choose one of hang",
		"storage host1 ds7 hang":             "there are [ds1]",
		"storage host1 ds1 hang ops=fly":     "choose from lookup",
		"storage host1 ds1 error errno=ESAD": "such as EIO",
		"storage host1 ds1 torn bytes=few":   "whole number",
		"kill host1 init":                    "choose agent, guard or hypervisor",
		"hang host1 hypervisor vm7":          "there are [vm1]",
		"hang host1 guard":                   "host1 has no guard", // here none runs
		"stop host1 guard":                   "only an agent",
	} {
		if _, err := l.Strike(t.Context(), strings.Fields(words)...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, not %q", words, err, says)
		}
	}
	strike := func(words string) (undo func() error) {
		t.Helper()
		undo, err := l.Strike(t.Context(), strings.Fields(words)...)
		must(t, err)
		return undo
	}
	a, b := l.Hosts[0], l.Hosts[1]
	await(t, "hosts to find each other", func() bool { return pings(t, a, b.Address) })
	for _, words := range []string{"cut host2 host1", "partition host1 host2", "isolate host1", "impair host1 loss=1", "link-down host2"} {
		undo := strike(words)
		if pings(t, a, b.Address) {
			t.Errorf("%s: %s reaches %s", words, a.Name, b.Name)
		}
		must(t, undo())
		await(t, words+" to be undone", func() bool { return pings(t, a, b.Address) })
	}
	strike("power-off host2")
	if b.IsOn() {
		t.Error("it is on")
	}
	strike("storage host1 all lying ops=write,fsync")
	_, err = run(t, a, "sh", "-c", "echo x > /mnt/ds1/lie")
	must(t, err)
	strike("heal")
	if text, err := os.ReadFile(filepath.Join(l.Datastores[0].Dir, "lie")); err != nil || len(text) != 0 {
		t.Errorf("what was acknowledged by a lie reads %q (%v)", text, err)
	}
}

// instance is a machine's console on a host, written by the test in its place.
type instance struct {
	*testing.T
	file *os.File
	name string
	w    *lab.Watch
	m    *lab.Machine
}

func newInstance(t *testing.T, l *lab.Lab, h *lab.Host, m *lab.Machine, generation uint64) *instance {
	dir := hypervisor.MachineDir(h.RunDir(), m.VM, generation)
	must(t, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, "console.log"))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return &instance{t, f, h.Name, l.Watch, m}
}

// says writes a console and waits until the watch has read it.
func (i *instance) says(count int, lines ...string) {
	i.Helper()
	_, err := i.file.WriteString(strings.Join(lines, "\n") + "\n")
	must(i.T, err)
	await(i.T, "the watch to read", func() bool {
		newest, _ := i.w.Newest(i.m)
		return newest.Host == i.name && newest.Count == uint64(count) || len(i.w.Faults()) > 0
	})
}

// mark writes what a guest writes to its disk when it counts.
func mark(t *testing.T, m *lab.Machine, boot, count byte) {
	f, err := os.OpenFile(m.Disk(), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{count, 0, 0, 0, boot, 0, 0, 0}, 512*(16+int64(count)))
	must(t, err)
}

// TestWatch plays guests by hand: what is right is not reported, and what is
// wrong is.
func TestWatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		want string
		play func(t *testing.T, m *lab.Machine, a, b *instance)
	}{
		{"a restart", "", func(t *testing.T, m *lab.Machine, a, b *instance) {}},
		{"two copies", "two copies", func(t *testing.T, m *lab.Machine, a, b *instance) { a.says(0, "T 00000004") }},
		{"a count is missing", "two copies, or a lost line", func(t *testing.T, m *lab.Machine, a, b *instance) { b.says(0, "T 00000009") }},
		{"a late write", "a late write", func(t *testing.T, m *lab.Machine, a, b *instance) { mark(t, m, 1, 4) }},
		{"something else", "says", func(t *testing.T, m *lab.Machine, a, b *instance) { b.says(0, "Hello") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, lab.Options{Hosts: 2, Datastores: 1})
			m, err := l.NewMachine("vm1", l.Datastores[0])
			must(t, err)
			a := newInstance(t, l, l.Hosts[0], m, 1)
			for n := range byte(3) {
				mark(t, m, 1, n+1)
			}
			a.says(3, "BOOT", "T 00000001", "T 00000002", "T 00000003")
			b := newInstance(t, l, l.Hosts[1], m, 2)
			b.says(1, "BOOT", "T 00000001")
			mark(t, m, 2, 1)
			b.says(2, "T 00000002")
			mark(t, m, 2, 2)
			c.play(t, m, a, b)
			if c.want == "" {
				b.says(3, "T 00000003")
			} else {
				await(t, "a fault", func() bool { return len(l.Watch.Faults()) > 0 })
			}
			faults := strings.Join(l.Watch.Faults(), "; ")
			if c.want == "" && faults != "" || !strings.Contains(faults, c.want) {
				t.Errorf("the watch says %q, not %q", faults, c.want)
			}
			if runs := l.Watch.Runs(m); len(runs) != 2 || runs[0].Host != "host1" || runs[1].Host != "host2" {
				t.Errorf("the runs were %+v", runs)
			}
		})
	}
}
