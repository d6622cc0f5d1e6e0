package partition

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

const judged = datastorehb.Instant(100 * time.Second)

// The building blocks of evidence: each test says only what matters to it.

func heardAgo(ago time.Duration) Network {
	return Network{Heard: true, LastFresh: judged.Add(-ago), Silence: ago}
}

func silentFor(n byte, silence time.Duration) DatastoreEvidence {
	return DatastoreEvidence{Datastore: uuidOf(n), Name: "ds" + string('0'+rune(n)), Writes: true, Access: Accessible,
		Slot: datastorehb.Valid, Changed: true, ChangedAt: judged.Add(-silence), SlotSilence: silence, Silence: silence}
}

func (d DatastoreEvidence) with(change func(*DatastoreEvidence)) DatastoreEvidence {
	change(&d)
	return d
}

func unreadable(d *DatastoreEvidence) {
	d.Slot, d.Why, d.ReadSince, d.Silence, d.SlotSilence = datastorehb.Unreadable, "input/output error", judged.Add(-3*time.Second), 0, 0
}

func absent(d *DatastoreEvidence) {
	d.Slot, d.Changed, d.ChangedAt = datastorehb.Absent, false, 0
}

func left(d *DatastoreEvidence) { d.Leave = datastorehb.Leave{By: datastorehb.LeftBySystemd} }

func inCustody(d *DatastoreEvidence) {
	left(d)
	d.Custody = true
}

func answered(ago time.Duration) Ping {
	return Ping{Asked: true, LastAsk: judged, Answered: true, Last: judged.Add(-ago)}
}

