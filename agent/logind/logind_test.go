package logind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// patience is how long anything may take that is waited for.
const patience = time.Minute

// bus is a message bus of the test's own.
type bus struct {
	*testing.T
	folder string
	daemon *exec.Cmd
}

const busConfig = `<busconfig>
<listen>unix:path=%s/socket</listen>
<auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
`

func newBus(t *testing.T) *bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is missing: install the package dbus-daemon")
	}
	b := &bus{T: t, folder: t.TempDir()}
	if err := os.WriteFile(filepath.Join(b.folder, "config"), fmt.Appendf(nil, busConfig, b.folder), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+b.folder+"/socket")
	t.Cleanup(b.end)
	b.start()
	return b
}

func (b *bus) start() {
	b.Helper()
	b.daemon = exec.Command("dbus-daemon", "--config-file", filepath.Join(b.folder, "config"), "--nofork", "--nopidfile")
	b.daemon.Stderr = os.Stderr
	if err := b.daemon.Start(); err != nil {
		b.Fatal(err)
	}
	b.until("the bus answers", func() error {
		conn, err := dbus.ConnectSystemBus()
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (b *bus) end() {
	if b.daemon != nil {
		_ = b.daemon.Process.Kill()
		_ = b.daemon.Wait()
		b.daemon = nil
		os.Remove(filepath.Join(b.folder, "socket"))
	}
}

func (b *bus) until(what string, holds func() error) {
	b.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// peer speaks for the login manager on the bus: it grants locks and says that the host
// is about to shut down, as systemd-logind does. The real one is asked in test/packaging.
type peer struct {
	*bus
	conn *dbus.Conn

	mu        sync.Mutex
	preparing bool
	refuses   bool
	silent    chan struct{} // when not nil, Inhibit waits for its end
	locks     []*granted
}

// granted is one lock; its reader comes to the end when the holder lets go.
type granted struct {
	what, mode string
	reader     *os.File
}

func (b *bus) login() *peer {
	b.Helper()
	p := &peer{bus: b}
	var err error
	if p.conn, err = dbus.ConnectSystemBus(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.conn.Close() })
	if err := errors.Join(
		p.conn.ExportMethodTable(map[string]any{"Inhibit": p.inhibit}, "/org/freedesktop/login1", managerInterface),
		p.conn.ExportMethodTable(map[string]any{"Get": p.get}, "/org/freedesktop/login1", "org.freedesktop.DBus.Properties"),
	); err != nil {
		b.Fatal(err)
	}
	if r, err := p.conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		b.Fatal(r, err)
	}
	return p
}

func (p *peer) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent != nil {
		silent := p.silent
		p.mu.Unlock()
		<-silent
		p.mu.Lock()
	}
	if who == "" || why == "" || p.refuses || p.preparing && what == "shutdown" {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Permission denied"})
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	p.locks = append(p.locks, &granted{what, mode, reader})
	fd := dbus.UnixFD(writer.Fd())
	p.closeWhenSent(writer)
	return fd, nil
}

// closeWhenSent closes this side's copy of a lock, which has been sent when the next
// call has been answered.
func (p *peer) closeWhenSent(writer *os.File) {
	go func() {
		for {
			conn, err := dbus.ConnectSystemBus()
			if err != nil {
				break
			}
			var v dbus.Variant
			err = conn.Object(service, "/org/freedesktop/login1").Call("org.freedesktop.DBus.Properties.Get", 0, managerInterface, "PreparingForShutdown").Store(&v)
			conn.Close()
			if err == nil {
				break
			}
		}
		writer.Close()
	}()
}

func (p *peer) get(_, name string) (dbus.Variant, *dbus.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch name {
	case "PreparingForShutdown":
		return dbus.MakeVariant(p.preparing), nil
	case "InhibitDelayMaxUSec":
		return dbus.MakeVariant(uint64(7_000_000)), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(fmt.Errorf("no property %q", name))
}

// prepares says that the host is about to shut down, or not after all.
func (p *peer) prepares(shutdown bool) {
	p.Helper()
	p.mu.Lock()
	p.preparing = shutdown
	p.mu.Unlock()
	if err := p.conn.Emit("/org/freedesktop/login1", managerInterface+".PrepareForShutdown", shutdown); err != nil {
		p.Fatal(err)
	}
}

// held counts the locks that somebody holds.
func (p *peer) held(what, mode string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.locks {
		_ = l.reader.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := l.reader.Read(make([]byte, 1)); l.what == what && l.mode == mode && !errors.Is(err, io.EOF) {
			n++
		}
	}
	return n
}

// holds waits until so many locks are held: to delay a shutdown, and against sleep.
func (p *peer) holds(delay, block int) {
	p.Helper()
	p.until(fmt.Sprintf("%d and %d locks are held", delay, block), func() error {
		if d, b := p.held("shutdown", "delay"), p.held("sleep", "block"); d != delay || b != block {
			return fmt.Errorf("%d and %d are", d, b)
		}
		return nil
	})
}

// asker is an inhibitor that runs, and what it tells.
type asker struct {
	*bus
	*Inhibitor
	end func()

	mu       sync.Mutex
	state    State
	prepared []bool
}

func (b *bus) asks() *asker {
	a := &asker{bus: b}
	a.Inhibitor = New(Options{
		Changed: func(s State) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.state = s
		},
		Preparing: func(shutdown bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.prepared = append(a.prepared, shutdown)
		},
	})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	a.end = func() {
		cancel()
		<-ended
	}
	b.Cleanup(a.end)
	return a
}

// told waits until the state is as wanted; why need only begin as given.
func (a *asker) told(want State) {
	a.Helper()
	a.until(fmt.Sprintf("%+v is told", want), func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		got := a.state
		if want.Why != "" && len(got.Why) > len(want.Why) {
			got.Why = got.Why[:len(want.Why)]
		}
		if got != want {
			return fmt.Errorf("it is %+v", a.state)
		}
		return nil
	})
}

// announced waits until it was told so.
func (a *asker) announced(want ...bool) {
	a.Helper()
	a.until(fmt.Sprintf("%v is told", want), func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if fmt.Sprint(a.prepared) != fmt.Sprint(want) {
			return fmt.Errorf("it is %v", a.prepared)
		}
		return nil
	})
}

