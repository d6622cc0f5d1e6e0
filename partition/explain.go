package partition

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// Explain writes the evidence about a host in sentences with figures.
func Explain(now datastorehb.Instant, e *Evidence, t *Timing) []string {
	lines := []string{e.Network.sentence(now, t)}
	if e.Network.OneWay {
		lines = append(lines, fmt.Sprintf("it has echoed none of our packets of the last %s: it seems not to hear this host", seconds(t.Echo)))
	}
	if e.Network.Leaving {
		lines = append(lines, "its last packet said that it stops in good order")
	}
	if e.Network.Maintenance {
		lines = append(lines, "its last packet said that it is in maintenance")
	}
	if e.Network.Isolated {
		lines = append(lines, "its last packet said that it holds itself for isolated")
	}
	for i := range e.Datastores {
		lines = e.Datastores[i].sentences(lines, now, t)
	}
	return append(lines, e.Ping.sentence(now, t))
}

func (n *Network) sentence(now datastorehb.Instant, t *Timing) string {
	switch {
	case !n.Heard:
		return fmt.Sprintf("never heard on the network in %s of listening (%s are needed to call it silent)", seconds(n.Silence), seconds(t.Heard))
	case n.Silence < t.Heard && now.Sub(n.LastFresh) >= t.Heard:
		return fmt.Sprintf("last heard on the network %s ago, but this host itself was away: it listens again for only %s of %s",
			seconds(now.Sub(n.LastFresh)), seconds(n.Silence), seconds(t.Heard))
	case n.Silence < t.Heard:
		return fmt.Sprintf("heard on the network %s ago (%s count as heard)", seconds(now.Sub(n.LastFresh)), seconds(t.Heard))
	}
	return fmt.Sprintf("last heard on the network %s ago, silent for %s of listening (%s count as heard)",
		seconds(now.Sub(n.LastFresh)), seconds(n.Silence), seconds(t.Heard))
}

func (d *DatastoreEvidence) label() string {
	if d.Name != "" {
		return "datastore " + d.Name
	}
	return "datastore " + d.Datastore.String()
}

func (d *DatastoreEvidence) sentences(lines []string, now datastorehb.Instant, t *Timing) []string {
	if d.Writes {
		lines = append(lines, d.label()+": "+d.slotSentence(now, t))
	}
	if d.Vouched && now.Sub(d.VouchedAt) < t.DiskAlive {
		lines = append(lines, fmt.Sprintf("%s: another host vouched for it %s ago", d.label(), seconds(now.Sub(d.VouchedAt))))
	}
	if d.Leave.By != 0 {
		lines = append(lines, fmt.Sprintf("%s: its agent was stopped by %s", d.label(), d.Leave))
	}
	if d.Custody {
		lines = append(lines, d.label()+": it left its machines there in custody")
	}
	if d.Isolated {
		lines = append(lines, d.label()+": it has set its isolated flag")
	}
	if d.Access == Inaccessible {
		lines = append(lines, d.label()+": the host itself says that it can't reach it")
	}
	return lines
}

func (d *DatastoreEvidence) slotSentence(now datastorehb.Instant, t *Timing) string {
	switch {
	case d.Slot == datastorehb.Unreadable && d.ReadSince == 0:
		return "has not been read yet; nothing follows from that"
	case d.Slot == datastorehb.Unreadable:
		return fmt.Sprintf("could not be read for %s (%s); nothing follows from that", seconds(now.Sub(d.ReadSince)), orUnknown(d.Why))
	case d.unknown():
		return fmt.Sprintf("its slot, last seen to change %s ago, has vanished", seconds(now.Sub(d.ChangedAt)))
	case d.Slot == datastorehb.Absent:
		return "holds no slot of it"
	}
	text := "slot unchanged"
	switch {
	case d.Slot == datastorehb.Corrupt:
		text = "slot corrupt and unchanged"
	case d.Changed && d.SlotSilence < t.DiskAlive:
		return fmt.Sprintf("slot changed %s ago", seconds(now.Sub(d.ChangedAt)))
	}
	return fmt.Sprintf("%s for %s of good reads, without vouch or change for %s (%s are needed to call it silent)",
		text, seconds(d.SlotSilence), seconds(d.Silence), seconds(t.DiskSilent))
}

func (p Ping) sentence(now datastorehb.Instant, t *Timing) string {
	switch {
	case !p.Asked:
		return "it was not pinged"
	case p.AnsweredWithin(now, t.Answered):
		return fmt.Sprintf("answered a ping %s ago", seconds(now.Sub(p.Last)))
	case p.Answered:
		return fmt.Sprintf("last answered a ping %s ago, none of those of the last %s", seconds(now.Sub(p.Last)), seconds(p.Unanswering(now)))
	}
	return fmt.Sprintf("has answered no ping for %s", seconds(p.Unanswering(now)))
}

func orUnknown(why string) string {
	if why == "" {
		return "no reason known"
	}
	return why
}

// seconds prints a duration to a hundredth of a second.
func seconds(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
