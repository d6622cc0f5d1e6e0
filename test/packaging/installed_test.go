package packaging

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInstalled takes one system through the life of the package. Each step goes
// on from what the one before has left.
func TestInstalled(t *testing.T) {
	t.Parallel()
	needs(t, "make", "dpkg-deb")
	deb, err := built()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t)
	before := s.files()
	s.install(deb)
	for _, step := range []struct {
		name string
		do   func(*system)
	}{
		{"a new installation runs nothing", newlyInstalled},
		{"it runs once it is configured", configured},
		{"a machine is in a cgroup of its own", protected},
		{"a restart of the agent freezes nothing", agentRestarts},
		{"an agent that is stopped for long freezes nothing", agentIsStopped},
		{"a killed guard is back at once", guardIsKilled},
		{"a guard comes back while the file is edited", guardIsKilledWhileEdited},
		{"a guard that is stopped freezes", guardIsStopped},
		{"a guard that is restarted freezes nothing", guardRestarts},
		{"the machines' unit ends no machine", machinesUnitRestarts},
		{"a fault script that is killed is undone by a timer", faultScriptKilled},
		{"an upgrade freezes nothing", func(s *system) { upgraded(s, repacked(s, deb, "1.2.4")) }},
		{"an upgrade with an invalid configuration changes nothing", func(s *system) { upgradedInvalid(s, repacked(s, deb, "1.2.5")) }},
		{"with a machine it is not removed", notRemoved},
		{"removed, it leaves what is the operator's", removed},
		{"purging leaves what is not the package's", purgedInPart},
		{"installed again, it goes on", func(s *system) { installedAgain(s, deb) }},
		{"purged, it leaves nothing but the datastore", func(s *system) { purged(s, before) }},
	} {
		ok := t.Run(step.name, func(t *testing.T) { step.do(&system{T: t, init: s.init, log: s.log}) })
		if !ok {
			said, _ := s.try("journalctl --no-pager --lines 300 --unit 'storebeat*'; systemctl status --no-pager 'storebeat*'")
			t.Fatal(said)
		}
	}
}

// files lists all files that the system has written or removed, but for what it
// keeps itself for having installed anything at all. Folders that were there
// before are in its changes, too, once something in them has changed.
func (s *system) files() []string {
	s.Helper()
	return strings.Split(s.run(`cd /mnt && find . \( -path ./root -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/systemd \) -prune -o \( -not -type d -o -name '*storebeat*' \) -print | sort`), "\n")
}

// newlyInstalled: everything is there, and nothing runs for want of a configuration.
func newlyInstalled(s *system) {
	s.wants("systemctl is-enabled storebeat", "enabled")
	s.wants("systemctl is-active storebeat storebeat-guard storebeat-machines", "inactive\ninactive\ninactive")
	s.wants("systemd-analyze verify /usr/lib/systemd/system/storebeat*.service", "")
	s.wants("storebeat version | cut -d' ' -f1-2", "storebeat 1.2.3")
	s.wants("storebeat --version | cut -d' ' -f1-2", "storebeat 1.2.3")
	s.wants("stat -c '%a %U %n' /etc/storebeat /etc/storebeat/storebeat.hcl.example /var/lib/storebeat",
		"755 root /etc/storebeat\n644 root /etc/storebeat/storebeat.hcl.example\n700 root /var/lib/storebeat")
	s.run("man storebeat | grep 'Keep virtual machines running'")
	s.run("man storebeat-vm-protect | grep -- --datastore")
	s.wants("bash -c '. /usr/share/bash-completion/completions/storebeat && complete -p storebeat'", "complete -o default -F __start_storebeat storebeat")
	s.run("dpkg --verify storebeat")
}

const setUp = `set -e
mkdir -p /srv/first
storebeat init --host alpha=127.0.0.1 --datastore first=/srv/first | grep 'systemctl start storebeat'
sed -i 's/#accept_no_barrier/accept_no_barrier/; s/#profile = .*/profile = "relaxed"/' /etc/storebeat/storebeat.hcl
storebeat datastore init first --update-config
storebeat config validate
systemctl start storebeat
`

