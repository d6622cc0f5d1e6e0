package packaging

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything may take that is waited for.
const patience = 2 * time.Minute

// system is a Debian system of its own: systemd in namespaces, on a view of this
// computer's file system whose changes are kept in memory and thrown away.
type system struct {
	*testing.T
	root string // where its root is, seen from here
	init int    // the process id of its systemd, seen from here
	log  string // what its systemd has said
}

// boot makes the mounts that systemd wants to find and becomes systemd. The
// cgroup in which it runs is the root of all that it sees of cgroups. On /mnt it
// finds what it has changed itself.
const boot = `set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g memory "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" root "$1/root"
cd "$1/root"
mount --bind "$1/changes" mnt
rm -rf usr/sbin/policy-rc.d etc/storebeat var/lib/storebeat var/log/journal
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 pts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ip link set lo up
hostname "$2"
rm -f etc/hostname
echo "$2" >etc/hostname
if [ -n "$3" ]; then
	mkdir -p srv/shared
	mount --bind "$3" srv/shared
fi
mkdir old
pivot_root . old
umount -l /old
exec env -i container=storebeat-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no
`

// start boots a system called alpha. It ends with the test, and with the test's process.
func start(t *testing.T) *system { return startNamed(t, "alpha", "") }

// startNamed boots a system of that name, which has a folder of this computer at
// /srv/shared ("" for none).
func startNamed(t *testing.T, name, shared string) *system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a system of its own needs root")
	}
	needs(t, "unshare", "nsenter", "pivot_root", "ip", "systemctl", "dpkg")
	folder := t.TempDir()
	s := &system{T: t, root: filepath.Join(folder, "root"), log: filepath.Join(folder, "log")}
	if err := os.Mkdir(s.root, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cgroup := newCgroup(t)
	command := exec.Command("unshare", "--cgroup", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child",
		"/bin/sh", "-c", boot, "boot", s.root, name, shared)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// All processes at once: they are in one process namespace, whose first one dies with its parent.
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	s.awaitBoot(command.Process.Pid)
	return s
}

// newCgroup makes a cgroup for a system and opens it. What is left in it at the
// end is killed.
func newCgroup(t *testing.T) *os.File {
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(mount, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir, err := os.MkdirTemp(mount, "storebeat-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeCgroup(t, dir) })
		open, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { open.Close() })
		return open
	}
	t.Skip("a system of its own needs cgroup v2")
	return nil
}

func removeCgroup(t *testing.T, dir string) {
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	eventually(t, "the system's cgroup goes", func() error {
		var all []string
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		for i := range all {
			_ = unix.Rmdir(all[len(all)-1-i])
		}
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return nil
		}
		return fmt.Errorf("%s is still there: %v", dir, err)
	})
}

// awaitBoot waits until systemd, the one child of the process given, has started.
func (s *system) awaitBoot(parent int) {
	s.Helper()
	eventually(s.T, "systemd starts", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		if err != nil {
			return err
		}
		if s.init, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		said, err := s.try("systemctl is-system-running")
		if state := strings.TrimSpace(said); state != "running" && state != "degraded" {
			log, _ := os.ReadFile(s.log)
			return fmt.Errorf("the system is %q: %v\n%s", state, err, log)
		}
		return nil
	})
}

// try runs a line of shell in the system and returns all that it said.
func (s *system) try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(s.init), "--all", "--", "/bin/sh", "-c", line)
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/root", "SYSTEMD_PAGER=cat", "MANPAGER=cat", "MANWIDTH=100",
		"ask=storebeat --socket /run/storebeat/control.sock"} // asks the agent though the configuration is invalid
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}

// run is try for what has to succeed.
func (s *system) run(line string) string {
	s.Helper()
	out, err := s.try(line)
	if err != nil {
		s.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.TrimRight(out, "\n")
}

// wants waits for a line to say something, whatever its status: what the system does of
// itself, such as ending a process or writing to its journal, may take a moment.
func (s *system) wants(line, want string) {
	s.Helper()
	eventually(s.T, line, func() error {
		got, err := s.try(line)
		if strings.TrimSpace(got) != want {
			return fmt.Errorf("%q, want %q (%w)", strings.TrimSpace(got), want, err)
		}
		return nil
	})
}

// until waits for a line to succeed.
func (s *system) until(line string) {
	s.Helper()
	eventually(s.T, line, func() error {
		out, err := s.try(line)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// install puts a package into the system.
func (s *system) install(deb string) string {
	s.Helper()
	content, err := os.ReadFile(deb)
	if err != nil {
		s.Fatal(err)
	}
	// Its root is reached through its first process: the mount is not in our namespace.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/root/storebeat.deb", s.init), content, 0o644); err != nil {
		s.Fatal(err)
	}
	return s.run("dpkg -i /root/storebeat.deb && rm /root/storebeat.deb")
}

func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
