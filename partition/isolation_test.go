package partition

import (
	"strings"
	"testing"
	"time"
)

func TestIsolation(t *testing.T) {
	const s = time.Second
	now := at(100)
	silent := Ping{Asked: true, LastAsk: now, Open: true, Waiting: now.Add(-3 * s)}
	tests := []struct {
		name     string
		around   Surroundings
		isolated bool
		why      string
	}{
		{"alone in the cluster", Surroundings{Members: 1, Quiet: time.Hour}, false, "no other host"},
		{"somebody was heard", Surroundings{Members: 3, Quiet: 3*s - 1, Addresses: []Probe{{"gateway", silent}}}, false, "isolation takes 3s without any"},
		{"three hosts, no addresses", Surroundings{Members: 3, Quiet: 3 * s}, true, "no isolation address is configured"},
		{"two hosts, no addresses", Surroundings{Members: 2, Quiet: time.Hour}, false, "configure isolation addresses"},
		{"two hosts, address silent", Surroundings{Members: 2, Quiet: 3 * s, Addresses: []Probe{{"gateway", silent}}}, true, "none of 1 isolation addresses answers"},
		{"address not asked", Surroundings{Members: 3, Quiet: 9 * s, Addresses: []Probe{{"a", silent}, {"b", Ping{}}}}, false, "b has not been asked yet"},
		{"address answers", Surroundings{Members: 3, Quiet: 9 * s, Addresses: []Probe{{"a", silent}, {"b", Ping{Asked: true, Answered: true, Last: now.Add(-s)}}}}, false, "b answered 1s ago"},
		{"address silent for too short", Surroundings{Members: 3, Quiet: 9 * s, Addresses: []Probe{{"a", Ping{Asked: true, Open: true, Waiting: now.Add(-2 * s)}}}}, false, "a has been silent for 2s of 3s"},
	}
	timing := TimingOf(defaultTiming)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var i Isolation
			changed := i.Step(now, test.around, &timing)
			since, isolated := i.Isolated()
			if isolated != test.isolated || changed != isolated || isolated && since != now {
				t.Errorf("isolated %v since %v, changed %v; want %v", isolated, since, changed, test.isolated)
			}
			if !strings.Contains(i.Why(), test.why) {
				t.Errorf("why %q lacks %q", i.Why(), test.why)
			}
			if isolated && (i.Step(now.Add(s), test.around, &timing) || i.since != now) {
				t.Error("the same judgement again is a change")
			}
			test.around.Quiet = 0
			i.Step(now.Add(2*s), test.around, &timing)
			if _, isolated := i.Isolated(); isolated {
				t.Error("still isolated after a fresh packet")
			}
		})
	}
}

func TestRespond(t *testing.T) {
	const s = time.Second
	since := at(100)
	live := Witness{Host: 2, Master: true, Changed: true, ChangedAt: since.Add(4 * s)}
	with := func(change func(*Witness)) []Witness {
		w := live
		change(&w)
		return []Witness{w}
	}
	tests := []struct {
		name     string
		isolated bool
		after    time.Duration
		home     []Witness
		respond  bool
		why      string
	}{
		{"a live master", true, 5 * s, []Witness{live}, true, "host 2 is master and was seen on the home datastore 1s ago"},
		{"not isolated", false, 5 * s, []Witness{live}, false, "not isolated"},
		{"too early", true, 3*s - 1, []Witness{live}, false, "begins after 3s"},
		{"nobody", true, 5 * s, nil, false, "nobody could start the machine"},
		{"a master whose slot stands still", true, 9 * s, []Witness{live}, false, "no other host is seen"},
		{"a master never seen to change", true, 5 * s, with(func(w *Witness) { w.Changed = false }), false, "no other host is seen"},
		{"a master not seen since the isolation began", true, 3 * s, with(func(w *Witness) { w.ChangedAt = since }), false, "no other host is seen"},
		{"a master that is back from isolation, perhaps", true, 5 * s, with(func(w *Witness) { w.LeadsSince = since.Add(2*s + 1) }), false, "only for 3s of 3s"},
		{"a master that has been one for long enough", true, 5 * s, with(func(w *Witness) { w.LeadsSince = since.Add(2 * s) }), true, "it can start the machine"},
		{"a live subordinate", true, 5 * s, with(func(w *Witness) { w.Master = false }), false, "but no master is"},
		{"a master of itself, isolated too", true, 5 * s, with(func(w *Witness) { w.Isolated = true }), false, "isolated too"},
		{"an isolated host and a master", true, 5 * s, append(with(func(w *Witness) { w.Isolated = true }), live), true, "it can start the machine"},
	}
	timing := TimingOf(defaultTiming)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := Isolation{isolated: test.isolated, since: since}
			respond, why := i.Respond(since.Add(test.after), test.home, &timing)
			if respond != test.respond || !strings.Contains(why, test.why) {
				t.Errorf("%v: %q; want %v: …%s…", respond, why, test.respond, test.why)
			}
		})
	}
}

// What a host wrote before this one was isolated says nothing about whether it
// was isolated then, however long slots are believed.
func TestRespondWantsSlotsWrittenSince(t *testing.T) {
	timing := TimingOf(defaultTiming)
	timing.DiskAlive = time.Minute
	i := Isolation{isolated: true, since: at(100)}
	for seen, want := range map[float64]bool{100: false, 100.1: true} {
		home := []Witness{{Host: 2, Master: true, Changed: true, ChangedAt: at(seen)}}
		if respond, why := i.Respond(at(105), home, &timing); respond != want {
			t.Errorf("master seen at %vs: %v (%s), want %v", seen, respond, why, want)
		}
	}
}
