package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/agent/clock"
	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// DefaultFreeze is F where the options don't say otherwise.
const DefaultFreeze = 500 * time.Millisecond

// Options say how a guard works.
type Options struct {
	Socket   string        // path of the unix socket; a lock file is put beside it
	Watchdog string        // device to feed, such as /dev/watchdog; "" for none
	Freeze   time.Duration // F: within which everything is to be frozen; 0 for DefaultFreeze
	Log      hclog.Logger  // nil for none; may block, lines are dropped then

	// Lease and Takeover are those of the cluster: the watchdog resets this computer
	// before others may start its machines. 0: the device keeps its own time.
	Lease, Takeover time.Duration

	// Machines, if set, finds the machine processes that are there already. A
	// guard that starts has inherited nothing: it freezes them all before it
	// answers anybody (R11), though no agent may be there to tell it of them.
	Machines func(ctx context.Context) ([]freeze.Handle, error)

	// Manager, if set, is asked when the guard is told to end: if it starts another one
	// at once, that one gets all that this one has, and nothing is frozen.
	Manager Manager

	// Ready, if set, is called once, when the guard answers. It must not block.
	Ready func()

	// Ordinary leaves memory unlocked and priority as it is: for a guard that
	// shares its process with something else, as in a test.
	Ordinary bool
}

// server is the running guard. One goroutine, in loop, owns everything here.
type server struct {
	options  Options
	self     freeze.Handle
	now      func() datastorehb.Instant
	log      *quietLog
	keeper   *Keeper
	watchdog *watchdog
	agent    *connection // the newest one that said hello, nil for none
	agentRun uint64      // its incarnation
	clients  map[*connection]bool
	calls    chan call
	accepted chan *net.UnixConn
	stopped  chan struct{}
	troubled map[string]datastorehb.Instant // complaint → when it was last made

	// For the upgrade to another program.
	binary       string // that was executed, and will be
	listener     *net.UnixListener
	lock         *os.File
	asking       bool
	asked        chan error    // whether the new program could take over
	acceptPaused chan struct{} // the listener stands still, by a deadline in the past
	acceptGoOn   chan struct{}

	ending chan bool // whether the guard that is told to end is being restarted
}

// Serve runs a guard until the context ends or the process gets SIGTERM or
// SIGINT; then it freezes every machine and returns. It returns nil only if all
// were seen frozen.
func Serve(ctx context.Context, options Options) error {
	s, err := newServer(options)
	if err != nil {
		return err
	}
	return s.serve(ctx)
}

func (s *server) serve(ctx context.Context) error {
	ctx, release := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer release()
	// A log that nobody reads must not end the guard.
	signal.Ignore(unix.SIGPIPE)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	defer signal.Stop(hangup)
	s.log = newQuietLog(s.options.Log)
	defer s.log.close()
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.lock.Close()
	defer s.listener.Close()
	go s.accept()
	s.log.say(hclog.Info, "guard is ready", "socket", s.options.Socket, "watchdog", s.options.Watchdog, "freeze", s.options.Freeze)
	if s.options.Ready != nil {
		s.options.Ready()
	}
	if s.loop(ctx, hangup) {
		return nil
	}
	return s.stop()
}

// begin takes over from the program before, or begins with nothing.
func (s *server) begin(ctx context.Context) error {
	st, err := inherited()
	if err == nil && st == nil {
		st, err = s.kept()
	}
	if err == nil && st != nil {
		err = s.inherit(st)
	}
	if err != nil {
		// What ran under the guard before may run on without a right to: everything is
		// frozen that can be found, and whoever starts guards starts another.
		s.freezeStrays(ctx)
		return fmt.Errorf("the guard before left what can't be taken over, and every machine that was found is frozen: %w", err)
	}
	if st == nil {
		if s.listener, s.lock, err = listen(s.options.Socket); err != nil {
			return err
		}
		if s.watchdog, err = openWatchdog(s.options.Watchdog); err != nil {
			return errors.Join(err, s.listener.Close(), s.lock.Close())
		}
	}
	if err := s.watchdog.limit(s.options.Lease, s.options.Takeover); err != nil {
		s.complain("the watchdog is too slow", "device", s.options.Watchdog, "error", err)
	}
	if !s.options.Ordinary {
		harden(s.log)
	}
	if st == nil {
		s.freezeStrays(ctx)
	}
	return nil
}