func TestJudge(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	unanswered := Ping{Asked: true, LastAsk: judged, Open: true, Waiting: judged.Add(-4 * s)}
	tests := []struct {
		name     string
		network  Network
		ping     Ping
		disks    []DatastoreEvidence
		state    State
		rule     string
		lost     []uuid.UUID
		evidence string // one of the sentences
	}{
		{"heard and writing", heardAgo(s), Ping{}, []DatastoreEvidence{silentFor(1, s), silentFor(2, s)},
			Live, RuleHeard, nil, "heard on the network 1s ago (2.5s count as heard)"},
		{"heard just in time", heardAgo(2500*ms - 1), Ping{}, nil,
			Live, RuleHeard, nil, "it was not pinged"},
		{"heard on a one-way path", Network{Heard: true, LastFresh: judged, OneWay: true}, Ping{}, []DatastoreEvidence{silentFor(1, s)},
			Live, RuleHeard, nil, "it has echoed none of our packets of the last 2.5s: it seems not to hear this host"},
		{"heard, datastore unreadable for us", heardAgo(s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(unreadable)},
			Live, RuleHeard, nil, "datastore ds1: could not be read for 3s (input/output error); nothing follows from that"},
		{"heard, in maintenance", Network{Heard: true, LastFresh: judged, Maintenance: true}, Ping{}, []DatastoreEvidence{silentFor(1, s)},
			Maintenance, RuleMaintenance, nil, "its last packet said that it is in maintenance"},
		{"heard, in maintenance without a datastore", Network{Heard: true, LastFresh: judged, Maintenance: true}, Ping{},
			[]DatastoreEvidence{silentFor(1, s).with(func(d *DatastoreEvidence) { d.Access = Inaccessible })},
			Maintenance, RuleMaintenance, []uuid.UUID{uuidOf(1)}, "datastore ds1: the host itself says that it can't reach it"},
		{"heard, reports one datastore inaccessible", heardAgo(s), Ping{},
			[]DatastoreEvidence{silentFor(1, s), silentFor(2, s).with(func(d *DatastoreEvidence) { d.Access = Inaccessible })},
			StorageLost, RuleStorageLost, []uuid.UUID{uuidOf(2)}, "datastore ds2: the host itself says that it can't reach it"},
		{"heard, reports a datastore inaccessible where it writes nothing", heardAgo(s), Ping{},
			[]DatastoreEvidence{{Datastore: uuidOf(4), Access: Inaccessible}},
			StorageLost, RuleStorageLost, []uuid.UUID{uuidOf(4)}, "datastore 04000000-0000-4000-8000-000000000004: the host itself says that it can't reach it"},
		{"heard, slot silent for a lease", heardAgo(s), Ping{}, []DatastoreEvidence{silentFor(1, s), silentFor(2, 4*s)},
			StorageLost, RuleStorageLost, []uuid.UUID{uuidOf(2)}, "datastore ds2: slot unchanged for 4s of good reads, without vouch or change for 4s (5s are needed to call it silent)"},
		{"heard, slot silent but vouched for", heardAgo(s), Ping{},
			[]DatastoreEvidence{silentFor(1, 9*s).with(func(d *DatastoreEvidence) { d.Silence, d.Vouched, d.VouchedAt = 0, true, judged.Add(-s) })},
			StorageLost, RuleStorageLost, []uuid.UUID{uuidOf(1)}, "datastore ds1: another host vouched for it 1s ago"},
		{"heard, slot silent for less than a lease", heardAgo(s), Ping{}, []DatastoreEvidence{silentFor(1, 4*s-1)},
			Live, RuleHeard, nil, "heard on the network 1s ago (2.5s count as heard)"},

		{"not heard, alive on one of two", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, 20*s), silentFor(2, s)},
			Partitioned, RulePartitioned, []uuid.UUID{uuidOf(1)}, "datastore ds2: slot changed 1s ago"},
		{"not heard, alive on one, the other unreadable", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(unreadable), silentFor(2, s)},
			Partitioned, RulePartitioned, nil, "last heard on the network 3s ago, silent for 3s of listening (2.5s count as heard)"},
		{"not heard, vouched for by a third host", heardAgo(3 * s), Ping{},
			[]DatastoreEvidence{silentFor(1, 3*s).with(func(d *DatastoreEvidence) { d.Silence, d.Vouched, d.VouchedAt = 0, true, judged.Add(-s) })},
			Partitioned, RulePartitioned, nil, "datastore ds1: another host vouched for it 1s ago"},
		{"never heard, alive on disk at once", Network{Silence: s}, Ping{}, []DatastoreEvidence{silentFor(1, s)},
			Partitioned, RulePartitioned, nil, "never heard on the network in 1s of listening (2.5s are needed to call it silent)"},
		{"not heard, alive and flagged", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(func(d *DatastoreEvidence) { d.Isolated = true })},
			Isolated, RuleIsolated, nil, "datastore ds1: it has set its isolated flag"},
		{"flagged on a datastore where it writes no slot", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s), {Datastore: uuidOf(2), Slot: datastorehb.Absent, Isolated: true}},
			Isolated, RuleIsolated, nil, "datastore 02000000-0000-4000-8000-000000000002: it has set its isolated flag"},
		{"flagged but dead since", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 9*s).with(func(d *DatastoreEvidence) { d.Isolated = true })},
			Dead, RuleDead, nil, "datastore ds1: it has set its isolated flag"},

		{"network only just listened to", Network{Silence: s}, Ping{}, []DatastoreEvidence{silentFor(1, 9*s)},
			Undetermined, RuleListening, nil, "never heard on the network in 1s of listening (2.5s are needed to call it silent)"},
		{"this host was away", Network{Heard: true, LastFresh: judged.Add(-30 * s), Silence: s}, Ping{}, []DatastoreEvidence{silentFor(1, s)},
			Live, RuleHeard, nil, "last heard on the network 30s ago, but this host itself was away: it listens again for only 1s of 2.5s"},
		{"one silent, one unreadable", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 9*s), silentFor(2, 9*s).with(unreadable)},
			Undetermined, RuleUnreadable, nil, "datastore ds2: could not be read for 3s (input/output error); nothing follows from that"},
		{"nothing readable", heardAgo(9 * s), answered(0), []DatastoreEvidence{silentFor(1, 9*s).with(unreadable)},
			Undetermined, RuleUnreadable, nil, "answered a ping 0s ago"},
		{"unreadable, but it writes nothing there", heardAgo(9 * s), unanswered,
			[]DatastoreEvidence{silentFor(1, 9*s), silentFor(2, 0).with(unreadable).with(func(d *DatastoreEvidence) { d.Writes, d.Changed = false, false })},
			Dead, RuleDead, nil, "has answered no ping for 4s"},
		{"slot vanished", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 9*s).with(func(d *DatastoreEvidence) { d.Slot = datastorehb.Absent })},
			Undetermined, RuleUnreadable, nil, "datastore ds1: its slot, last seen to change 9s ago, has vanished"},
		{"never wrote a slot", Network{Silence: 60 * s}, unanswered, []DatastoreEvidence{silentFor(1, 60*s).with(absent)},
			Undetermined, RuleNoSlot, nil, "datastore ds1: holds no slot of it"},
		{"no datastore at all", heardAgo(9 * s), unanswered, nil,
			Undetermined, RuleNoSlot, nil, "has answered no ping for 4s"},

		{"silent for less than T", heardAgo(4 * s), unanswered, []DatastoreEvidence{silentFor(1, 5*s-1)},
			Unreachable, RuleUnreachable, nil, "has answered no ping for 4s"},
		{"one silent for T, one for less", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 9*s), silentFor(2, 4*s)},
			Unreachable, RuleUnreachable, nil, "has answered no ping for 4s"},
		{"one silent for less than T, one for T", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 4*s), silentFor(2, 9*s)},
			Unreachable, RuleUnreachable, nil, "has answered no ping for 4s"},
		{"left in good order", Network{Heard: true, Silence: 3 * s, Leaving: true}, Ping{}, []DatastoreEvidence{silentFor(1, 4*s)},
			AgentDown, RuleLeft, nil, "its last packet said that it stops in good order"},
		{"left in good order, by its slot", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(left)},
			AgentDown, RuleLeft, nil, "datastore ds1: its agent was stopped by systemd"},
		{"left without machines, long ago", heardAgo(60 * s), unanswered, []DatastoreEvidence{silentFor(1, 60*s).with(left)},
			Dead, RuleDead, nil, "datastore ds1: its agent was stopped by systemd"},
		{"in custody", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(inCustody)},
			AgentDown, RuleCustody, nil, "datastore ds1: it left its machines there in custody"},
		{"in custody on one datastore, for long", heardAgo(60 * s), answered(s), []DatastoreEvidence{silentFor(1, 60*s), silentFor(2, 60*s).with(inCustody)},
			AgentDown, RuleCustody, nil, "datastore ds2: it left its machines there in custody"},
		{"in custody, and answers no ping", heardAgo(60 * s), Ping{Asked: true, LastAsk: judged, Open: true, Waiting: judged.Add(-50 * s)},
			[]DatastoreEvidence{silentFor(1, 60*s).with(inCustody)},
			AgentDown, RuleNoAnswer, nil, "has answered no ping for 50s"},
		{"back from custody, and alive on disk", heardAgo(3 * s), Ping{}, []DatastoreEvidence{silentFor(1, s).with(func(d *DatastoreEvidence) { d.Custody = true })},
			Partitioned, RulePartitioned, nil, "datastore ds1: it left its machines there in custody"},
		{"back from custody, and killed before it ended it", heardAgo(60 * s), answered(s), []DatastoreEvidence{silentFor(1, 60*s).with(func(d *DatastoreEvidence) { d.Custody = true })},
			AgentDown, RuleCustody, nil, "datastore ds1: it left its machines there in custody"},
		{"in custody, and can't be read", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 9*s).with(unreadable)},
			Undetermined, RuleUnreadable, nil, "has answered no ping for 4s"},
		{"silent for T, answers pings", heardAgo(9 * s), answered(2 * s), []DatastoreEvidence{silentFor(1, 5*s)},
			AgentDown, RulePingAnswered, nil, "answered a ping 2s ago"},
		{"silent for T, answered pings once", heardAgo(9 * s), answered(2500 * ms), []DatastoreEvidence{silentFor(1, 5*s)},
			Dead, RuleDead, nil, "last answered a ping 2.5s ago, none of those of the last 0s"},
		{"silent for T, no ping answered", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 5*s), silentFor(2, 7*s)},
			Dead, RuleDead, nil, "datastore ds2: slot unchanged for 7s of good reads, without vouch or change for 7s (5s are needed to call it silent)"},
		{"silent for T with a slot damaged by its last write", heardAgo(9 * s), Ping{},
			[]DatastoreEvidence{silentFor(1, 5*s).with(func(d *DatastoreEvidence) { d.Slot = datastorehb.Corrupt })},
			Dead, RuleDead, nil, "datastore ds1: slot corrupt and unchanged for 5s of good reads, without vouch or change for 5s (5s are needed to call it silent)"},
		{"silent for T, never wrote to the other", heardAgo(9 * s), unanswered, []DatastoreEvidence{silentFor(1, 5*s), silentFor(2, 5*s).with(absent)},
			Dead, RuleDead, nil, "datastore ds2: holds no slot of it"},
	}
	timing := TimingOf(defaultTiming)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Judge(judged, &Evidence{Host: 3, Network: test.network, Ping: test.ping, Datastores: test.disks}, &timing)
			if v.State != test.state || v.Rule != test.rule || v.Since != judged {
				t.Errorf("%v since %v by %q, want %v since %v by %q", v.State, v.Since, v.Rule, test.state, judged, test.rule)
			}
			if diff := cmp.Diff(test.lost, v.Lost); diff != "" {
				t.Errorf("lost (-want +got):\n%s", diff)
			}
			if all := strings.Join(v.Evidence, "\n"); !strings.Contains("\n"+all+"\n", "\n"+test.evidence+"\n") {
				t.Errorf("evidence lacks %q:\n%s", test.evidence, all)
			}
		})
	}
}

