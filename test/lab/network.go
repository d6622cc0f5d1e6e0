package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	network        = "10.98.0" // of every lab: no packet leaves one
	gatewayAddress = network + ".254"
	gateway        = 254 // the port of the gateway, which answers pings
	maxFrame       = 64 << 10
)

// Network is the switch that joins the hosts of a lab, and a gateway that does
// nothing but answer pings.
type Network struct {
	mu     sync.Mutex
	ports  map[int]*os.File // by host; a frame that is written to one reaches the host
	pulled map[int]bool     // cables
	cuts   map[way]bool
	lines  map[int]Line
	quiet  bool // the gateway does not answer
}

// way is a direction through the switch.
type way struct{ from, to int }

// Line is what a host's cable does to each frame, in either direction.
type Line struct {
	Loss  float64       // the share that is lost, 0 to 1
	Delay time.Duration // of each
}

func newNetwork() *Network {
	return &Network{ports: map[int]*os.File{}, pulled: map[int]bool{}, cuts: map[way]bool{}, lines: map[int]Line{}}
}

// macOf is the hardware address of a host, by which the switch knows it.
func macOf(id int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x5b, 0, 0, byte(id >> 8), byte(id)}
}

func (n *Network) plugIn(id int, device *os.File) error {
	// The file that came over the socket knows nothing of the poller yet.
	fd, err := unix.FcntlInt(device.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	device.Close()
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	port := os.NewFile(uintptr(fd), fmt.Sprintf("port %d", id))
	n.mu.Lock()
	n.ports[id], n.pulled[id] = port, false
	n.mu.Unlock()
	go n.receive(id, port)
	return nil
}

func (n *Network) unplug(id int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if port := n.ports[id]; port != nil {
		port.Close()
		delete(n.ports, id)
	}
}

// receive takes frames from a host until it is unplugged.
func (n *Network) receive(id int, port *os.File) {
	for {
		frame := make([]byte, 2048)
		length, err := port.Read(frame)
		if err != nil {
			return
		}
		n.forward(id, frame[:length])
	}
}

// forward sends a frame to whom it is for: one host, the gateway, or all.
func (n *Network) forward(from int, frame []byte) {
	if len(frame) < 14 {
		return
	}
	if frame[0]&1 == 0 {
		n.send(from, int(frame[4])<<8|int(frame[5]), frame)
		return
	}
	n.mu.Lock()
	to := []int{gateway}
	for id := range n.ports {
		to = append(to, id)
	}
	n.mu.Unlock()
	for _, id := range to {
		n.send(from, id, frame)
	}
}

// send carries a frame over both lines, as far as they let it.
func (n *Network) send(from, to int, frame []byte) {
	n.mu.Lock()
	a, b := n.lines[from], n.lines[to]
	lost := from == to || n.pulled[from] || n.pulled[to] || n.cuts[way{from, to}] || rand.Float64() < a.Loss || rand.Float64() < b.Loss
	n.mu.Unlock()
	switch delay := a.Delay + b.Delay; {
	case lost:
	case delay > 0:
		time.AfterFunc(delay, func() { n.deliver(to, frame) })
	default:
		n.deliver(to, frame)
	}
}

func (n *Network) deliver(to int, frame []byte) {
	n.mu.Lock()
	port, quiet := n.ports[to], n.quiet
	n.mu.Unlock()
	if to == gateway && !quiet {
		if answer := answerOf(frame); answer != nil {
			n.forward(gateway, answer)
		}
	}
	if port != nil {
		_, _ = port.Write(frame) // what a host does not take is lost
	}
}

// Cut loses everything that goes from one host to the other, in that direction.
func (n *Network) Cut(from, to *Host) { n.cut(int(from.ID), int(to.ID)) }

func (n *Network) cut(from, to int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[way{from, to}] = true
}

// Partition cuts every way between hosts of different groups. A host that is in no
// group hears everybody. The gateway is heard by all.
func (n *Network) Partition(groups ...[]*Host) {
	for i, a := range groups {
		for j, b := range groups {
			if i == j {
				continue
			}
			for _, from := range a {
				for _, to := range b {
					n.Cut(from, to)
				}
			}
		}
	}
}

// Isolate cuts every way from and to a host; its link stays up.
func (n *Network) Isolate(h *Host) {
	for _, other := range h.lab.Hosts {
		n.Cut(h, other)
		n.Cut(other, h)
	}
	n.cut(int(h.ID), gateway)
	n.cut(gateway, int(h.ID))
}

// Impair has a host's cable lose and delay frames.
func (n *Network) Impair(h *Host, line Line) error {
	if line.Loss < 0 || line.Loss > 1 || line.Delay < 0 {
		return fmt.Errorf("loss %v, delay %v: a loss is 0 to 1, and a delay not less than nothing", line.Loss, line.Delay)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines[int(h.ID)] = line
	return nil
}

// SilenceGateway has the gateway answer no pings.
func (n *Network) SilenceGateway() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quiet = true
}

// Heal undoes everything but cables that were pulled.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts, n.lines, n.quiet = map[way]bool{}, map[int]Line{}, false
}

// carrier plugs a host's cable in or pulls it. The host's kernel sees it; it would
// still take frames that were written to its device.
func (n *Network) carrier(id int, up bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pulled[id] = !up
	port := n.ports[id]
	if port == nil {
		return fmt.Errorf("host %d is off", id)
	}
	raw, err := port.SyscallConn()
	if err != nil {
		return err
	}
	value := 0
	if up {
		value = 1
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value) }); err != nil {
		return err
	}
	return set
}