// straysTime is how long a starting guard tries to see everything frozen before
// it goes on: an agent that comes makes it hold them all the same.
const straysTime = 5 * time.Second

// freezeStrays freezes what ran without a guard.
func (s *server) freezeStrays(ctx context.Context) {
	if s.options.Machines == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, straysTime)
	defer cancel()
	strays, err := s.options.Machines(ctx) // what could be found, even with an error
	if err != nil {
		s.log.say(hclog.Error, "can't find every machine of this host", "error", err)
	}
	if err := FreezeAll(ctx, strays); err != nil {
		s.log.say(hclog.Error, "can't freeze every machine that ran without a guard", "error", err)
	}
	s.log.say(hclog.Info, "machines that were there are frozen", "machines", len(strays))
}

func newServer(options Options) (*server, error) {
	if options.Freeze == 0 {
		options.Freeze = DefaultFreeze
	}
	if options.Freeze < 10*time.Millisecond {
		return nil, fmt.Errorf("freeze time %v is too short for any guard; at least 10ms", options.Freeze)
	}
	self, err := freeze.Of(os.Getpid(), "")
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable() // as it was at the start: its file may be replaced
	if err != nil {
		return nil, fmt.Errorf("find the guard's own program: %w", err)
	}
	return &server{
		options: options, self: self, now: clock.Now, keeper: NewKeeper(options.Freeze, DefaultAbandon),
		clients: map[*connection]bool{}, calls: make(chan call), accepted: make(chan *net.UnixConn),
		stopped: make(chan struct{}), troubled: map[string]datastorehb.Instant{},
		binary: binary, asked: make(chan error), acceptPaused: make(chan struct{}), acceptGoOn: make(chan struct{}),
		ending: make(chan bool, 1),
	}, nil
}

// accept hands new connections to the loop.
func (s *server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.acceptPaused <- struct{}{}
			<-s.acceptGoOn
			continue
		}
		if err != nil {
			// Out of descriptors, most likely; try again when some may be free.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case s.accepted <- conn:
		case <-s.stopped:
			conn.Close()
			return
		}
	}
}

// loop does what is due before anything else, each time round. It reports whether
// the next guard has all that this one had.
func (s *server) loop(ctx context.Context, hangup <-chan os.Signal) (restarted bool) {
	told := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.turn()
		timer.Reset(s.idle())
		select {
		case <-told:
			told = nil
			s.end()
		case restarts := <-s.ending:
			if !restarts {
				return false
			}
			err := s.leave()
			if err != nil {
				s.log.say(hclog.Error, "the guard is restarted and can't leave what it knows to the next one", "error", err)
			}
			return err == nil
		case <-timer.C:
		case one := <-s.calls:
			s.receive(one)
		case conn := <-s.accepted:
			s.admit(conn)
		case <-hangup:
			s.upgrade(ctx)
		case err := <-s.asked:
			s.asking = false
			if err != nil {
				s.log.say(hclog.Error, "the guard is not upgraded and goes on", "error", err)
				continue
			}
			s.handOver()
		}
	}
}

// idle returns how long the loop may wait. The runtime's timers stand still
// while the computer is suspended and leases don't, so while there is something
// to guard the boot-time clock is asked a few times within F.
func (s *server) idle() time.Duration {
	period := s.options.Freeze / 5
	next, any := s.keeper.Next()
	if !any && s.watchdog == nil {
		return time.Hour
	}
	if !any {
		return period
	}
	return max(0, min(next.Sub(s.now()), period))
}

// turn carries out what the Keeper orders, and tells what has happened.
func (s *server) turn() {
	s.enforce()
	s.publish()
	s.feed()
}

