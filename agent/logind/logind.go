// Package logind asks systemd's login manager, over the system bus, to wait at a
// shutdown until the agent has stopped its machines, and not to suspend the host
// while machines run.
//
// Both are locks in the form of open files. A lock lasts until its file is closed, so
// none outlives the agent. What bus and login manager do is never waited for: an Inhibitor tells
// what it has been granted, and goes on trying.
package logind

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// State is what the login manager grants at present.
type State struct {
	Delays  bool          // it waits at a shutdown until LetShutDown
	Longest time.Duration // and no longer than that (InhibitDelayMaxSec)
	Blocks  bool          // the host is not suspended
	Why     string        // why something that was asked for is not granted, "" if all is
}

// Options say whom to tell. Neither function may wait.
type Options struct {
	Changed   func(State) // at first, and with every change
	Preparing func(bool)  // the host is about to shut down (true), or does not do so after all
}

// Inhibitor holds the locks.
type Inhibitor struct {
	options Options
	poked   chan struct{} // a wish has changed

	mu        sync.Mutex
	awake     bool // the host is not to be suspended
	preparing bool // it is about to shut down
	released  bool // which may go on

	// Owned by Run.
	delay, block lock
	longest      time.Duration
	told         *State
}

// New returns an inhibitor that has not asked for anything yet.
func New(o Options) *Inhibitor {
	return &Inhibitor{options: o, poked: make(chan struct{}, 1),
		delay: lock{what: "shutdown", mode: "delay", why: "virtual machines are stopped first"},
		block: lock{what: "sleep", mode: "block", why: "virtual machines run here"}}
}

// KeepAwake says whether the host is not to be suspended.
func (i *Inhibitor) KeepAwake(on bool) { i.wish(func() { i.awake = on }) }

// LetShutDown lets the shutdown go on that Preparing has announced. If it is called
// off, the next one waits again.
func (i *Inhibitor) LetShutDown() { i.wish(func() { i.released = i.preparing }) }

func (i *Inhibitor) wish(set func()) {
	i.mu.Lock()
	set()
	i.mu.Unlock()
	select {
	case i.poked <- struct{}{}:
	default:
	}
}

func (i *Inhibitor) wishes() (delay, block bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.released, i.awake
}

// prepares notes whether the host is about to shut down, and reports whether that is
// news. A shutdown that was called off makes the next one wait again.
func (i *Inhibitor) prepares(preparing bool) (news bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	news, i.preparing = preparing != i.preparing, preparing
	i.released = i.released && preparing
	return news
}

// A bus or login manager that was not there is asked again after a while.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// Run asks for the locks, and again whenever the bus or the login manager has gone
// and come back, until ctx is done. Then it lets all go.
func (i *Inhibitor) Run(ctx context.Context) {
	defer i.delay.release()
	defer i.block.release()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		began := time.Now()
		err := i.session(ctx)
		if ctx.Err() != nil {
			return
		}
		i.tell(State{Why: err.Error()})
		if time.Since(began) > longestPause {
			pause = firstPause
		}
		i.rest(ctx, pause)
	}
}

// rest waits for a while. What is held still is let go when it is time.
func (i *Inhibitor) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-i.poked:
			i.letGo()
		}
	}
}

// letGo releases what is not wished for any more.
func (i *Inhibitor) letGo() {
	delay, block := i.wishes()
	if !delay {
		i.delay.release()
	}
	if !block {
		i.block.release()
	}
}

// session is one connection to the bus, and returns why it has ended.
func (i *Inhibitor) session(ctx context.Context) error {
	m, err := connect(ctx)
	if err != nil {
		return err
	}
	defer m.conn.Close()
	if err := i.begin(ctx, m); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.conn.Context().Done():
			return errors.New("the system bus has closed the connection")
		case <-i.poked:
			err = i.settle(ctx, m, false)
		case s, open := <-m.signals:
			if open {
				err = i.signalled(ctx, m, s)
			}
		}
		if err != nil {
			return err
		}
	}
}

// begin looks how things are and takes all locks anew: the login manager may have
// forgotten those that are held. During a shutdown it gives no new ones, and waits for
// those that there are.
func (i *Inhibitor) begin(ctx context.Context, m *manager) error {
	preparing, err := i.look(ctx, m)
	if err != nil {
		return err
	}
	microseconds, err := property[uint64](ctx, m, "InhibitDelayMaxUSec")
	if err != nil {
		return err
	}
	i.longest = time.Duration(min(microseconds, math.MaxInt64/1000)) * time.Microsecond
	if preparing {
		return nil
	}
	return i.settle(ctx, m, true)
}

// look finds out whether the host is about to shut down, and tells it if that is news.
func (i *Inhibitor) look(ctx context.Context, m *manager) (preparing bool, err error) {
	preparing, err = property[bool](ctx, m, "PreparingForShutdown")
	if err == nil && i.prepares(preparing) {
		i.options.Preparing(preparing)
	}
	return preparing, err
}

