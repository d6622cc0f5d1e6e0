package poweron

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

func openTerm(host datastorehb.HostID, first, number uint64) datastorehb.Term {
	return datastorehb.Term{Host: host, Number: number, First: first}
}

func closedTerm(host datastorehb.HostID, number uint64) datastorehb.Term {
	return datastorehb.Term{Host: host, Number: number, First: number, Closed: true}
}

// knowing knows one term, whosoever is asked for.
func knowing(newest datastorehb.Term, known bool) Terms {
	return func(datastorehb.HostID) (datastorehb.Term, bool) { return newest, known }
}

func heldBy(host datastorehb.HostID, term uint64) Generation {
	return Generation{VM: vm(1), Number: 4, Kind: Run, Owner: host, Term: term}
}

// The traces are those of the catalogue of runs that break weaker rules.
func TestOver(t *testing.T) {
	released := Generation{VM: vm(1), Number: 5, Kind: Released, Owner: 2, Reason: Crashed}
	for _, tt := range []struct {
		name   string
		g      Generation
		newest datastorehb.Term
		known  bool
		over   bool
		why    string
	}{
		{"released", released, datastorehb.Term{}, false, true, "crashed"},
		{"the term it names is the newest", heldBy(2, 7), openTerm(2, 7, 7), true, false, "carries it"},
		{"no term known", heldBy(2, 7), datastorehb.Term{}, false, false, "no term of host 2"},
		{"chain goes on over several terms (trace 7a)", heldBy(2, 7), openTerm(2, 7, 12), true, false, "carries it"},
		{"chain began before the term it names", heldBy(2, 7), openTerm(2, 3, 7), true, false, "carries it"},
		{"next term closed", heldBy(2, 7), closedTerm(2, 8), true, true, "term 8 of host 2"},
		{"continued, then closed (trace 12)", heldBy(2, 7), closedTerm(2, 9), true, true, "closed"},
		{"closed, then a new chain", heldBy(2, 7), openTerm(2, 9, 9), true, true, "begins with 9"},
		{"rebooted: a new chain without a close (trace 4)", heldBy(2, 7), openTerm(2, 8, 8), true, true, "begins with 8"},
		{"open term read before the generation was claimed", heldBy(2, 7), openTerm(2, 5, 5), true, false, "newest that was read is 5"},
		{"closed term read before the generation was claimed", heldBy(2, 7), closedTerm(2, 6), true, false, "newest that was read is 6"},
		{"another host's term", heldBy(2, 7), closedTerm(3, 8), true, false, "is host 3's"},
		{"a closed term of the number it names", heldBy(2, 7), closedTerm(2, 7), true, true, "closed"},
		{"unknown kind", Generation{Number: 1, Kind: 9, Owner: 2}, closedTerm(2, 8), true, false, "unknown kind 9"},
	} {
		over, why := Over(tt.g, knowing(tt.newest, tt.known))
		if over != tt.over || !strings.Contains(why, tt.why) {
			t.Errorf("%s: Over = %t, %q; want %t with %q", tt.name, over, why, tt.over, tt.why)
		}
	}
}

func TestMayClaim(t *testing.T) {
	g := heldBy(2, 7)
	for _, tt := range []struct {
		name   string
		host   datastorehb.HostID
		g      *Generation
		newest datastorehb.Term
		known  bool
		want   bool
	}{
		{"first of all", 1, nil, datastorehb.Term{}, false, true},
		{"held by another", 1, &g, openTerm(2, 7, 7), true, false},
		{"held by another, term closed", 1, &g, closedTerm(2, 8), true, true},
		{"held by itself: a new run of the agent found it frozen", 2, &g, openTerm(2, 7, 7), true, true},
		{"held by itself, after a boot", 2, &g, datastorehb.Term{}, false, true},
	} {
		if got, why := MayClaim(tt.host, tt.g, knowing(tt.newest, tt.known)); got != tt.want {
			t.Errorf("%s: MayClaim = %t, %s", tt.name, got, why)
		}
	}
}

// Trace 15: who lost g+1 is entitled to nothing, and a statement about g says
// nothing about what came after it.
func TestStatementEntitlesToOneGeneration(t *testing.T) {
	s := Statement{VM: vm(1), Owner: 2, Generation: 4, Reason: HandedOver}
	g := heldBy(2, 7)
	if !s.Entitles(g) {
		t.Error("the generation that it names")
	}
	for name, change := range map[string]func(*Generation){
		"the next generation": func(g *Generation) { g.Number++ },
		"the one before":      func(g *Generation) { g.Number-- },
		"another machine":     func(g *Generation) { g.VM = vm(2) },
		"another holder":      func(g *Generation) { g.Owner = 3 },
		"a released one":      func(g *Generation) { g.Kind, g.Reason = Released, Crashed },
	} {
		other := g
		change(&other)
		if s.Entitles(other) {
			t.Errorf("it entitles to %s", name)
		}
	}
}