// enforce carries out what the Keeper orders: it issues all freezes, and only then
// looks what has come of them.
func (s *server) enforce() {
	orders := s.keeper.Tick(s.now())
	handles := make([]freeze.Handle, len(orders))
	for i, order := range orders {
		handles[i] = order.Handle
		if !order.Freeze {
			continue
		}
		if err := order.Handle.Freeze(); err != nil && !errors.Is(err, freeze.ErrGone) {
			s.complain("machine can't be frozen", "vm", order.VM, "error", err)
		}
	}
	for i, sight := range freeze.States(handles) {
		if sight.Err != nil {
			s.complain("machine can't be looked at", "vm", orders[i].VM, "error", sight.Err)
			continue
		}
		if orders[i].End && sight.State == freeze.Frozen {
			s.finish(orders[i])
		}
		s.keeper.Confirm(s.now(), orders[i].VM, sight.State)
	}
}

// finish ends a machine that was just seen frozen, unless I/O of it is under way.
func (s *server) finish(order Order) {
	if pending, err := order.Handle.IOPending(); err != nil || pending {
		s.complain("machine can't be ended", "vm", order.VM, "io_pending", pending, "error", err)
		return
	}
	switch err := order.Handle.Kill(); {
	case err == nil:
		s.keeper.Ended(s.now(), order.VM)
	case !errors.Is(err, freeze.ErrGone):
		s.complain("machine can't be ended", "vm", order.VM, "error", err)
	}
}

// publish sends the agent what has happened, and logs it.
func (s *server) publish() {
	for _, event := range s.keeper.Events() {
		if s.agent != nil {
			s.agent.send(answer{Event: &event})
		}
		level := hclog.Info
		if event.Kind == Expired || event.Kind == MachineEscaped || event.Kind == MachineAbandoned {
			level = hclog.Warn
		}
		s.log.say(level, string(event.Kind), event.pairs()...)
	}
}

// pairs returns the fields that the event has, for the log.
func (e Event) pairs() []any {
	pairs := []any{"datastore", e.Datastore, "term", e.Term}
	switch e.Kind {
	case Expired:
		return append(pairs, "machines", e.Machines)
	case Frozen:
		return append(pairs, "took", e.Took)
	case MachineFrozen:
		return append(pairs, "vm", e.VM, "took", e.Took)
	}
	return append(pairs, "vm", e.VM)
}

// feed feeds the watchdog while everything is proven or frozen. Whatever keeps
// the loop from coming here is a reason not to feed it.
func (s *server) feed() {
	if s.watchdog == nil {
		return
	}
	now := s.now()
	if !s.keeper.Safe(now.Add(s.watchdog.ahead)) {
		return
	}
	if err := s.watchdog.feed(now, s.options.Freeze/5); err != nil {
		s.complain("watchdog can't be fed", "device", s.options.Watchdog, "error", err)
	}
}

// complain logs a trouble, the same one at most once a second.
func (s *server) complain(message string, args ...any) {
	key := fmt.Sprint(message, args)
	now := s.now()
	if last, ok := s.troubled[key]; ok && now.Sub(last) < time.Second {
		return
	}
	if len(s.troubled) > 1000 {
		clear(s.troubled)
	}
	s.troubled[key] = now
	s.log.say(hclog.Error, message, args...)
}

// stop freezes everything and waits until it is seen so, for twice F at most.
// The watchdog is disarmed only if it is.
func (s *server) stop() error {
	close(s.stopped)
	s.keeper.FreezeAll(s.now())
	deadline := s.now().Add(2 * s.options.Freeze)
	for s.turn(); !s.keeper.AllStopped() && s.now() < deadline; s.turn() {
		time.Sleep(confirmPeriod)
	}
	for c := range s.clients {
		c.leave()
	}
	if !s.keeper.AllStopped() {
		return fmt.Errorf("guard ends while machines are not seen frozen after %v: %v", 2*s.options.Freeze, s.running())
	}
	s.log.say(hclog.Info, "guard ends; every machine is frozen", "machines", len(s.keeper.machines))
	return s.watchdog.disarm()
}

func (s *server) running() []string {
	var names []string
	for _, m := range s.keeper.Inventory(s.now()).Machines {
		if m.State == freeze.Running || m.State == freeze.Freezing {
			names = append(names, fmt.Sprintf("%v (%v)", m.VM, m.Handle))
		}
	}
	return names
}