// configured: the units run as they say. The limits of memory and of the
// killer of processes can't be seen here where this computer itself may not set them.
func configured(s *system) {
	s.run(setUp)
	s.wants("systemctl is-active storebeat storebeat-guard storebeat-machines", "active\nactive\nactive")
	s.until("test -d /var/lib/storebeat/journal") // a process of its own makes it
	s.wants("stat -c '%a %n' /etc/storebeat/cluster.key /etc/storebeat/storebeat.hcl /run/storebeat /run/storebeat/guard.sock /var/lib/storebeat/journal",
		"600 /etc/storebeat/cluster.key\n644 /etc/storebeat/storebeat.hcl\n700 /run/storebeat\n600 /run/storebeat/guard.sock\n700 /var/lib/storebeat/journal")
	s.wants("systemctl show -P StatusText storebeat-guard", "guards /run/storebeat/guard.sock")
	s.wants("systemctl show -P OOMScoreAdjust storebeat-guard", "-1000")
	s.wants("chrt -p "+s.pid("storebeat-guard")+" | grep -c SCHED_RR", "1")
	s.run("grep -E 'VmLck:.* [1-9][0-9]+ kB' /proc/" + s.pid("storebeat-guard") + "/status")
	s.until("journalctl --no-pager --unit storebeat --priority info | grep 'storebeat: agent runs'")
	s.wants("journalctl --no-pager --unit storebeat --priority err | grep -c 'agent runs'", "0")
	s.until("$ask host list | grep 'alpha.*live'")
}

// pid is the main process of a unit.
func (s *system) pid(unit string) string {
	s.Helper()
	return s.run("systemctl show -P MainPID " + unit)
}

const machineCgroup = "/sys/fs/cgroup/machine.slice/storebeat-machines.service/storebeat-1-*"

func protected(s *system) {
	s.run("storebeat vm protect w1 --datastore first --memory 16MiB --wait=60s -- /usr/bin/storebeat ticker '{{datastore}}/w1.console'")
	s.run("systemctl status --no-pager storebeat-machines | grep 'storebeat ticker'")
	s.wants("cat "+machineCgroup+"/cgroup.procs", s.machine())
	s.run("! grep -z -E 'NOTIFY_SOCKET|JOURNAL_STREAM|RUNTIME_DIRECTORY' /proc/" + s.machine() + "/environ")
	s.ticks()
	s.until("journalctl --no-pager STOREBEAT_MACHINE=w1 STOREBEAT_EVENT=machine-started --output json | grep '\"_SYSTEMD_UNIT\":\"storebeat.service\"'")
	s.until("journalctl --no-pager --unit storebeat | grep 'storebeat.*: storebeat: w1 runs on alpha.*event=machine-started host=alpha datastore=first machine=w1'")
}

// machine is the process of the machine.
func (s *system) machine() string {
	s.Helper()
	return s.run("pgrep --full '^/usr/bin/storebeat ticker'")
}

// ticks waits until the machine has done something since.
func (s *system) ticks() {
	s.Helper()
	lines := s.run("wc -l </srv/first/w1.console")
	s.until("test $(wc -l </srv/first/w1.console) -gt " + lines)
}

// freezes counts how often this host's machines had to be frozen.
func (s *system) freezes() string {
	s.Helper()
	return s.run("$ask events --limit 10000 --kind lease-lapsed | wc -l")
}

// undisturbed does something that must not disturb the machine.
func (s *system) undisturbed(do func()) {
	s.Helper()
	machine, freezes := s.machine(), s.freezes()
	do()
	s.until("$ask vm list | grep 'w1 *running'")
	s.ticks()
	if got := s.machine(); got != machine {
		s.Errorf("the machine was process %s and is %s", machine, got)
	}
	// A restarted agent reads what it recorded before a moment later.
	s.until("test $($ask events --limit 10000 --kind lease-lapsed | wc -l) = " + freezes)
}

// interrupted does something that freezes the machine, which goes on by itself.
func (s *system) interrupted(do func()) {
	s.Helper()
	machine, freezes := s.machine(), s.freezes()
	do()
	s.until("test $($ask events --limit 10000 --kind lease-lapsed | wc -l) -gt " + freezes)
	s.until("$ask vm list | grep 'w1 *running'")
	s.ticks()
	if got := s.machine(); got != machine {
		s.Errorf("the machine was process %s and is %s", machine, got)
	}
}

func agentRestarts(s *system) {
	agent := s.pid("storebeat")
	s.undisturbed(func() { s.run("systemctl restart storebeat") })
	if s.pid("storebeat") == agent {
		s.Error("the agent was not restarted")
	}
}

