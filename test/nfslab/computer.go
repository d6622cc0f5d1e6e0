package nfslab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"storebeat/agent/hypervisor/qmp"
	"storebeat/test/nfslab/order"
)

// patience is how long anything may take that has no limit of its own.
const patience = 2 * time.Minute

// computer is a QEMU process with what the lab holds of it.
type computer struct {
	dir    string
	child  *exec.Cmd
	ended  chan struct{} // closed when the process has
	reset  chan struct{} // closed when the computer has reset itself
	qmp    *qmp.Session
	orders net.Conn

	mu      sync.Mutex
	last    uint64 // order
	waiting map[uint64]chan order.Answer
}

const (
	ordersSocket   = "orders.sock"
	consolesSocket = "consoles.sock"
	qmpSocket      = "qmp.sock"
)

// start starts a computer: from the snapshot, or, with "", from its kernel. What
// machines on it write to their consoles goes to take.
func (l *Lab) start(ctx context.Context, dir, tap, snapshot string, take func(order.Console)) (*computer, error) {
	c := &computer{dir: dir, ended: make(chan struct{}), reset: make(chan struct{}), waiting: map[uint64]chan order.Answer{}}
	for _, name := range []string{ordersSocket, consolesSocket, qmpSocket} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	orders, err := listen(filepath.Join(dir, ordersSocket))
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	consoles, err := listen(filepath.Join(dir, consolesSocket))
	if err != nil {
		return nil, err
	}
	defer consoles.Close()
	if err := c.launch(l, tap, snapshot); err != nil {
		return nil, err
	}
	if err := c.connect(ctx, orders, consoles, take); err != nil {
		output, _ := os.ReadFile(c.output())
		return nil, errors.Join(fmt.Errorf("start a computer: %w: %s", err, output), c.kill())
	}
	return c, nil
}

func listen(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = l.SetDeadline(time.Now().Add(patience))
	}
	return l, err
}

func (c *computer) output() string { return filepath.Join(c.dir, "qemu.log") }

// Console is the path of what the computer's kernel says.
func (c *computer) console() string { return filepath.Join(c.dir, "kernel.log") }