func TestUpdateTellsChangesOnly(t *testing.T) {
	timing := TimingOf(defaultTiming)
	e := Evidence{Host: 3, Network: heardAgo(time.Second), Datastores: []DatastoreEvidence{silentFor(1, time.Second), silentFor(2, time.Second)}}
	var v Verdict
	if !v.Update(judged, &e, &timing) || v.Update(judged.Add(time.Second), &e, &timing) {
		t.Fatal("the first verdict is a change, the same one again is not")
	}
	e.Datastores[1].Access = Inaccessible
	if !v.Update(judged.Add(2*time.Second), &e, &timing) || v.Since != judged.Add(2*time.Second) {
		t.Fatalf("a lost datastore is a change: %+v", v)
	}
	kept := v
	e.Datastores[0].Access = Inaccessible
	if !v.Update(judged.Add(3*time.Second), &e, &timing) || v.Since != judged.Add(2*time.Second) {
		t.Fatalf("a second one is a change, but not of the state: %+v", v)
	}
	if diff := cmp.Diff([]uuid.UUID{uuidOf(2)}, kept.Lost); diff != "" {
		t.Errorf("a later verdict wrote into an earlier copy:\n%s", diff)
	}
	e.Network.Silence = time.Minute
	if !v.Update(judged.Add(time.Minute), &e, &timing) || v.State != Unreachable || len(v.Lost) > 0 {
		t.Fatalf("of a host that may be dead no datastore is called lost: %+v", v)
	}
}