func TestMayRun(t *testing.T) {
	good := Standing{Host: 2, Generation: heldBy(2, 7), Mine: true, Term: openTerm(2, 7, 8), TermKnown: true, LeaseTerm: 8, LeaseValid: true}
	for _, tt := range []struct {
		name   string
		change func(*Standing)
		why    string
	}{
		{"all given", func(*Standing) {}, ""},
		{"released", func(s *Standing) { s.Generation.Kind, s.Generation.Reason = Released, Crashed }, "R3(1): generation 4 is released"},
		{"held by another", func(s *Standing) { s.Generation.Owner = 3 }, "R3(1): generation 4 is held by host 3"},
		{"won before a reboot (trace 4)", func(s *Standing) { s.Mine = false }, "R3(1): this run of the agent"},
		{"no term yet", func(s *Standing) { s.TermKnown = false }, "R3(2): host 2 knows no term"},
		{"another host's term", func(s *Standing) { s.Term.Host = 3 }, "R3(2): host 2 knows no term"},
		{"term closed", func(s *Standing) { s.Term = closedTerm(2, 9) }, "R3(2): term 9 was closed"},
		{"new chain after a close (trace 3)", func(s *Standing) { s.Term = openTerm(2, 9, 9); s.LeaseTerm = 9 }, "R3(2): generation 4 names term 7"},
		{"lease of the term before (traces 1 and 5)", func(s *Standing) { s.LeaseTerm = 7 }, "R3(3): the lease is of term 7"},
		{"lease run out", func(s *Standing) { s.LeaseValid = false }, "R3(3): the lease of term 8 has run out"},
	} {
		s := good
		tt.change(&s)
		if may, why := MayRun(s); may != (tt.why == "") || !strings.HasPrefix(why, tt.why) {
			t.Errorf("%s: MayRun = %t, %q; want %q", tt.name, may, why, tt.why)
		}
	}
}

