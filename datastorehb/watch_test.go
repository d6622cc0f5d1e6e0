package datastorehb

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// regionWith returns the readings of three hosts. Host 2, which is watched, wrote
// sequence own; host 1 heard its heartbeat vouched.
func regionWith(own, vouched uint64) []SlotReading {
	return []SlotReading{
		{Host: 1, State: Valid, Slot: Slot{Writer: Writer{Host: 1}, Sequence: own * 31, Vouches: []Vouch{{Host: 2, Incarnation: 9, Sequence: vouched}}}},
		{Host: 2, State: Valid, Slot: Slot{Writer: Writer{Host: 2}, Sequence: own}},
		{Host: 3, State: Absent},
	}
}

func TestProofOf(t *testing.T) {
	base := regionWith(5, 7)
	for name, tt := range map[string]struct {
		change func(s []SlotReading) []SlotReading
		ok     bool
		alive  bool
	}{
		"nothing":                {func(s []SlotReading) []SlotReading { return s }, true, false},
		"own sequence":           {func(s []SlotReading) []SlotReading { s[1].Slot.Sequence++; return s }, true, true},
		"own incarnation":        {func(s []SlotReading) []SlotReading { s[1].Slot.Incarnation++; return s }, true, true},
		"own slot corrupt":       {func(s []SlotReading) []SlotReading { s[1] = SlotReading{Host: 2, State: Corrupt, Sum: 1}; return s }, true, true},
		"vouch":                  {func(s []SlotReading) []SlotReading { s[0].Slot.Vouches[0].Sequence++; return s }, true, true},
		"vouch gone":             {func(s []SlotReading) []SlotReading { s[0].Slot.Vouches = nil; return s }, true, true},
		"voucher's own sequence": {func(s []SlotReading) []SlotReading { s[0].Slot.Sequence++; return s }, true, false},
		"vouch for somebody else": {func(s []SlotReading) []SlotReading {
			s[0].Slot.Vouches = append(s[0].Slot.Vouches, Vouch{Host: 3})
			return s
		}, true, false},
		"another slot turned corrupt": {func(s []SlotReading) []SlotReading { s[2] = SlotReading{Host: 3, State: Corrupt, Sum: 4}; return s }, true, true},
		"another slot unreadable":     {func(s []SlotReading) []SlotReading { s[2].State = Unreadable; return s }, false, false},
		"own slot not in the read":    {func(s []SlotReading) []SlotReading { return s[:1] }, false, false},
		"empty read":                  {func([]SlotReading) []SlotReading { return nil }, false, false},
	} {
		before, ok := ProofOf(2, base)
		if !ok {
			t.Fatal("the base was not read")
		}
		slots := tt.change(regionWith(5, 7))
		after, ok := ProofOf(2, slots)
		if ok != tt.ok || ok && (before != after) != tt.alive {
			t.Errorf("%s: ok %v, changed %v", name, ok, before != after)
		}
	}
}

// TestProofsOf checks that one pass over all hosts says what one pass for each says.
func TestProofsOf(t *testing.T) {
	var memory []Proof
	rapid.Check(t, func(t *rapid.T) {
		slots := make([]SlotReading, rapid.IntRange(0, 8).Draw(t, "hosts"))
		for i := range slots {
			slots[i] = drawReading(t, HostID(i+1))
		}
		all, ok := ProofsOf(slots, memory)
		memory = all
		for i := range slots {
			one, oneOK := ProofOf(HostID(i+1), slots)
			if oneOK != ok || ok && one != all[i] {
				t.Fatalf("host %d: %v %+v, alone %v %+v", i+1, ok, all, oneOK, one)
			}
		}
	})
	if _, ok := ProofsOf([]SlotReading{{Host: 2, State: Absent}}, nil); ok {
		t.Error("a part of a region passed for the whole")
	}
}