func (c *computer) launch(l *Lab, tap, snapshot string) error {
	at := func(name string) string { return filepath.Join(c.dir, name) }
	argv := []string{"-accel", "tcg,tb-size=64", "-M", "pc", "-m", "384", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-no-reboot",
		"-kernel", l.file("vmlinux"), "-initrd", l.file("initrd"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on",
		"-drive", "file=" + l.file("qemu.img") + ",format=raw,if=none,id=qemu,readonly=on,file.locking=off", "-device", "virtio-blk-pci,drive=qemu",
		"-netdev", "tap,id=net,ifname=" + tap + ",script=no,downscript=no", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=orders,path=" + at(ordersSocket), "-device", "virtserialport,chardev=orders,name=" + order.OrderPort,
		"-chardev", "socket,id=consoles,path=" + at(consolesSocket), "-device", "virtserialport,chardev=consoles,name=" + order.ConsolePort,
		"-chardev", "file,id=kernel,path=" + c.console() + ",append=on", "-serial", "chardev:kernel",
		"-qmp", "unix:" + at(qmpSocket) + ",server=on,wait=off"}
	if snapshot != "" {
		argv = append(argv, "-incoming", "exec:cat "+snapshot)
	}
	output, err := os.OpenFile(c.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	c.child = exec.Command(qemu, argv...)
	c.child.Stdout, c.child.Stderr = output, output
	if err := l.space.start(c.child); err != nil {
		return err
	}
	go func() {
		_ = c.child.Wait() // how it ends, its events say
		close(c.ended)
	}()
	return nil
}

// connect takes the computer's ends of the ports and gets it going.
func (c *computer) connect(ctx context.Context, orders, consoles *net.UnixListener, take func(order.Console)) (err error) {
	go func() { // QEMU that ends at once connects to nothing
		<-c.ended
		orders.Close()
		consoles.Close()
	}()
	if c.orders, err = orders.Accept(); err != nil {
		return err
	}
	conn, err := consoles.Accept()
	if err != nil {
		return err
	}
	go c.hear()
	go passOn(conn, take)
	if err := await(ctx, "QEMU's monitor", func() (bool, error) {
		c.qmp, err = qmp.Dial(ctx, filepath.Join(c.dir, qmpSocket), c.event)
		return err == nil, err
	}); err != nil {
		return err
	}
	if err := c.awaitStatus(ctx, func(s string) bool { return s != "inmigrate" }); err != nil {
		return err
	}
	return c.qmp.Execute(ctx, "cont", nil, nil)
}

// event notes that the computer resets itself: it may not, so QEMU then ends.
func (c *computer) event(e qmp.Event) {
	var data struct{ Reason string }
	if json.Unmarshal(e.Data, &data) == nil && e.Name == "SHUTDOWN" && data.Reason == "guest-reset" {
		close(c.reset)
	}
}

func (c *computer) awaitStatus(ctx context.Context, ok func(status string) bool) error {
	return await(ctx, "the computer to be loaded", func() (bool, error) {
		var s struct{ Status string }
		err := c.qmp.Execute(ctx, "query-status", nil, &s)
		return err == nil && ok(s.Status), fmt.Errorf("it is %s: %w", s.Status, err)
	})
}

// kill cuts the power.
func (c *computer) kill() error {
	if err := c.child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	if c.qmp != nil {
		_ = c.qmp.Close() // it has ended with the process
	}
	if c.orders != nil {
		_ = c.orders.Close()
	}
	return nil
}

// save writes the computer's state to a file and ends it.
func (c *computer) save(ctx context.Context, to string) error {
	type parameters struct {
		Bandwidth int64 `json:"max-bandwidth"`
	}
	type target struct {
		URI string `json:"uri"`
	}
	err := errors.Join(c.qmp.Execute(ctx, "stop", nil, nil),
		c.qmp.Execute(ctx, "migrate-set-parameters", parameters{4 << 30}, nil),
		c.qmp.Execute(ctx, "migrate", target{"exec:cat > " + to}, nil))
	if err != nil {
		return err
	}
	err = await(ctx, "the snapshot to be written", func() (bool, error) {
		var s struct{ Status string }
		err := c.qmp.Execute(ctx, "query-migrate", nil, &s)
		return s.Status == "completed", fmt.Errorf("it is %s: %w", s.Status, err)
	})
	return errors.Join(err, c.kill())
}

// hear takes answers from inside.
func (c *computer) hear() {
	lines := bufio.NewScanner(c.orders)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var a order.Answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue // half a line, of a computer that was killed
		}
		c.mu.Lock()
		if to := c.waiting[a.ID]; to != nil {
			to <- a
			delete(c.waiting, a.ID)
		}
		c.mu.Unlock()
	}
}

// order has something done inside and waits for it.
func (c *computer) order(ctx context.Context, o order.Order) (order.Answer, error) {
	answer := make(chan order.Answer, 1)
	c.mu.Lock()
	c.last++
	o.ID = c.last
	c.waiting[o.ID] = answer
	text, err := json.Marshal(o)
	if err == nil {
		_, err = c.orders.Write(append(text, '\n'))
	}
	c.mu.Unlock()
	if err != nil {
		return order.Answer{}, err
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-c.ended:
		return order.Answer{}, errors.New("the computer has ended")
	case <-ctx.Done():
		return order.Answer{}, ctx.Err()
	}
}

func passOn(conn net.Conn, take func(order.Console)) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c order.Console
		if json.Unmarshal(lines.Bytes(), &c) == nil {
			take(c)
		}
	}
}

// await waits for a condition, generously.
func await(ctx context.Context, what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		done, err := ok()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), err)
		case time.Now().After(deadline):
			return fmt.Errorf("waited %v for %s: %w", patience, what, err)
		}
	}
}
