package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"storebeat/poweron"
	"storebeat/test/lab"
	"storebeat/test/program"
)

// script is the path of one of the scripts for operators.
func (r *trial) script(name string) string {
	r.Helper()
	path, err := filepath.Abs("../../scripts/fault/" + name)
	r.Do(err)
	return path
}

// scriptNames are all scripts that strike a host.
var scriptNames = []string{"isolate", "block-datastore", "drop-link", "stop-agent", "freeze-machine", "kill-machines"}

// call runs a script on a host to its end.
func (r *trial) call(h *lab.Host, words ...string) (string, error) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	out, err := h.Run(ctx, append([]string{"env", "STOREBEAT=" + program.Path, r.script(words[0])}, words[1:]...)...)
	r.Logf("%s on %s: %v\n%s", strings.Join(words, " "), h.Name, err, out)
	return out, err
}

// flickered reports whether a script was refused since some host was not live, as it may
// happen for a moment on a busy computer.
func flickered(out string, err error) bool {
	return status(err) == 5 && strings.Contains(out, "fewer than two other hosts are live")
}

// insist runs a script to its end, which is to succeed.
func (r *trial) insist(h *lab.Host, words ...string) (out string) {
	r.Helper()
	r.Await("the other hosts to be live", func() (bool, string) {
		var err error
		if out, err = r.call(h, words...); flickered(out, err) {
			return false, out
		}
		r.Do(err)
		return true, ""
	})
	return out
}

// shell has a host's shell carry out a line.
func (r *trial) shell(h *lab.Host, line string) (string, error) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	return h.Run(ctx, "sh", "-c", line)
}

// status is the exit status that an error of Run carries; 0 without one.
func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return -1
	}
	if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return exit.ExitCode()
}

// running is a script that runs on a host.
type running struct {
	host *lab.Host
	done chan struct{}
	out  string
	err  error
}

const pidFile = "/run/script.pid"

// begin starts a script and leaves its process id on the host. It is started again as long
// as it is refused for want of live hosts.
func (r *trial) begin(h *lab.Host, before []string, words ...string) *running {
	r.Helper()
	argv := []string{"unshare", "--mount", "sh", "-c", `echo $$ >` + pidFile + `; exec "$@"`, "sh"}
	argv = append(argv, before...)
	argv = append(argv, "env", "STOREBEAT="+program.Path, r.script(words[0]))
	argv = append(argv, words[1:]...)
	s := &running{host: h, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for s.out, s.err = h.Run(r.ctx, argv...); flickered(s.out, s.err) && r.ctx.Err() == nil; s.out, s.err = h.Run(r.ctx, argv...) {
			time.Sleep(100 * time.Millisecond) // until they are
		}
	}()
	return s
}

// awaitEnd waits until a script has ended and returns what it said.
func (r *trial) awaitEnd(s *running) string {
	r.Helper()
	r.Await("the script to end", func() (bool, string) {
		select {
		case <-s.done:
			return true, ""
		default:
			return false, "it runs"
		}
	})
	r.Logf("the script ended with %v:\n%s", s.err, s.out)
	return s.out
}

// strike is a fault script with what shows, from outside of it, that its fault is there.
type strike struct {
	name   string
	words  []string
	before []string // what runs the script
	struck func() bool
	event  string // what Storebeat reports of it in the end, as an expression; "" for nothing
	lasts  string // how long the fault must last for that
	moves  bool   // others may take the host's machines over, if it lasts
	rare   bool   // tried with -all only
}

// ending is a way in which a fault ends before or at its time.
type ending struct {
	name   string
	end    string // what a shell does; "" for nothing
	status int    // of the script
}

var endings = []ending{
	{"in time", "", 0},
	{"SIGINT", "kill -s INT $(cat " + pidFile + ")", 130},
	{"SIGTERM", "kill -s TERM $(cat " + pidFile + ")", 143},
	{"SIGHUP", "kill -s HUP $(cat " + pidFile + ")", 129},
	{"SIGKILL", "kill -s KILL $(cat " + pidFile + ")", 137},
	{"undo", "UNDO", 0},
}

