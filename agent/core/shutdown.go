package core

import (
	"fmt"
	"math"
	"slices"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// When the host shuts down, its machines end with it: nothing is left in custody.
// Each is stopped in its own time and given up, with the reason "host shutdown",
// so that the master has it started elsewhere, or not, as its policy says.

// shuttingDown reports whether the agent stops because its host does.
func (c *Core) shuttingDown() bool {
	return c.leaving != nil && c.leaving.Why.By == datastorehb.LeftByShutdown && !c.leaving.AtOnce
}

// longestStop is the longest time that a machine of this host may take to stop.
func (c *Core) longestStop() (longest time.Duration) {
	for _, m := range c.machines {
		longest = max(longest, m.entry.Policy.StopTime)
	}
	return longest
}

// giveUpAll stops what runs, and releases what doesn't and is this host's.
func (c *Core) giveUpAll() {
	if !c.shuttingDown() {
		return
	}
	const why = "the host shuts down"
	for _, m := range slices.Clone(c.machines) {
		switch {
		case m.begun():
			c.failStart(m, why)
		case m.phase == phaseRun && !m.frozen && c.mayRun(m):
			c.stop(m, poweron.HostShutdown, why, true)
		case m.phase == phaseSpot, m.phase == phasePublish && !m.busy, m.phase == phaseRecheck && !m.busy:
			c.release(m, poweron.HostShutdown, why)
		}
	}
}

// notGivenUp names the machines that this host still has. It is worth waiting for
// those that it has a right to.
func (c *Core) notGivenUp() (missing []string, hope bool) {
	for _, m := range c.machines {
		missing = append(missing, fmt.Sprintf("%s is %s", firstName(m), m.phase))
		hope = hope || m.home.held(c.now) || m.phase == phasePutDown
	}
	return missing, hope
}

// keeping says where a machine stands that its host has given up since it shuts down.
type keeping struct {
	host  datastorehb.HostID  // that it is kept for, 0 if it may start anywhere
	until datastorehb.Instant // it starts elsewhere from then on
	back  bool                // that host is there again: it starts there
}

// off reports whether the machine is not to be started by anybody for now.
func (k keeping) off() bool { return k.host != 0 && !k.back }

// keeping tells it of a machine. Each host measures by its own clock from when it
// first heard of the release, so a new master, or one that starts anew, may
// wait for longer than the machine's policy says, and never for less. None of it is a
// right: whoever thinks otherwise wins the next generation, or does not (R8).
func (c *Core) keeping(f *footing, i *info) keeping {
	host, long := poweron.Kept(i.Entry, i.newest())
	k := keeping{host: host, until: i.since.Add(long)}
	if long == poweron.ForGood {
		k.until = math.MaxInt64
	}
	gone := c.record.acting != nil && c.recordMember(host) == nil // it was removed and does not come back
	if host == 0 || c.now >= k.until || gone {
		return keeping{}
	}
	k.back = c.backSince(f, i, host)
	return k
}

// backSince reports whether a host is there again that gave a machine up because
// it was to shut down: another run of its agent is heard, or the same one, whose slot
// says no more that it leaves.
func (c *Core) backSince(f *footing, i *info, h datastorehb.HostID) bool {
	if h == c.cfg.Self.Host {
		return c.leaving == nil
	}
	p, known := c.net.peers.LastPacket(h)
	if !known || !c.heard(h) {
		return false
	}
	run, w := i.GenerationBy.Incarnation, f.watches.of(h)
	seen := w != nil && w.slot.State == datastorehb.Valid
	if run == 0 && seen { // It was told by message; whoever released had its slot here.
		run = w.slot.Slot.Incarnation
	}
	if p.From.Incarnation != run {
		return run != 0
	}
	return seen && w.slot.Slot.Incarnation == run && w.slot.Slot.Leave.By == 0 && f.readBack.Sub(i.since) > c.interval()
}

// keptWords says what a machine that is kept waits for.
func (c *Core) keptWords(i *info, k keeping) string {
	host, name := c.HostName(k.host), i.Entry.Name
	switch {
	case k.until == math.MaxInt64 && k.back:
		return fmt.Sprintf("%s, which was shut down, is back: it starts there; `storebeat vm start %s` has it started anywhere", host, name)
	case k.until == math.MaxInt64:
		return fmt.Sprintf("left off, since %s was shut down, until that host is back; `storebeat vm start %s` has it started elsewhere", host, name)
	case k.back:
		return fmt.Sprintf("%s, which was shut down, is back: it starts there, and elsewhere if that does not come about within %v", host, k.until.Sub(c.now).Round(time.Second))
	}
	return fmt.Sprintf("%s was shut down: it waits for that host for %v more, then starts elsewhere; `storebeat vm start %s` does not wait", host, k.until.Sub(c.now).Round(time.Second), name)
}

func firstName(m *machine) string {
	if m.entry.Name != "" {
		return m.entry.Name
	}
	return m.vm.String()
}