// agentIsStopped lets the machine tick for longer than a lease, which is 10 s.
func agentIsStopped(s *system) {
	s.undisturbed(func() {
		s.run("systemctl stop storebeat")
		lines := s.run("wc -l </srv/first/w1.console")
		s.until("test $(wc -l </srv/first/w1.console) -gt $((" + lines + " + 120))")
		s.wants("cat "+machineCgroup+"/cgroup.freeze", "0")
		s.run("systemctl start storebeat")
	})
}

func guardIsKilled(s *system) {
	guard := s.pid("storebeat-guard")
	s.interrupted(func() { s.run("kill -KILL " + guard) })
	if s.pid("storebeat-guard") == guard {
		s.Error("there is no new guard")
	}
}

func guardIsKilledWhileEdited(s *system) {
	s.run("cp -p /etc/storebeat/storebeat.hcl /root/good.hcl && echo 'color = \"red\"' >>/etc/storebeat/storebeat.hcl")
	s.interrupted(func() { s.run("kill -KILL " + s.pid("storebeat-guard")) })
	s.until("journalctl --no-pager --unit storebeat-guard | grep 'goes by /run/storebeat/guard.hcl'")
	s.run("cp -p /root/good.hcl /etc/storebeat/storebeat.hcl && rm /root/good.hcl")
}

func guardIsStopped(s *system) {
	s.interrupted(func() {
		s.run("systemctl stop storebeat-guard")
		s.wants("cat "+machineCgroup+"/cgroup.freeze", "1")
		s.wants("systemctl is-active storebeat-guard storebeat", "inactive\nactive")
		s.run("systemctl start storebeat-guard")
	})
}

// guardRestarts restarts the guard under a running agent, and while the agent is away
// and its machine in custody. Killed after that it freezes, as ever: nothing
// that an earlier guard left is used twice.
func guardRestarts(s *system) {
	restart := func() {
		before := s.pid("storebeat-guard")
		s.run("systemctl restart storebeat-guard")
		if s.pid("storebeat-guard") == before {
			s.Error("the guard was not restarted")
		}
		s.until("journalctl --no-pager --unit storebeat-guard _PID=" + before + " | grep 'is restarted and leaves'")
		s.wants("cat "+machineCgroup+"/cgroup.freeze", "0")
	}
	s.undisturbed(func() {
		restart()
		restart()
	})
	s.undisturbed(func() {
		s.run("systemctl stop storebeat")
		restart()
		s.run("systemctl start storebeat")
	})
	guardIsKilled(s)
}

func machinesUnitRestarts(s *system) {
	s.undisturbed(func() { s.run("systemctl stop storebeat-machines && systemctl start storebeat-machines") })
	s.undisturbed(func() {
		s.run("systemctl restart storebeat-machines && systemctl daemon-reload && systemctl daemon-reexec")
	})
	s.undisturbed(func() {
		s.run("kill -KILL " + s.pid("storebeat-machines"))
		s.until("systemctl is-active storebeat-machines")
	})
}

// repacked is the same package under another version, to upgrade to.
func repacked(s *system, deb, version string) string {
	s.Helper()
	folder := s.TempDir()
	out, err := exec.Command("sh", "-c", fmt.Sprintf(`set -e
		dpkg-deb --raw-extract %s %s/tree
		sed -i 's/^Version: .*/Version: %s/' %[2]s/tree/DEBIAN/control
		dpkg-deb --root-owner-group -Znone --build %[2]s/tree %[2]s/next.deb`, deb, folder, version)).CombinedOutput()
	if err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(folder, "next.deb")
}

func upgraded(s *system, deb string) {
	agent, guard, restarts := s.pid("storebeat"), s.pid("storebeat-guard"), s.run("systemctl show -P NRestarts storebeat-guard")
	s.undisturbed(func() {
		s.install(deb)
		// The program's file before is deleted, which the link would say.
		s.until("test $(readlink /proc/" + guard + "/exe) = /usr/bin/storebeat")
	})
	if s.pid("storebeat") == agent {
		s.Error("the agent was not restarted")
	}
	s.wants("readlink /proc/"+s.pid("storebeat")+"/exe", "/usr/bin/storebeat")
	s.wants("systemctl show -P MainPID storebeat-guard", guard)
	s.wants("systemctl show -P NRestarts,ActiveState storebeat-guard", restarts+"\nactive")
	s.wants("dpkg-query -W -f '${Version}' storebeat", "1.2.4")
}