// try strikes once, has it end in a certain way, and expects that nothing is left.
func (r *trial) try(h *lab.Host, s strike, e ending) {
	r.Helper()
	seconds := "60"
	switch e.name {
	case "in time":
		seconds = s.lasts
	case "SIGKILL":
		seconds = "8" // and the timer waits for another three
	}
	ran := r.begin(h, s.before, append(s.words, "--for", seconds)...)
	armed := r.succeeds(h, "ls /run/storebeat-fault/*/undo")
	r.Await(s.name+" to strike", func() (bool, string) {
		select {
		case <-ran.done:
			r.Fatalf("%s ended and had done nothing: %v\n%s", s.name, ran.err, ran.out)
			return false, ""
		default:
			return armed() && s.struck(), "nothing has changed"
		}
	})
	if end := strings.ReplaceAll(e.end, "UNDO", r.script("undo")); end != "" {
		_, err := r.shell(h, end)
		r.Do(err)
	}
	out := r.awaitEnd(ran)
	if got := status(ran.err); got != e.status {
		r.Errorf("the script ended with status %d, not %d", got, e.status)
	}
	r.Await(s.name+" to be undone", func() (bool, string) { return !s.struck(), "it lasts" })
	r.awaitNothingLeft(h)
	r.awaitWhole()
	r.AwaitCounts(2, r.Machines...)
	if e.name == "in time" && !(strings.Contains(out, "What to expect:\n") && regexp.MustCompile(`(?s)What Storebeat reported since.*`+s.event).MatchString(out)) {
		r.Errorf("it does not say what to expect and then, of what Storebeat reported, %q", s.event)
	}
}

// awaitNothingLeft waits until the timers of all scripts are gone, and nothing else is there.
func (r *trial) awaitNothingLeft(h *lab.Host) {
	r.Helper()
	r.Await("the scripts to leave nothing", func() (bool, string) {
		out, err := r.shell(h, "find /run/storebeat-fault -mindepth 1 -not -name '*.lock' 2>/dev/null; nft list tables; pgrep --full --list-full '^/bin/bash /run/storebeat-fault' || true")
		return err == nil && strings.TrimSpace(out) == "", fmt.Sprint(out, err)
	})
}

// succeeds returns a condition: that a line of a host's shell ends well.
func (r *trial) succeeds(h *lab.Host, line string) func() bool {
	return func() bool {
		_, err := r.shell(h, line)
		return err == nil
	}
}

// listed adds an NFS mount to the mounts that the kernel lists for a script, for there
// is no NFS client here: its server is another host, on a port where somebody answers.
const listed = `cp /proc/self/mountinfo /run/mountinfo
echo '999 1 0:77 / /mnt/nfs\040share rw - nfs4 server:/share rw,%s' >>/run/mountinfo
mount --bind /run/mountinfo /proc/$$/mountinfo && exec "$@"`

// localDisk makes and mounts a local file system on a host.
const localDisk = `truncate -s 8M /run/disk && mkfs.ext4 -q /run/disk && mkdir -p /mnt/local && mount -o loop /run/disk /mnt/local`

// writeHangs tries to write to it, by a process that is left behind if it hangs.
const writeHangs = `now=$(date +%N); (echo $now >/mnt/local/file) >/dev/null 2>&1 & sleep 0.5; test "$(cat /mnt/local/file)" != $now`

