package faults

import (
	"slices"
	"testing"
	"time"

	"storebeat/poweron"
	"storebeat/test/lab"
)

// TestLinkDown pulls a host's network cable. Its storage is well, so it knows that
// nobody takes its machines; it does with each what the machine's policy says.
func TestLinkDown(t *testing.T) {
	for _, c := range []struct {
		response poweron.IsolationResponse
		moves    bool
	}{
		{poweron.Leave, false},
		{poweron.ShutDown, true}, // the guest is deaf, so it is switched off in the end
		{poweron.PowerOff, true},
	} {
		t.Run(string(c.response), func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 3, func(p *poweron.Policy) { p.Isolation, p.StopTime = c.response, 2*time.Second })
			_, others := r.master()
			h := others[0]
			its, want := r.on(h), r.Starts()
			if c.moves {
				want = want.And(its)
			}
			r.Do(h.LinkDown())
			r.awaitEvent("isolated", h)
			if c.moves {
				r.AwaitStarts(want)
			} else {
				r.AwaitCounts(80, r.Machines...) // longer than a takeover takes
			}
			r.ExpectStarts(want)
			r.Do(h.LinkUp())
			r.awaitEvent("isolation-ended", h)
			r.awaitWhole()
			r.AwaitCounts(10, r.Machines...)
			r.ExpectStarts(want)
		})
	}
}

// TestNetworkHalves cuts the network in two while storage is well. Each half has a
// master, nobody is taken for dead, and no machine notices.
func TestNetworkHalves(t *testing.T) {
	r := newTrial(t, lab.Options{Hosts: 4}, 4)
	want := r.Starts()
	r.Network.Partition(r.Hosts[:2], r.Hosts[2:])
	for _, half := range [][]*lab.Host{r.Hosts[:2], r.Hosts[2:]} {
		r.Await("a master in each half", func() (bool, string) {
			for _, h := range half {
				v, err := h.View(r.ctx, true)
				if err == nil && v.Leading {
					return true, ""
				}
			}
			return false, "neither host leads"
		})
	}
	r.AwaitCounts(90, r.Machines...)
	r.refuse(restarts...)
	r.Network.Heal()
	r.awaitWhole()
	r.ExpectStarts(want)
}

// TestHalvesAndHostOff cuts the network in two and then switches a host off. Its
// machines are started once, though two masters see them lost.
func TestHalvesAndHostOff(t *testing.T) {
	r := newTrial(t, lab.Options{Hosts: 5}, 4)
	newest, _ := r.Watch.Newest(r.Machines[0])
	victim, err := r.Host(newest.Host)
	r.Do(err)
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *lab.Host) bool { return h == victim })
	want := r.Starts().And(r.on(victim))
	r.Network.Partition(rest[:2], rest[2:])
	r.Do(victim.PowerOff())
	r.AwaitStarts(want)
	r.AwaitCounts(40, r.Machines...)
	r.ExpectStarts(want)
	r.Network.Heal()
	r.awaitWhole()
	r.ExpectStarts(want)
}

// TestOneDeaf loses all packets to one host, and none from it.
func TestOneDeaf(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	want := r.Starts()
	_, others := r.master()
	for _, h := range r.Hosts {
		r.Network.Cut(h, others[0])
	}
	r.AwaitCounts(90, r.Machines...)
	r.refuse(restarts...)
	r.Network.Heal()
	r.awaitWhole()
	r.ExpectStarts(want)
}

// TestBadCable loses a third of one host's packets and delays the rest, for many
// times the takeover time.
func TestBadCable(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	want := r.Starts()
	master, others := r.master()
	r.Do(r.Network.Impair(others[0], lab.Line{Loss: 0.3, Delay: 40 * time.Millisecond}))
	r.AwaitCounts(100, r.Machines...)
	r.Network.Heal()
	r.Do(r.Network.Impair(master, lab.Line{Loss: 0.3, Delay: 40 * time.Millisecond}))
	r.AwaitCounts(100, r.Machines...)
	r.Network.Heal()
	r.awaitWhole()
	r.refuse(restarts...)
	r.ExpectStarts(want)
}

// TestFlappingLink pulls a cable and puts it back again and again for two minutes, at
// paces that meet every state on the way to a verdict.
func TestFlappingLink(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	want := r.Starts()
	master, others := r.master()
	for i, began := 0, time.Now(); time.Since(began) < 2*time.Minute; i = (i + 1) % 16 {
		h := []*lab.Host{others[0], master}[i%2]
		r.Do(h.LinkDown())
		r.AwaitCounts(uint64(2+2*i), r.Machines...)
		r.Do(h.LinkUp())
		r.AwaitCounts(uint64(2+i), r.Machines...)
	}
	r.awaitWhole()
	r.refuse(restarts...)
	r.ExpectStarts(want)
}
