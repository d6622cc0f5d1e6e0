package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"storebeat/agent/control"
	"storebeat/test/lab"
)

const (
	holdCommand = "hold" // runs the holder of a lab; nobody calls it by hand
	ready       = "ready"
	socketName  = "lab.sock" // in the lab's directory
)

// The methods of the lab's socket.
const (
	methodStatus = "status" // nothing → status
	methodFault  = "fault"  // faultRequest → string
	methodEnter  = "enter"  // enterRequest → []string
	methodDown   = "down"   // nothing → nothing
)

type faultRequest struct {
	Words []string
	For   time.Duration // after which it is undone; 0: never
}

type enterRequest struct {
	Host string
	Argv []string
}

// status is what a lab is like.
type status struct {
	Dir      string          `json:"dir"`
	Hosts    []hostStatus    `json:"hosts"`
	Machines []machineStatus `json:"machines"`
	Faults   []string        `json:"faults"` // that the guests show, by the watch
}

type hostStatus struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	On      bool           `json:"on"`
	Agents  int            `json:"agents"`
	Guards  int            `json:"guards"`
	Guests  int            `json:"guests"`
	Hung    map[string]int `json:"hung"` // requests, by datastore
}

type machineStatus struct {
	Name   string        `json:"name"`
	Home   string        `json:"home"`
	Host   string        `json:"host"`
	Runs   int           `json:"runs"`
	Count  uint64        `json:"count"`
	Silent time.Duration `json:"silent"`
}

// holder keeps a lab and does what it is told.
type holder struct {
	lab  *lab.Lab
	down context.CancelFunc

	mu     sync.Mutex
	timers []*time.Timer
}

func newHold(o *upOptions) *cobra.Command {
	c := &cobra.Command{Use: holdCommand, Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return o.hold(cmd.Context())
	}}
	o.addFlags(c)
	return c
}

// hold makes the lab, says on standard output how it gets on and that it is
// ready, and serves it until it is told to go down.
func (o *upOptions) hold(ctx context.Context) error {
	l, err := lab.Build(o.lab(o.binary))
	if err != nil {
		return err
	}
	if err := o.fill(ctx, l); err != nil {
		tellLogs(os.Stderr, l)
		return errors.Join(err, l.End())
	}
	ctx, down := context.WithCancel(ctx)
	defer down()
	socket, err := control.Listen(filepath.Join(l.Dir, socketName))
	if err != nil {
		return errors.Join(err, l.End())
	}
	if err := settle(l); err != nil {
		return errors.Join(err, l.End())
	}
	h := &holder{lab: l, down: down}
	err = socket.Serve(ctx, h.api())
	h.stop()
	return errors.Join(err, l.End())
}

// settle lets go of the terminal: from here on the lab is on its own.
func settle(l *lab.Lab) error {
	log, err := os.OpenFile(filepath.Join(l.Dir, "lab.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Println(l.Dir)
	fmt.Println(ready)
	return errors.Join(unix.Dup3(int(log.Fd()), 1, 0), unix.Dup3(int(log.Fd()), 2, 0))
}

// fill starts the hosts and protects machines.
func (o *upOptions) fill(ctx context.Context, l *lab.Lab) error {
	fmt.Printf("%d hosts boot …\n", o.hosts)
	if err := l.Start(); err != nil {
		return err
	}
	if err := awaitSettled(ctx, l, 0); err != nil {
		return err
	}
	fmt.Printf("%d machines are protected and started …\n", o.machines)
	for i := range o.machines {
		m, err := l.NewMachine(fmt.Sprintf("vm%d", i+1), l.Datastores[i%len(l.Datastores)])
		if err != nil {
			return err
		}
		if err := l.Hosts[0].Protect(ctx, m); err != nil {
			return err
		}
	}
	return awaitSettled(ctx, l, o.machines)
}

// tellLogs shows the last of what each agent wrote, which is gone with the lab.
func tellLogs(out io.Writer, l *lab.Lab) {
	const enough = 10 // lines
	for _, h := range l.Hosts {
		text, err := os.ReadFile(h.Log())
		if err != nil {
			continue // it was never started
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(out, "the agent of %s wrote last:\n  %s\n", h.Name, strings.Join(lines[max(0, len(lines)-enough):], "\n  "))
	}
}

// awaitSettled waits until the cluster is whole and every guest has counted.
func awaitSettled(ctx context.Context, l *lab.Lab, machines int) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		ok, why := l.Settled(ctx, machines)
		for _, m := range l.Watch.Machines() {
			if newest, _ := l.Watch.Newest(m); newest.Count == 0 {
				ok, why = false, m.Name+" has said nothing yet"
			}
		}
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the cluster does not become whole: %s", why)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (h *holder) api() *control.Mux {
	m := control.NewMux()
	control.Handle(m, methodStatus, func(context.Context, struct{}) (status, error) { return h.status() })
	control.Handle(m, methodFault, h.fault)
	control.Handle(m, methodEnter, func(_ context.Context, in enterRequest) ([]string, error) {
		host, err := h.lab.Host(in.Host)
		if err != nil {
			return nil, control.Errorf(control.Invalid, "%v", err)
		}
		return host.Enter(in.Argv...)
	})
	control.Handle(m, methodDown, func(context.Context, struct{}) (struct{}, error) {
		h.down()
		return struct{}{}, nil
	})
	return m
}

// fault strikes the lab, and undoes it in time.
func (h *holder) fault(ctx context.Context, in faultRequest) (string, error) {
	undo, err := h.lab.Strike(ctx, in.Words...)
	if err != nil {
		return "", control.Errorf(control.Invalid, "%v", err)
	}
	switch {
	case in.For <= 0:
		return "done", nil
	case undo == nil:
		return "done; there is nothing that could be undone", nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timers = append(h.timers, time.AfterFunc(in.For, func() {
		if err := undo(); err != nil {
			fmt.Fprintf(os.Stderr, "undo %v: %v\n", in.Words, err)
		}
	}))
	return fmt.Sprintf("done; it will be undone in %v", in.For), nil
}

// stop leaves undone what is yet to be undone: the lab goes down.
func (h *holder) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.timers {
		t.Stop()
	}
}

func (h *holder) status() (status, error) {
	s := status{Dir: h.lab.Dir, Faults: h.lab.Watch.Faults()}
	for _, host := range h.lab.Hosts {
		is := hostStatus{Name: host.Name, Address: host.Address, On: host.IsOn(), Hung: map[string]int{}}
		if is.On {
			for p, n := range map[lab.Process]*int{lab.Agent: &is.Agents, lab.Guard: &is.Guards, lab.Hypervisor: &is.Guests} {
				pids, err := host.PIDs(p, nil)
				if err != nil {
					return s, err
				}
				*n = len(pids)
			}
		}
		for _, d := range h.lab.Datastores {
			if path := host.Storage(d); path != nil && path.Hung() > 0 {
				is.Hung[d.Name] = path.Hung()
			}
		}
		s.Hosts = append(s.Hosts, is)
	}
	for _, m := range h.lab.Watch.Machines() {
		newest, runs := h.lab.Watch.Newest(m)
		s.Machines = append(s.Machines, machineStatus{Name: m.Name, Home: m.Home.Name, Host: newest.Host, Runs: runs, Count: newest.Count, Silent: h.lab.Watch.Silence(m)})
	}
	return s, nil
}