// strikes are the faults that the scripts can bring about on a host. Its machine is the
// first of those that run there.
func (r *trial) strikes(h, other *lab.Host) []strike {
	r.Helper()
	m := r.on(h)[0]
	reach := fmt.Sprintf("! timeout 1 bash -c '</dev/tcp/%s/7481'", other.Address)
	mounted := func(options string) []string { return []string{"bash", "-c", fmt.Sprintf(listed, options), "bash"} }
	silence := func() bool { return r.Watch.Silence(m) > 2*time.Second }
	return []strike{
		{name: "isolate", words: []string{"isolate"}, lasts: "12", event: "isolated .*isolation-ended",
			struck: r.succeeds(h, "! ping -c1 -W1 "+other.Address)},
		{name: "partition", words: []string{"isolate", "--host", other.Name, "--all"}, lasts: "8", event: "host-partitioned", rare: true,
			struck: r.succeeds(h, "! ping -c1 -W1 "+other.Address)},
		{name: "drop-link", words: []string{"drop-link", "eth0"}, lasts: "8", event: "host-partitioned",
			struck: r.succeeds(h, "! (ip link show eth0 up | grep eth0 && ip route | grep default && ip -6 address show dev eth0 | grep fe80)")},
		{name: "block-datastore by packets", words: []string{"block-datastore", "/mnt/nfs share/below"}, lasts: "5",
			before: mounted("vers=4.2,port=7481,addr=" + other.Address), struck: r.succeeds(h, reach)},
		{name: "block-datastore of NFS 3", words: []string{"block-datastore", "/mnt/nfs share"}, lasts: "5", rare: true,
			before: mounted("vers=3,port=2049,addr=" + other.Address), struck: r.succeeds(h, "! ping -c1 -W1 "+other.Address+" && "+reach)},
		{name: "block-datastore by IPv6", words: []string{"block-datastore", "/mnt/nfs share"}, lasts: "5", rare: true,
			before: mounted("vers=4.1,proto=tcp6,addr=fe80::7%eth0"), struck: r.succeeds(h, "nft list ruleset | grep -q 'ip6 daddr fe80::7 tcp dport 2049 drop' && nft list ruleset | grep -q 'ip6 saddr fe80::7 tcp sport 2049 drop'")},
		{name: "freeze-machine", words: []string{"freeze-machine", m.Name}, lasts: "6", struck: silence},
		{name: "block-datastore by freezing", words: []string{"block-datastore", "/mnt/local"}, lasts: "5", struck: r.succeeds(h, writeHangs)},
		{name: "stop-agent", words: []string{"stop-agent", "--start-command", program.Path + " agent >>/run/agent.log 2>&1"}, lasts: "6",
			event: "host-agent-down.*custody-ended", struck: r.succeeds(h, "! pgrep --full 'storebeat agent$'")},
		{name: "stop-agent --hang", words: []string{"stop-agent", "--hang"}, lasts: "4", moves: true,
			struck: r.succeeds(h, "pgrep --full --runstates T 'storebeat agent$'")},
	}
}

// newScriptTrial is a trial on which scripts can be tried.
func newScriptTrial(t *testing.T, machines int, change ...func(*poweron.Policy)) *trial {
	t.Helper()
	for _, p := range []string{"jq", "nft", "mkfs.ext4", "pgrep"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("run scripts/install-dependencies: %v", err)
		}
	}
	return newTrial(t, lab.Options{}, machines, change...)
}

// TestFaultScripts has every script for operators strike a host and undo itself: all when
// their time is up, and freezing a machine in other ways in which a fault can end, too.
// With -all, all of them in all ways.
func TestFaultScripts(t *testing.T) {
	for _, group := range []struct {
		name    string
		strikes string
		endings []string
	}{
		{"network", "isolate|partition|drop-link", nil},
		{"agent", "stop-agent.*|block-datastore.*", nil},
		{"machine", "freeze-machine", []string{"SIGINT", "SIGKILL"}},
	} {
		t.Run(group.name, func(t *testing.T) {
			r := newScriptTrial(t, 3)
			master, others := r.master()
			h, want := others[0], r.Starts()
			r.mountLocalDisk(h)
			for _, s := range r.strikes(h, master) {
				if !regexp.MustCompile("^("+group.strikes+")$").MatchString(s.name) || s.rare && !*all {
					continue
				}
				for _, e := range endings {
					if *all || e.end == "" || slices.Contains(group.endings, e.name) {
						r.Logf("%s, %s", s.name, e.name)
						r.try(h, s, e)
					}
				}
				if s.moves {
					want = r.Starts()
				}
			}
			r.ExpectStarts(want)
		})
	}
}

func (r *trial) mountLocalDisk(h *lab.Host) {
	r.Helper()
	_, err := r.shell(h, localDisk)
	r.Do(err)
	r.Cleanup(func() {
		// A file system that goes while it is frozen keeps its device for ever.
		if h.IsOn() {
			_, _ = h.Run(context.Background(), "fsfreeze", "--unfreeze", "/mnt/local")
		}
	})
}