func TestAccessOf(t *testing.T) {
	p := fullPacket()
	if a, b, c := AccessOf(&p, uuidOf(1)), AccessOf(&p, uuidOf(2)), AccessOf(&p, uuidOf(3)); a != Accessible || b != Inaccessible || c != AccessUnknown {
		t.Errorf("access %v, %v, %v", a, b, c)
	}
}

func TestStateNames(t *testing.T) {
	for s := Undetermined; s <= Dead; s++ {
		text, _ := s.MarshalText()
		var back State
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("%v: %v, %v", s, back, err)
		}
	}
	if err := new(State).UnmarshalText([]byte("fine")); err == nil {
		t.Error("an unknown state was read")
	}
	if got := State(99).String(); got != "State(99)" {
		t.Error(got)
	}
}

// deathward says how far a state is on the way to dead.
func deathward(s State) int {
	switch s {
	case Live, Maintenance, StorageLost:
		return 0
	case Isolated, Partitioned:
		return 1
	case Unreachable, Undetermined:
		return 2
	case AgentDown:
		return 3
	}
	return 4
}

func drawEvidence(t *rapid.T) Evidence {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	duration := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 90).Draw(t, name)) * 100 * time.Millisecond
	}
	e := Evidence{Host: 3}
	e.Network = Network{Heard: flag("heard"), Silence: duration("silence"), OneWay: flag("one-way"), Leaving: flag("leaving"), Maintenance: flag("maintenance")}
	e.Network.LastFresh = judged.Add(-e.Network.Silence)
	if flag("asked") {
		e.Ping = Ping{Asked: true, LastAsk: judged, Answered: flag("answered"), Last: judged.Add(-duration("answer"))}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "datastores") {
		d := silentFor(byte(i+1), duration("slot silence"))
		d.Slot = datastorehb.ReadState(rapid.IntRange(0, 3).Draw(t, "slot"))
		d.Writes, d.Changed, d.Vouched, d.Isolated = flag("writes"), flag("changed"), flag("vouched"), flag("isolated")
		d.VouchedAt = judged.Add(-duration("vouch"))
		d.Silence = min(d.SlotSilence, duration("disk silence"))
		d.Access = Access(rapid.IntRange(0, 2).Draw(t, "access"))
		e.Datastores = append(e.Datastores, d)
	}
	return e
}

