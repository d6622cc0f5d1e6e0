// Command inside runs in each host of a lab of package nfslab. It does what the
// lab orders, and passes on what machines write to their consoles. It is no part
// of what is tested.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"storebeat/test/nfslab/order"
)

func main() {
	fmt.Fprintln(os.Stderr, "inside:", serve())
	os.Exit(1)
}

// serve carries orders out for as long as the host is on.
func serve() error {
	orders, err := openPort(order.OrderPort)
	if err != nil {
		return err
	}
	consoles, err := openPort(order.ConsolePort)
	if err != nil {
		return err
	}
	go follow(consoles)
	fmt.Println("waiting for orders")
	answers := writer{to: json.NewEncoder(orders)}
	lines := bufio.NewReaderSize(orders, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		var o order.Order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("order %q: %w", line, err)
		}
		go func() { answers.write(carryOut(o)) }()
	}
}

// writer keeps the answers of several orders apart.
type writer struct {
	mu sync.Mutex
	to *json.Encoder
}

func (w *writer) write(v any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.to.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "inside: answer:", err)
	}
}

// port is a virtual serial port. While nobody holds the other end it says that it
// is at its end.
type port struct{ *os.File }

func (p port) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// openPort finds a port by its name.
func openPort(name string) (p port, err error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return p, err
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == name {
			p.File, err = os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
			return p, err
		}
	}
	return p, fmt.Errorf("there is no port %s among %v", name, files)
}

func carryOut(o order.Order) order.Answer {
	a := order.Answer{ID: o.ID}
	if err := errors.Join(setTime(o.Wall), stir(o.Seed), writeFiles(o.Files)); err != nil {
		a.Error = err.Error()
		return a
	}
	if o.Script != "" {
		a.Output, a.Code = runScript(o.Script)
	}
	for _, m := range o.Mounts {
		if err := mountNFS(m); err != nil {
			a.Error = err.Error()
		}
	}
	return a
}

func setTime(wall int64) error {
	if wall == 0 {
		return nil
	}
	now := unix.NsecToTimeval(wall)
	return os.NewSyscallError("settimeofday", unix.Settimeofday(&now))
}

// The requests of /dev/random, which package unix does not have.
const (
	addEntropy = 0x40085203 // RNDADDENTROPY
	reseed     = 0x5207     // RNDRESEEDCRNG
)

// stir makes this host's random numbers its own: it was copied from another in
// which they had been drawn before.
func stir(seed []byte) error {
	if len(seed) == 0 {
		return nil
	}
	random, err := os.OpenFile("/dev/random", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	var pool struct {
		bits, length int32
		seed         [64]byte
	}
	n := copy(pool.seed[:], seed)
	pool.bits, pool.length = int32(8*n), int32(n)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), addEntropy, uintptr(unsafe.Pointer(&pool))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), reseed, 0)
	if errno != 0 {
		return os.NewSyscallError("RNDRESEEDCRNG", errno)
	}
	return nil
}

func writeFiles(files map[string]string) error {
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// runScript runs a script with the shell, its own group so that it can be left alone.
func runScript(script string) (output string, code int) {
	c := exec.Command("/bin/sh", "-c", script)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	c.WaitDelay = time.Second // a daemon that it leaves may hold its output
	text, err := c.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return string(text), exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return string(text) + err.Error(), 127
	}
	return string(text), 0
}

// mountNFS mounts as mount.nfs would: by the address of the server.
func mountNFS(m order.Mount) error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	server, _, _ := strings.Cut(m.Source, ":")
	options := "vers=4.2,addr=" + server
	if m.Options != "" {
		options += "," + m.Options
	}
	if err := unix.Mount(m.Source, m.Target, "nfs4", 0, options); err != nil {
		return fmt.Errorf("mount %s at %s with %s: %w", m.Source, m.Target, options, err)
	}
	return nil
}

// followEvery is how often consoles are looked at.
const followEvery = 30 * time.Millisecond

// follow passes on what machines write to their consoles, each instance apart.
func follow(to io.Writer) {
	encoder := json.NewEncoder(to)
	open := map[string]*os.File{}
	for ; ; time.Sleep(followEvery) {
		paths, _ := filepath.Glob(filepath.Join(order.RunDir, "*", "console.log"))
		for _, path := range paths {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				continue
			}
			instance := fmt.Sprintf("%s-%d", filepath.Base(filepath.Dir(path)), st.Ino)
			if open[instance] == nil {
				if f, err := os.Open(path); err == nil {
					open[instance] = f
				}
			}
		}
		for instance, f := range open {
			data, _ := io.ReadAll(f)
			if len(data) == 0 {
				continue
			}
			if err := encoder.Encode(order.Console{Instance: instance, Data: data}); err != nil {
				fmt.Fprintln(os.Stderr, "inside: consoles:", err)
			}
		}
	}
}