// settle takes and lets go what is to be, or takes all anew, and tells what has come of it.
func (i *Inhibitor) settle(ctx context.Context, m *manager, anew bool) error {
	i.letGo()
	delay, block := i.wishes()
	var refused [2]error
	if delay {
		refused[0] = i.delay.take(ctx, m, anew)
	}
	if block {
		refused[1] = i.block.take(ctx, m, anew)
	}
	err := errors.Join(refused[:]...)
	if err != nil && !m.conn.Connected() {
		return err
	}
	s := State{Delays: delay && refused[0] == nil, Blocks: block && refused[1] == nil, Longest: i.longest}
	if err != nil {
		s.Why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if delay { // else the shutdown goes on, at this inhibitor's own wish
		i.tell(s)
	}
	return nil
}

// signalled goes by what the login manager says when it is asked: a signal could come
// from anybody who is on the bus.
func (i *Inhibitor) signalled(ctx context.Context, m *manager, s *dbus.Signal) error {
	ended := s.Name == ownerChanged && len(s.Body) == 3 && s.Body[2] == ""
	switch {
	case ended:
		i.tell(State{Why: "the login manager (systemd-logind) has ended"})
	case s.Name == ownerChanged:
		return i.begin(ctx, m)
	case s.Name == managerInterface+".PrepareForShutdown":
		if preparing, err := i.look(ctx, m); err != nil || preparing {
			return err
		}
		return i.settle(ctx, m, false)
	}
	return nil
}

func (i *Inhibitor) tell(s State) {
	if i.told == nil || *i.told != s {
		i.told = &s
		i.options.Changed(s)
	}
}

// lock is one lock of the login manager, held while file is open.
type lock struct {
	what, mode, why string
	file            *os.File
}

// take takes the lock if it is not held, or anew. The former one is let go only
// when there is another.
func (l *lock) take(ctx context.Context, m *manager, anew bool) error {
	if l.file != nil && !anew {
		return nil
	}
	file, err := m.inhibit(ctx, l.what, l.mode, l.why)
	if err != nil {
		return err
	}
	l.release()
	l.file = file
	return nil
}

func (l *lock) release() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// manager is the login manager, by way of one connection to the bus.
type manager struct {
	conn    *dbus.Conn
	object  dbus.BusObject
	signals chan *dbus.Signal
}

const (
	service          = "org.freedesktop.login1"
	managerInterface = service + ".Manager"
	ownerChanged     = "org.freedesktop.DBus.NameOwnerChanged"

	// answerTime is how long bus and login manager may take to answer. The connection
	// is given up then: a lock granted later goes with it.
	answerTime = 5 * time.Second
)

// connect joins the system bus, which DBUS_SYSTEM_BUS_ADDRESS may name, and hears
// what the login manager says from then on.
func connect(ctx context.Context) (*manager, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(answerTime, cancel) // its first words are not given up otherwise
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if !late.Stop() || err != nil {
		cancel()
		if err == nil {
			conn.Close()
			err = fmt.Errorf("no answer within %v", answerTime)
		}
		return nil, fmt.Errorf("the system bus (D-Bus) can't be reached: %w", err)
	}
	context.AfterFunc(conn.Context(), cancel)
	m := &manager{conn: conn, object: conn.Object(service, "/org/freedesktop/login1"), signals: make(chan *dbus.Signal, 16)}
	conn.Signal(m.signals)
	err = errors.Join(
		conn.AddMatchSignal(dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("PrepareForShutdown")),
		conn.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service)))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("the system bus refuses to tell of shutdowns: %w", err)
	}
	return m, nil
}

func property[T any](ctx context.Context, m *manager, name string) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var v dbus.Variant
	err = m.object.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, managerInterface, name).Store(&v)
	if err == nil {
		err = v.Store(&value)
	}
	if err != nil {
		return value, fmt.Errorf("the login manager (systemd-logind) does not answer: %w", err)
	}
	return value, nil
}

// inhibit takes a lock. One that is granted too late is lost with the connection.
func (m *manager) inhibit(ctx context.Context, what, mode, why string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var fd dbus.UnixFD
	if err := m.object.CallWithContext(ctx, managerInterface+".Inhibit", 0, what, "storebeat", why, mode).Store(&fd); err != nil {
		if ctx.Err() != nil {
			m.conn.Close()
			return nil, fmt.Errorf("the login manager (systemd-logind) does not answer: no lock (%s, %s) within %v", what, mode, answerTime)
		}
		return nil, fmt.Errorf("the login manager (systemd-logind) refuses a lock (%s, %s): %w", what, mode, err)
	}
	syscall.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "lock of the login manager"), nil
}