func drawReading(t *rapid.T, h HostID) SlotReading {
	r := SlotReading{Host: h, State: rapid.SampledFrom([]ReadState{Absent, Corrupt, Valid, Valid, Valid, Valid, Unreadable}).Draw(t, "state")}
	switch r.State {
	case Corrupt:
		r.Sum = rapid.Uint64Max(3).Draw(t, "sum")
	case Valid:
		r.Slot.Sequence = rapid.Uint64Max(3).Draw(t, "sequence")
		for range rapid.IntRange(0, 4).Draw(t, "vouches") {
			r.Slot.Vouches = append(r.Slot.Vouches, Vouch{Host: HostID(rapid.Uint16Max(9).Draw(t, "for")), Sequence: rapid.Uint64Max(3).Draw(t, "heard")})
		}
	}
	return r
}

func openTerm(number uint64) Term {
	return Term{Host: 2, Number: number, First: 1, Timing: Timing{Lease: 2 * time.Second, Freeze: time.Second}}
}

func proofOf(own, vouched uint64) Proof {
	p, _ := ProofOf(2, regionWith(own, vouched))
	return p
}

func custodyOf(term uint64) Proof {
	slots := regionWith(1, 1)
	slots[1].Slot.Custody = term
	p, _ := ProofOf(2, slots)
	return p
}

func quietWith(w *Watch, p Proof) {
	for at := Instant(0); at <= 60*second; at += second {
		w.Observe(at, at+second/10, p)
	}
}

func TestWatch(t *testing.T) {
	const takeover = 5 * time.Second
	quiet := func(w *Watch, from, to Instant) {
		for at := from; at <= to; at += second {
			w.Observe(at, at+second/10, proofOf(1, 1))
		}
	}
	tests := []struct {
		name     string
		happens  func(w *Watch)
		closable bool
		why      string
	}{
		{"nothing", func(*Watch) {}, false, "no term"},
		{"silence without a term", func(w *Watch) { quiet(w, 0, 60*second) }, false, "no term"},
		{"silence before the term was read", func(w *Watch) { quiet(w, 0, 60*second); w.LearnTerm(openTerm(1), 60*second) }, false, "term 1 was read"},
		{"silence long enough", func(w *Watch) { w.LearnTerm(openTerm(1), 0); quiet(w, 0, 6*second) }, true, ""},
		{"counted from the return of the first read", func(w *Watch) { w.LearnTerm(openTerm(1), 0); quiet(w, 0, 5*second) }, false, "silent for 4.9s of 5s"},
		{"trace 11: one slow look", func(w *Watch) { w.LearnTerm(openTerm(1), 0); w.Observe(0, 60*second, proofOf(1, 1)) }, false, "silent for 0s"},
		{"two slow looks", func(w *Watch) {
			w.LearnTerm(openTerm(1), 0)
			w.Observe(0, 30*second, proofOf(1, 1))
			w.Observe(30*second, 60*second, proofOf(1, 1))
		}, false, "silent for 0s"},
		{"trace 2: a newer term", func(w *Watch) {
			w.LearnTerm(openTerm(1), 0)
			quiet(w, 0, 60*second)
			w.LearnTerm(openTerm(2), 60*second)
		}, false, "term 2 was read"},
		{"a read issued before the term was read", func(w *Watch) {
			w.LearnTerm(openTerm(1), 10*second)
			w.Observe(9*second, 11*second, proofOf(1, 1))
			w.Observe(16*second, 16*second, proofOf(1, 1))
		}, false, "silent for 0s"},
		{"the same term again", func(w *Watch) { w.LearnTerm(openTerm(1), 0); quiet(w, 0, 6*second); w.LearnTerm(openTerm(1), 6*second) }, true, ""},
		{"a failed read", func(w *Watch) {
			w.LearnTerm(openTerm(1), 0)
			quiet(w, 0, 6*second)
			w.Fail("EIO")
			quiet(w, 7*second, 8*second)
		}, false, "slot or vouch changed"},
		{"only failed reads", func(w *Watch) { w.LearnTerm(openTerm(1), 0); w.Fail("EIO") }, false, "EIO"},
		{"a vouch", func(w *Watch) {
			w.LearnTerm(openTerm(1), 0)
			quiet(w, 0, 6*second)
			w.Observe(7*second, 7*second, proofOf(1, 2))
		}, false, "slot or vouch changed"},
		{"closed already", func(w *Watch) { w.LearnTerm(Term{Number: 3, Closed: true}, 0); quiet(w, 0, 60*second) }, false, "closed already"},
		{"a term with a longer lease", func(w *Watch) {
			long := openTerm(1)
			long.Timing.Lease = 20 * time.Second
			w.LearnTerm(long, 0)
			quiet(w, 0, 20*second)
		}, false, "of 21.53"},
		{"in custody", func(w *Watch) { w.LearnTerm(openTerm(3), 0); quietWith(w, custodyOf(3)) }, false, "term 3 is in custody"},
		{"in custody under an earlier term", func(w *Watch) { w.LearnTerm(openTerm(3), 0); quietWith(w, custodyOf(2)) }, true, ""},
		{"in custody under a later term than the one read", func(w *Watch) { w.LearnTerm(openTerm(3), 0); quietWith(w, custodyOf(4)) }, false, "in custody"},
		{"a damaged slot", func(w *Watch) { w.LearnTerm(openTerm(3), 0); quietWith(w, Proof{state: Corrupt}) }, false, "slot is corrupt, and could say that term 3 is in custody"},
		{"a slot that has vanished", func(w *Watch) { w.LearnTerm(openTerm(3), 0); quietWith(w, Proof{state: Absent}) }, false, "slot is absent"},
		{"a longer lease, and time enough", func(w *Watch) {
			long := openTerm(1)
			long.Timing.Lease = 20 * time.Second
			w.LearnTerm(long, 0)
			quiet(w, 0, 22*second)
		}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w Watch
			tt.happens(&w)
			ok, why := w.Closable(takeover)
			if _, ends := w.Ends(takeover); tt.closable && !ends {
				t.Error("closable, and nobody would look when")
			}
			if ok != tt.closable || !strings.Contains(why, tt.why) {
				t.Errorf("closable %v, because %q", ok, why)
			}
		})
	}
}