func TestMoreLifeNeverLooksMoreDead(t *testing.T) {
	timing := TimingOf(defaultTiming)
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvidence(t)
		before := Judge(judged, &e, &timing)
		disk := -1
		if len(e.Datastores) > 0 {
			disk = rapid.IntRange(0, len(e.Datastores)-1).Draw(t, "which")
		}
		switch what := rapid.SampledFrom([]string{"packet", "ping", "slot", "vouch", "shorter"}).Draw(t, "sign of life"); {
		case what == "packet":
			e.Network.Heard, e.Network.Silence, e.Network.LastFresh = true, 0, judged
		case what == "ping":
			e.Ping = answered(0)
		case disk < 0:
		case what == "slot":
			d := &e.Datastores[disk]
			d.Slot, d.Changed, d.ChangedAt, d.SlotSilence, d.Silence = datastorehb.Valid, true, judged, 0, 0
		case what == "vouch":
			d := &e.Datastores[disk]
			d.Vouched, d.VouchedAt, d.Silence = true, judged, 0
		default:
			e.Datastores[disk].Silence /= 2
			e.Network.Silence /= 2
		}
		after := Judge(judged, &e, &timing)
		if deathward(after.State) > deathward(before.State) {
			t.Fatalf("more life made %v of %v\n%s", after.State, before.State, strings.Join(after.Evidence, "\n"))
		}
	})
}

func TestUnreadableNeverLooksDead(t *testing.T) {
	timing := TimingOf(defaultTiming)
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvidence(t)
		before := Judge(judged, &e, &timing)
		for i := range e.Datastores {
			if rapid.Bool().Draw(t, "fails") {
				unreadable(&e.Datastores[i])
			}
		}
		after := Judge(judged, &e, &timing)
		for i := range e.Datastores {
			d := &e.Datastores[i]
			if after.State == Dead && d.Writes && (d.Slot == datastorehb.Unreadable || d.Slot != datastorehb.Absent && d.Silence < timing.DiskSilent) {
				t.Fatalf("dead without silence on datastore %d\n%s", i, strings.Join(after.Evidence, "\n"))
			}
		}
		if after.State == Dead && before.State != Dead {
			t.Fatalf("failing reads made a host dead that was %v", before.State)
		}
	})
}
