package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"storebeat/test/faultfs"
)

const (
	// firstEnv tells a program that it is a host's first process, and what to do.
	firstEnv = "STOREBEAT_LAB_HOST"
	// lineFD is the socket to the lab's holder.
	lineFD = 3
)

// bootOrder is what a host's first process sets up.
type bootOrder struct {
	Name    string // of the host
	Address string // with the length of its prefix
	MAC     string
	Gateway string
	// Directories that stand in for the host's own. Etc lies over the computer's.
	Etc, EtcWork, Run, Var, Mnt string
	BootID                      string   // a file
	Datastores                  []string // names
}

// startOrder has a host's first process start a program.
type startOrder struct {
	Argv []string
	Log  string // a file, to which its output is added
}

// answer is what a host's first process says to an order. With the one to the boot
// order come the host's network device and a FUSE connection for each datastore.
type answer struct{ Error string }

// Main must be the first call of a program that makes labs. In a host's first
// process it does that process's work and never returns; elsewhere it ends all
// labs when the program is told to end by a signal.
func Main() {
	text, first := os.LookupEnv(firstEnv)
	if !first {
		endOnSignal()
		return
	}
	os.Unsetenv(firstEnv)
	if err := beFirst(text); err != nil {
		fmt.Fprintln(os.Stderr, "first process of a host:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// IsFirst reports whether this program is a host's first process, and must call Main.
func IsFirst() bool {
	_, first := os.LookupEnv(firstEnv)
	return first
}

// beFirst sets the host up, and starts what it is told until the lab's holder is gone.
func beFirst(text string) error {
	var order bootOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return err
	}
	unix.CloseOnExec(lineFD)
	fds, err := order.setUp()
	if err := reply(err, fds...); err != nil {
		return err
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	go reap()
	for {
		buf := make([]byte, maxMessage)
		n, err := unix.Read(lineFD, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		var start startOrder
		if err = json.Unmarshal(buf[:n], &start); err == nil {
			err = start.carryOut()
		}
		if err := reply(err); err != nil {
			return err
		}
	}
}

const maxMessage = 64 << 10

func reply(err error, fds ...int) error {
	var a answer
	if err != nil {
		a.Error, fds = err.Error(), nil
	}
	message, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(lineFD, message, rights, nil, 0)
}

// reap buries the host's orphans, as its first process must.
func reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for range ended {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}

// carryOut starts a program as a service manager would: on its own, in the
// host's environment.
func (s startOrder) carryOut() error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	_, err = syscall.ForkExec(s.Argv[0], s.Argv, &syscall.ProcAttr{Dir: "/", Env: hostEnv(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}})
	return err
}

func hostEnv() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"GOCOVERDIR", "GORACE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// setUp makes the namespaces that this process is in a host. It returns the
// network device and the FUSE connections.
func (o bootOrder) setUp() (fds []int, err error) {
	if err := unix.Sethostname([]byte(o.Name)); err != nil {
		return nil, err
	}
	if err := o.mount(); err != nil {
		return nil, err
	}
	tap, err := o.connect()
	if err != nil {
		return nil, err
	}
	fds = append(fds, tap)
	for _, d := range o.Datastores {
		fd, err := mountFUSE(filepath.Join("/mnt", d))
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (o bootOrder) mount() error {
	overlay := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", o.Etc, o.EtcWork)
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		options              string
	}{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""},
		{"overlay", "/etc", "overlay", 0, overlay},
		{o.Run, "/run", "", unix.MS_BIND, ""},
		{o.Var, "/var/lib", "", unix.MS_BIND, ""},
		{o.Mnt, "/mnt", "", unix.MS_BIND, ""},
		{o.BootID, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
		}
	}
	return nil
}

// connect makes the host's network device and returns its other end.
func (o bootOrder) connect() (int, error) {
	const device = "eth0"
	tap, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tap, unix.TUNSETIFF, request); err != nil {
		return 0, fmt.Errorf("make the network device: %w", err)
	}
	batch := strings.NewReader(fmt.Sprintf("link set lo up\nlink set %[1]s address %[2]s\nlink set %[1]s up\naddress add %[3]s dev %[1]s\nroute add default via %[4]s\n",
		device, o.MAC, o.Address, o.Gateway))
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = batch
	if out, err := ip.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("configure the network: %w: %s", err, out)
	}
	return tap, nil
}

// mountFUSE mounts a connection to FUSE, which somebody else will serve, and returns it.
func mountFUSE(at string) (int, error) {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return 0, err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,%s", fd, faultfs.Options)
	if err := unix.Mount("faultfs", at, "fuse.faultfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return 0, fmt.Errorf("mount %s: %w", at, err)
	}
	return fd, nil
}