// TestWatchNeedsSilence compares a Watch with what R7a asks for, over random
// histories: it never allows a close unless the last reads, all successful and
// equal, span T from the return of the first to the issue of the last, and all were
// issued after the newest term had been read.
func TestWatchNeedsSilence(t *testing.T) {
	type read struct {
		issued, returned Instant
		own              uint64
		failed           bool
	}
	rapid.Check(t, func(t *rapid.T) {
		const takeover = 10 // nanoseconds; the term's own timing is zero but for the margin
		var (
			w     Watch
			reads []read
			term  uint64
			now   Instant
			own   uint64
		)
		required := max(takeover, Timing{}.LeastTakeover())
		unit := Instant(required) / 10
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now += unit * Instant(rapid.IntRange(0, 4).Draw(t, "passes"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				term++
				reads = nil // Those before the term was read do not count.
				w.LearnTerm(Term{Number: term, First: 1}, now)
			case 1:
				own++
			case 2:
				reads = append(reads, read{failed: true})
				w.Fail("EIO")
			default:
				issued := now
				now += unit * Instant(rapid.IntRange(0, 3).Draw(t, "takes"))
				reads = append(reads, read{issued: issued, returned: now, own: own})
				w.Observe(issued, now, proofOf(own, 1))
			}
			allowed := false
			last := len(reads) - 1
			for first := last; term > 0 && first >= 0; first-- {
				r := reads[first]
				if r.failed || r.own != reads[last].own {
					break
				}
				allowed = allowed || reads[last].issued.Sub(r.returned) >= required
			}
			if ok, why := w.Closable(takeover); ok != allowed {
				t.Fatalf("closable %v (%s), but the reads allow %v: %+v", ok, why, allowed, reads)
			}
		}
	})
}

func BenchmarkProofsOf(b *testing.B) {
	id := sampleIdentity
	id.Capacity = 1000
	slots, err := DecodeRegion(sampleRegion(b, id.Capacity), id, nil)
	if err != nil {
		b.Fatal(err)
	}
	var proofs []Proof
	b.ReportAllocs()
	for b.Loop() {
		proofs, _ = ProofsOf(slots, proofs)
	}
}