// TestScriptsRefuse gives the scripts what they must not carry out. Nothing happens.
func TestScriptsRefuse(t *testing.T) {
	r := newScriptTrial(t, 3, func(p *poweron.Policy) { p.Isolation = poweron.PowerOff })
	master, others := r.master()
	h, want := others[0], r.Starts()
	name := r.on(h)[0].Name
	r.mountLocalDisk(h)
	state := func() string {
		out, err := r.shell(h, "nft list ruleset; ip link; ip route; find /sys/fs/cgroup -type d -name storebeat-fault; find /run/storebeat-fault; pgrep --full --list-full 'storebeat agent$'")
		if status(err) < 0 {
			t.Fatal(err)
		}
		return regexp.MustCompile(`state \w+|qlen \d+`).ReplaceAllString(out, "")
	}
	before := state()
	refuse := func(want int, words ...string) string {
		t.Helper()
		out, err := r.call(h, words...)
		if got := status(err); got != want {
			t.Errorf("%v ended with status %d, not %d", words, got, want)
		}
		if now := state(); now != before {
			t.Errorf("%v changed something: from\n%s\nto\n%s", words, before, now)
		}
		return out
	}
	right := map[string][]string{"isolate": {"isolate"}, "block-datastore": {"block-datastore", "/mnt/local"}, "drop-link": {"drop-link", "eth0"},
		"stop-agent": {"stop-agent", "--hang"}, "freeze-machine": {"freeze-machine", name}, "kill-machines": {"kill-machines", "--yes"}}
	for _, s := range scriptNames {
		if out := refuse(0, s, "--help"); !strings.Contains(out, "Usage: "+s) || !strings.Contains(out, "--for SECONDS") || !strings.Contains(out, "--dry-run") {
			t.Errorf("%s --help says %q", s, out)
		}
		refuse(2, right[s]...)
		refuse(2, append(right[s], "--for", "1h")...)
		refuse(2, append(right[s], "--for", "0")...)
		refuse(2, append(right[s], "--for", "3601")...)
		refuse(2, append(right[s], "--for", "3", "--loud")...)
		out := refuse(0, append(right[s], "--for", "3", "--dry-run")...)
		if !strings.Contains(out, "What to expect:\n") || !strings.Contains(out, "It would run") {
			t.Errorf("%s --dry-run says %q", s, out)
		}
		if network := s == "isolate" || s == "drop-link"; network != strings.Contains(out, name+" (power off)") {
			t.Errorf("%s --dry-run does not say what becomes of %s, or should not: %q", s, name, out)
		}
	}
	if r.succeeds(h, writeHangs)() {
		t.Error("a file system was frozen that was not to be")
	}
	refuse(4, "block-datastore", "/srv/nothing", "--for", "3")
	refuse(5, "block-datastore", "/run", "--for", "3")     // what the host itself writes to
	refuse(5, "block-datastore", "/mnt/ds1", "--for", "3") // FUSE can't be frozen
	refuse(4, "freeze-machine", "nobody", "--for", "3")
	refuse(5, "freeze-machine", r.on(master)[0].Name, "--for", "3")
	refuse(4, "drop-link", "eth7", "--for", "3")
	refuse(5, "drop-link", "lo", "--for", "3")
	refuse(4, "isolate", "--host", "nobody", "--for", "3")
	refuse(5, "kill-machines", "--for", "3") // nobody says the name of the host
	refuse(2, "drill", "stop-agent")
	refuse(2, "drill", "--report", "/run/report", "reboot")
	if out := refuse(4, "drill", "--dry-run", "freeze-machine nobody", "isolate"); !strings.Contains(out, "does not know a machine nobody") || !strings.Contains(out, "isolate on "+h.Name+" for 30 s") {
		t.Errorf("the drill's dry run says %q", out)
	}
	if out := refuse(0, "undo"); !strings.Contains(out, "no fault of these scripts is active") {
		t.Errorf("undo says %q", out)
	}
	lost := r.on(others[1])
	r.Do(others[1].PowerOff())
	r.Await("the loss to be seen", func() (bool, string) {
		out, err := r.call(h, "isolate", "--for", "3", "--dry-run")
		return status(err) == 5, out
	})
	for _, s := range scriptNames[1:] {
		if out := refuse(5, append(right[s], "--for", "3")...); !strings.Contains(out, "fewer than two other hosts are live ("+master.Name+")") {
			t.Errorf("%s says %q", s, out)
		}
	}
	refuse(0, "isolate", "--for", "3", "--dry-run", "--force")
	want = want.And(lost)
	r.AwaitStarts(want)
	r.awaitWhole()
	r.AwaitCounts(5, r.Machines...)
	r.ExpectStarts(want)
}

// TestScriptKillsMachines kills all machines of a host: they are started again on the spot.
func TestScriptKillsMachines(t *testing.T) {
	r := newScriptTrial(t, 4)
	_, others := r.master()
	h := others[0]
	want := r.Starts().And(r.on(h))
	out := r.insist(h, "kill-machines", "--yes", "--for", "4")
	if !strings.Contains(out, "machine-crashed") {
		t.Error("it does not say what Storebeat reported")
	}
	r.AwaitStarts(want)
	r.awaitWhole()
	r.ExpectStarts(want)
	r.awaitNothingLeft(h)
}