func TestNext(t *testing.T) {
	before := func(kind GenerationKind, reason ReleaseReason) *Generation {
		return &Generation{VM: vm(1), Number: 6, Kind: kind, Owner: 2, Term: 7, Reason: reason, Entry: 3, Failures: 4, Detail: "text"}
	}
	want := func(number uint64, failures uint32) Generation {
		return Generation{VM: vm(1), Number: number, Kind: Run, Owner: 1, Term: 12, Entry: 5, Failures: failures}
	}
	for _, tt := range []struct {
		name   string
		newest *Generation
		want   Generation
	}{
		{"first", nil, want(1, 0)},
		{"taken over", before(Run, NotReleased), want(7, 4)},
		{"crashed", before(Released, Crashed), want(7, 4)},
		{"could not be started", before(Released, StartFailed), want(7, 4)},
		{"handed over", before(Released, HandedOver), want(7, 4)},
		{"let go by a user", before(Released, Held), want(7, 0)},
		{"stopped by a user", before(Released, StoppedByUser), want(7, 0)},
		{"shut down by the guest", before(Released, GuestShutDown), want(7, 0)},
	} {
		if d := cmp.Diff(tt.want, Next(vm(1), tt.newest, 1, 12, 5)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestReleaseCutsItsDetail(t *testing.T) {
	for _, detail := range []string{"", "short", strings.Repeat("ä", 150), "a" + strings.Repeat("ä", 150), "bad \xff byte", strings.Repeat("\xff", 300)} {
		g := Release(heldBy(2, 7), Crashed, 0, 3, 1, detail)
		if len(g.Detail) > datastorehb.MaxReason || !utf8.ValidString(g.Detail) || detail != "" && g.Detail == "" {
			t.Errorf("detail %q became %q", detail, g.Detail)
		}
		if _, err := EncodeGeneration(g, 1); err != nil {
			t.Error(err)
		}
		if g.Number != 5 || g.Kind != Released || g.Owner != 2 {
			t.Errorf("released as %+v", g)
		}
	}
}

// world is a datastore and its hosts, as far as terms and generations go. Claims
// are atomic. Time is left out: a lease runs out at any moment, and a term may be
// closed once it has (R7 and R9 see to that).
type world struct {
	terms       map[datastorehb.HostID][]datastorehb.Term
	generations []Generation
	hosts       map[datastorehb.HostID]*worldHost
}

// worldHost is what a host believes. Its own term may have been closed since.
type worldHost struct {
	term   datastorehb.Term
	lease  bool
	mine   uint64 // the generation that this incarnation won and has not given up
	stated uint64 // the generation that it stated to be over
}

func newWorld() *world {
	w := &world{terms: map[datastorehb.HostID][]datastorehb.Term{}, hosts: map[datastorehb.HostID]*worldHost{}}
	for h := datastorehb.HostID(1); h <= 3; h++ {
		w.hosts[h] = &worldHost{}
	}
	return w
}

func (w *world) newestTerm(h datastorehb.HostID) (datastorehb.Term, bool) {
	all := w.terms[h]
	if len(all) == 0 {
		return datastorehb.Term{}, false
	}
	return all[len(all)-1], true
}

func (w *world) newest() *Generation {
	if len(w.generations) == 0 {
		return nil
	}
	return &w.generations[len(w.generations)-1]
}

// claimTerm lets h win its own next term: it continues its chain if the newest
// term is the open one that it knows, and begins a new chain otherwise.
func (w *world) claimTerm(h datastorehb.HostID) {
	host := w.hosts[h]
	newest, _ := w.newestTerm(h)
	next := openTerm(h, newest.Number+1, newest.Number+1)
	if newest.Number > 0 && !newest.Closed && newest == host.term {
		next.First = newest.First
	}
	w.terms[h] = append(w.terms[h], next)
	host.term, host.lease = next, true
}

func (w *world) closeTerm(h datastorehb.HostID) {
	newest, known := w.newestTerm(h)
	if known && !newest.Closed && !w.hosts[h].lease {
		w.terms[h] = append(w.terms[h], closedTerm(h, newest.Number+1))
	}
}

func (w *world) reboot(h datastorehb.HostID) { *w.hosts[h] = worldHost{stated: w.hosts[h].stated} }

// claim lets h claim the next generation, on the strength of terms that may
// have been read long ago.
func (w *world) claim(t *rapid.T, h datastorehb.HostID) {
	host, g := w.hosts[h], w.newest()
	var read datastorehb.Term
	known := false
	if g != nil && len(w.terms[g.Owner]) > 0 {
		read, known = rapid.SampledFrom(w.terms[g.Owner]).Draw(t, "term read"), true
	}
	entitled, _ := MayClaim(h, g, knowing(read, known))
	if g != nil && w.hosts[g.Owner].stated == g.Number {
		entitled = entitled || Statement{VM: g.VM, Owner: g.Owner, Generation: g.Number}.Entitles(*g)
	}
	if !entitled || host.term.Number == 0 {
		return
	}
	next := Next(vm(1), g, h, host.term.Number, 1)
	w.generations = append(w.generations, next)
	host.mine = next.Number
}

func (w *world) giveUp(h datastorehb.HostID, onDatastore bool) {
	host, g := w.hosts[h], w.newest()
	if g == nil || host.mine != g.Number || g.Kind != Run {
		return
	}
	host.mine = 0
	if onDatastore {
		w.generations = append(w.generations, Release(*g, HandedOver, host.term.Number, 1, 0, ""))
	} else {
		host.stated = g.Number
	}
}

// runs reports whether h holds itself entitled to run the machine: it judges by
// the generation that it won, as newer ones may have escaped it.
func (w *world) runs(h datastorehb.HostID) bool {
	host := w.hosts[h]
	if host.mine == 0 {
		return false
	}
	may, _ := MayRun(Standing{
		Host: h, Generation: w.generations[host.mine-1], Mine: true,
		Term: host.term, TermKnown: host.term.Number > 0, LeaseTerm: host.term.Number, LeaseValid: host.lease,
	})
	return may
}

func TestNoTwoHostsMayRunAMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		anyHost := rapid.Custom(func(t *rapid.T) datastorehb.HostID { return datastorehb.HostID(rapid.IntRange(1, 3).Draw(t, "host")) })
		on := func(act func(datastorehb.HostID)) func(*rapid.T) {
			return func(t *rapid.T) { act(anyHost.Draw(t, "on")) }
		}
		t.Repeat(map[string]func(*rapid.T){
			"claim term":    on(w.claimTerm),
			"lease ran out": on(func(h datastorehb.HostID) { w.hosts[h].lease = false }),
			"close term":    on(w.closeTerm),
			"reboot":        on(w.reboot),
			"claim":         func(t *rapid.T) { w.claim(t, anyHost.Draw(t, "on")) },
			"release":       on(func(h datastorehb.HostID) { w.giveUp(h, true) }),
			"state":         on(func(h datastorehb.HostID) { w.giveUp(h, false) }),
			"": func(t *rapid.T) {
				var running []datastorehb.HostID
				for h := datastorehb.HostID(1); h <= 3; h++ {
					if w.runs(h) {
						running = append(running, h)
					}
				}
				if len(running) > 1 {
					t.Fatalf("hosts %v may all run the machine\nterms %+v\ngenerations %+v", running, w.terms, w.generations)
				}
			},
		})
	})
}