const seven = 7 * time.Second

// A shutdown waits from the start on; sleep is blocked while that is wished for.
func TestLocks(t *testing.T) {
	b := newBus(t)
	p, a := b.login(), b.asks()
	a.told(State{Delays: true, Longest: seven})
	p.holds(1, 0)
	a.KeepAwake(true)
	a.told(State{Delays: true, Blocks: true, Longest: seven})
	p.holds(1, 1)
	a.KeepAwake(false)
	p.holds(1, 0)
	a.KeepAwake(true)
	p.holds(1, 1)
	a.end()
	p.holds(0, 0)
}

// An announced shutdown waits until it is let go on. Called off, the next one waits again.
func TestShutdownWaits(t *testing.T) {
	b := newBus(t)
	p, a := b.login(), b.asks()
	p.holds(1, 0)
	a.LetShutDown() // of none
	p.prepares(true)
	a.announced(true)
	p.holds(1, 0)
	a.LetShutDown()
	p.holds(0, 0)
	p.prepares(false)
	a.announced(true, false)
	p.holds(1, 0)
	p.prepares(true)
	a.announced(true, false, true)
	p.holds(1, 0)
	a.LetShutDown()
	p.holds(0, 0)
}

// Whoever is on the bus can say that the host shuts down. The login manager is asked.
func TestForgedAnnouncement(t *testing.T) {
	b := newBus(t)
	p, a := b.login(), b.asks()
	p.holds(1, 0)
	stranger, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 3 {
		if err := stranger.Emit("/org/freedesktop/login1", managerInterface+".PrepareForShutdown", true); err != nil {
			t.Fatal(err)
		}
	}
	p.prepares(true) // and this one is true
	a.announced(true)
}

// What is refused is told with its reason, and what is granted beside it holds.
func TestRefused(t *testing.T) {
	b := newBus(t)
	p := b.login()
	a := b.asks()
	p.holds(1, 0)
	p.mu.Lock()
	p.refuses = true
	p.mu.Unlock()
	a.KeepAwake(true)
	a.told(State{Delays: true, Longest: seven, Why: "the login manager (systemd-logind) refuses a lock (sleep, block): Permission denied"})
	p.holds(1, 0)
}

// The login manager comes late, ends and comes back: it is asked each time.
func TestLoginManagerComesAndGoes(t *testing.T) {
	b := newBus(t)
	a := b.asks()
	a.KeepAwake(true)
	a.told(State{Why: "the login manager (systemd-logind) does not answer"})
	p := b.login()
	p.holds(1, 1)
	a.told(State{Delays: true, Blocks: true, Longest: seven})
	p.conn.Close()
	a.told(State{Why: "the login manager (systemd-logind) has ended"})
	again := b.login()
	again.holds(1, 1)
	p.holds(0, 0) // those of the former one are let go once there are others
	a.told(State{Delays: true, Blocks: true, Longest: seven})
}

// The bus itself is started anew. Meanwhile a shutdown was announced that is heard of late.
func TestBusIsRestarted(t *testing.T) {
	b := newBus(t)
	p, a := b.login(), b.asks()
	p.holds(1, 0)
	b.end()
	a.told(State{Why: "the system bus"})
	p.holds(1, 0) // it might still be good for something
	b.start()
	again := b.login()
	again.prepares(true)
	a.announced(true)
	p.holds(1, 0)
	a.LetShutDown()
	p.holds(0, 0)
	again.prepares(false)
	again.holds(1, 0)
}

// A login manager that does not answer holds nobody up, and what it grants too late
// is not kept unknown.
func TestLoginManagerHangs(t *testing.T) {
	b := newBus(t)
	p := b.login()
	p.mu.Lock()
	p.silent = make(chan struct{})
	p.mu.Unlock()
	a := b.asks()
	a.told(State{Why: "the login manager (systemd-logind) does not answer: no lock (shutdown, delay)"})
	p.mu.Lock()
	close(p.silent)
	p.silent = nil
	p.mu.Unlock()
	a.told(State{Delays: true, Longest: seven})
	p.holds(1, 0)
}

// Without a bus the reason says so, and the end is not waited for.
func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/nobody")
	a := (&bus{T: t}).asks()
	a.told(State{Why: "the system bus (D-Bus) can't be reached"})
	a.KeepAwake(true)
	a.LetShutDown()
	a.end()
}