// TestScriptsOneAfterTheOther strikes the same thing again at once: the timer of the first
// does not end the second. While the second lasts, a third is refused, and the second says
// what is not as before when it has ended: a user stopped a machine. When the host's power
// goes while another lasts, nothing is left of it, nor of the fault.
func TestScriptsOneAfterTheOther(t *testing.T) {
	r := newScriptTrial(t, 3, func(p *poweron.Policy) { p.StopTime = time.Second }) // the guests are deaf
	_, others := r.master()
	h := others[0]
	m := r.on(h)[0]
	r.insist(h, "freeze-machine", m.Name, "--for", "1")
	began := time.Now()
	second := r.begin(h, nil, "freeze-machine", m.Name, "--for", "8")
	r.Await("the second to strike", func() (bool, string) { return r.Watch.Silence(m) > 2*time.Second, "it counts" })
	if out, err := r.call(h, "freeze-machine", m.Name, "--for", "1"); status(err) != 5 || !strings.Contains(out, "struck already") {
		t.Errorf("a third ended with status %d", status(err))
	}
	stopped := r.Machines[slices.IndexFunc(r.Machines, func(other *lab.Machine) bool { return other != m })]
	_, err := r.shell(h, program.Path+" vm stop "+stopped.Name)
	r.Do(err)
	out := r.awaitEnd(second)
	if strings.Contains(out, "somebody else") || time.Since(began) < 8*time.Second {
		t.Error("it was ended before its time")
	}
	if !regexp.MustCompile(`Not all is as before, 30 s after the end. It was\n.*\n  running: vm1 vm2 vm3\nand is\n.*\n  running: vm\d vm\d\n`).MatchString(out) {
		t.Error("it does not say that a machine runs no more")
	}
	_, err = r.shell(h, program.Path+" vm start "+stopped.Name)
	r.Do(err)
	r.awaitWhole()
	r.AwaitCounts(2, m)
	third := r.begin(h, nil, "isolate", "--for", "60")
	r.awaitEvent("isolated", h)
	r.Do(h.PowerOff())
	<-third.done
	r.Do(h.PowerOn())
	r.awaitWhole()
	r.awaitNothingLeft(h)
	_, err = r.call(h, "undo")
	r.Do(err)
	r.AwaitCounts(5, r.Machines...)
}

// TestDrill runs a drill, whose report says what was done and what was seen, and one that
// is ended by a signal in the middle of a fault.
func TestDrill(t *testing.T) {
	r := newScriptTrial(t, 3)
	_, others := r.master()
	h := others[0]
	m := r.on(h)[0]
	want := r.Starts().And([]*lab.Machine{m})
	r.insist(h, "drill", "--report", "/run/drill.md", "--for", "2", "freeze-machine "+m.Name, "kill-machines --machine "+m.Name+" --for 4")
	report, err := r.shell(h, "cat /run/drill.md")
	r.Do(err)
	for _, part := range []string{"# Drill on " + h.Name, "host " + h.Name + ": live", "machine " + m.Name + ": running on " + h.Name,
		"| freeze-machine " + m.Name + " --for 2 |", "| kill-machines --machine " + m.Name + " --for 4 --yes |", "What Storebeat reported since", "machine-crashed"} {
		if !strings.Contains(report, part) {
			t.Errorf("the report does not say %q:\n%s", part, report)
		}
	}
	if out, err := r.call(h, "drill", "--report", "/run/drill.md"); status(err) != 5 {
		t.Errorf("a report was overwritten: %s", out)
	}
	r.AwaitStarts(want)
	r.awaitWhole()
	drill := r.begin(h, nil, "drill", "--report", "/run/ended.md", "freeze-machine "+m.Name+" --for 60")
	r.Await("the drill to strike", func() (bool, string) { return r.Watch.Silence(m) > 2*time.Second, "it counts" })
	_, err = r.shell(h, "kill -s TERM $(cat "+pidFile+")")
	r.Do(err)
	r.awaitEnd(drill)
	r.AwaitCounts(2, m)
	r.awaitNothingLeft(h)
	if out, err := r.shell(h, "cat /run/ended.md"); err != nil || !strings.Contains(out, "The drill ended after 0 of 1 steps") {
		t.Errorf("the report of a drill that was ended says %q (%v)", out, err)
	}
	r.ExpectStarts(want)
}