func upgradedInvalid(s *system, deb string) {
	agent := s.pid("storebeat")
	s.run("cp -p /etc/storebeat/storebeat.hcl /root/good.hcl && echo 'color = \"red\"' >>/etc/storebeat/storebeat.hcl")
	s.undisturbed(func() {
		if said := s.install(deb); !strings.Contains(said, "the configuration is not valid") || !strings.Contains(said, "color") {
			s.Errorf("the upgrade says %q", said)
		}
	})
	if s.pid("storebeat") != agent {
		s.Error("the agent was restarted")
	}
	s.run("cp -p /root/good.hcl /etc/storebeat/storebeat.hcl && rm /root/good.hcl")
}

func notRemoved(s *system) {
	s.undisturbed(func() {
		if said, err := s.try("dpkg --remove storebeat"); err == nil || !strings.Contains(said, "machines run on this host") {
			s.Errorf("removed: %v\n%s", err, said)
		}
	})
	s.wants("dpkg-query -W -f '${db:Status-Status}' storebeat", "installed")
}

// faultScriptKilled has the script that stops the agent be killed: systemd starts the
// agent again, by a timer that is gone after that.
func faultScriptKilled(s *system) {
	needs(s.T, "jq")
	s.undisturbed(func() {
		s.run(`sh -c 'echo $$ >/run/fault.pid; exec /usr/share/storebeat/fault/stop-agent --for 8 --force' >/run/fault.said 2>&1 &`)
		s.until("! systemctl is-active storebeat")
		s.run("kill -s KILL $(cat /run/fault.pid)")
		s.until("systemctl is-active storebeat")
	})
	s.until("! ls /run/storebeat-fault/agent && ! systemctl list-units --all --plain --no-legend 'storebeat-fault*' | grep .")
	s.wants("grep -c 'What to expect' /run/fault.said", "1")
}

func removed(s *system) {
	s.run("storebeat vm stop w1 --wait=60s")
	s.run("dpkg --remove storebeat")
	s.wants("ls /etc/storebeat", "cluster.key\nstorebeat.hcl\nstorebeat.hcl.example")
	s.run("ls /var/lib/storebeat/journal")
	s.wants("pgrep --list-full storebeat", "")
	s.wants("ls -d /sys/fs/cgroup/*/storebeat* /usr/lib/systemd/system/storebeat* 2>/dev/null", "")
}

// purgedInPart has a datastore and a mount where nobody would expect them, and
// brings the configuration back afterwards.
func purgedInPart(s *system) {
	s.run(`cp -a /etc/storebeat /root/kept
		mkdir -p /etc/storebeat/disks/.storebeat /var/lib/storebeat/mounted
		mount -t tmpfs tmp /var/lib/storebeat/mounted && touch /var/lib/storebeat/mounted/file`)
	said := s.run("dpkg --purge storebeat 2>&1")
	if !strings.Contains(said, "/etc/storebeat holds a datastore") || !strings.Contains(said, "/var/lib/storebeat is left with what is mounted") {
		s.Errorf("purging says %q", said)
	}
	s.run("ls /etc/storebeat/disks/.storebeat /etc/storebeat/cluster.key /var/lib/storebeat/mounted/file")
	s.run("umount /var/lib/storebeat/mounted && rm -r /etc/storebeat && mv /root/kept /etc/storebeat")
}

func installedAgain(s *system, deb string) {
	s.install(deb)
	s.wants("systemctl is-enabled storebeat", "enabled")
	s.wants("systemctl is-active storebeat storebeat-guard storebeat-machines", "active\nactive\nactive")
	s.until("$ask vm list | grep 'w1 *stopped'")
}

func purged(s *system, before []string) {
	s.run("systemctl stop storebeat") // its heartbeats change the datastore
	datastore := s.run("find /srv/first -type f -print0 | sort -z | xargs -0 md5sum")
	s.run("dpkg --purge storebeat")
	s.wants("pgrep --list-full storebeat", "")
	s.wants("find /srv/first -type f -print0 | sort -z | xargs -0 md5sum", datastore)
	s.run("rm -r /srv/first")
	if diff := cmp.Diff(before, s.files()); diff != "" {
		s.Errorf("left behind (+), or taken along (-):\n%s", diff)
	}
}
