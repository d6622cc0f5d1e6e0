package core

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// desk is a core under test: observations are put on it, effects taken from it.
type desk struct {
	*testing.T
	*Core
	at  datastorehb.Instant
	out []Effect
}

var (
	home   = uuid.MustParse("11111111-1111-4111-8111-111111111111")
	guest  = uuid.MustParse("22222222-2222-4222-8222-222222222222")
	timing = datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second}
	wanted = poweron.Entry{VM: guest, Name: "guest", Protected: true, Desired: poweron.Running, Asked: 1, Policy: poweron.DefaultPolicy(), Driver: "process", Memory: 1 << 20}
)

func writer(h datastorehb.HostID) datastorehb.Writer {
	id := uuid.UUID{15: byte(h)}
	return datastorehb.Writer{Host: h, Machine: id, Boot: id, Incarnation: uint64(h)}
}

// newDesk returns host 1 of three, with one datastore and whatever change adds.
func newDesk(t *testing.T, change func(*Config)) *desk {
	cfg := Config{Cluster: uuid.UUID{1}, Self: writer(1), Timing: timing, Heartbeats: datastorehb.DefaultRankOptions(), Parallel: 4,
		Hosts:      []Member{{ID: 1, Name: "h1"}, {ID: 2, Name: "h2"}, {ID: 3, Name: "h3"}},
		Datastores: []Datastore{{ID: home, Name: "ds1"}}}
	if change != nil {
		change(&cfg)
	}
	at := datastorehb.Instant(100 * time.Second)
	return &desk{T: t, Core: New(cfg, at), at: at}
}

// see makes the core observe something, a millisecond after the last time.
func (d *desk) see(o Observation) {
	d.at = d.at.Add(time.Millisecond)
	d.out = append(d.out, d.Step(d.at, o)...)
}

// wait lets time pass, in steps.
func (d *desk) wait(t time.Duration) {
	for end := d.at.Add(t); d.at < end; {
		d.at = d.at.Add(100 * time.Millisecond)
		d.out = append(d.out, d.Step(d.at, Tick{})...)
	}
}

// span is that of an operation that took place just now.
func (d *desk) span() Span { return Span{Datastore: home, Issued: d.at, Returned: d.at} }

// find takes the oldest effect of a type off the desk.
func find[T Effect](d *desk) (e T, ok bool) {
	i := slices.IndexFunc(d.out, func(e Effect) bool { _, is := e.(T); return is })
	if i < 0 {
		return e, false
	}
	e = d.out[i].(T)
	d.out = slices.Delete(d.out, i, i+1)
	return e, true
}

// take takes an effect that must be there.
func take[T Effect](d *desk) T {
	d.Helper()
	e, ok := find[T](d)
	if !ok {
		d.Fatalf("no %T among the effects", e)
	}
	return e
}

// never fails when there is an effect of the type.
func never[T Effect](d *desk, why string) {
	d.Helper()
	if e, ok := find[T](d); ok {
		d.Fatalf("%T, though %s: %+v", e, why, e)
	}
}

// region is a read of the whole region, in which host 1's slot is as given and
// the others are empty.
func (d *desk) region(own datastorehb.SlotReading) RegionRead {
	own.Host = 1
	slots := []datastorehb.SlotReading{own, {Host: 2, State: datastorehb.Absent}, {Host: 3, State: datastorehb.Absent}}
	return RegionRead{Span: d.span(), Full: true, Slots: slots}
}

// stand brings the host to a held term on its datastore, by an empty register.
func (d *desk) stand() *footing {
	d.Helper()
	f := d.reach()
	take[ReadTerms](d)
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Absent})
	d.win()
	if !f.held(d.at) {
		d.Fatal("the term is won and not held")
	}
	return f
}

// reach brings the host to its first completed heartbeat.
func (d *desk) reach() *footing {
	d.Helper()
	d.see(DatastoreState{Datastore: home, Available: true})
	take[ReadRegion](d)
	d.footing(home).selected, d.footing(home).record.tried = true, true
	d.see(d.region(datastorehb.SlotReading{State: datastorehb.Absent}))
	d.beat()
	return d.footing(home)
}

// beat completes the heartbeat that is under way.
func (d *desk) beat() {
	d.Helper()
	w := take[WriteSlot](d)
	d.see(SlotWritten{Span: d.span(), Sequence: w.Slot.Sequence})
}

// win lets the claim of the own next term win.
func (d *desk) win() datastorehb.Term {
	d.Helper()
	claim := take[ClaimTerm](d)
	d.see(TermClaimed{Span: d.span(), Term: claim.Term, Outcome: datastorehb.ClaimWon})
	return claim.Term
}

// generation is a machine as a datastore shows it.
func generation(number uint64, owner datastorehb.HostID, term uint64, by datastorehb.Writer) MachineState {
	return MachineState{EntryState: datastorehb.Valid, Entry: wanted, Revision: 1, GenerationState: datastorehb.Valid, GenerationBy: by,
		Generation: poweron.Generation{VM: guest, Number: number, Kind: poweron.Run, Owner: owner, Term: term, Entry: 1}}
}
