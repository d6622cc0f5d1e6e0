package poweron

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"storebeat/datastorehb"
)

// shared is held by host 2 under term 7 and received by host 3 under term 4.
func shared() Generation {
	return Share(heldBy(2, 7), sampleWriter(2), 7, Party{Writer: sampleWriter(3), Term: 4})
}

// knownTerms knows the newest terms of some hosts.
func knownTerms(terms ...datastorehb.Term) Terms {
	return func(h datastorehb.HostID) (datastorehb.Term, bool) {
		for _, t := range terms {
			if t.Host == h {
				return t, true
			}
		}
		return datastorehb.Term{}, false
	}
}

// A shared generation is over for others when both chains are broken, and may be claimed
// by one of the two alone when the other's is (R15).
func TestSharedIsOver(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		terms                Terms
		over, owner, another bool // over; claimed alone by the owner; by the receiver
	}{
		{"nothing known", knownTerms(), false, false, false},
		{"both chains go on", knownTerms(openTerm(2, 7, 9), openTerm(3, 2, 4)), false, false, false},
		{"the owner's is closed", knownTerms(closedTerm(2, 8), openTerm(3, 4, 4)), false, false, true},
		{"the owner's is closed, the receiver's not known", knownTerms(closedTerm(2, 8)), false, false, true},
		{"the receiver's is closed", knownTerms(openTerm(2, 7, 7), closedTerm(3, 5)), false, true, false},
		{"the receiver has booted", knownTerms(openTerm(2, 7, 7), openTerm(3, 5, 5)), false, true, false},
		{"the receiver's closed term is an old one", knownTerms(openTerm(2, 7, 7), closedTerm(3, 3)), false, false, false},
		{"both are closed", knownTerms(closedTerm(2, 8), closedTerm(3, 5)), true, true, true},
		{"both have booted", knownTerms(openTerm(2, 8, 8), openTerm(3, 5, 6)), true, true, true},
	} {
		g := shared()
		over, why := Over(g, tt.terms)
		if over != tt.over {
			t.Errorf("%s: over %t: %s", tt.name, over, why)
		}
		for host, want := range map[datastorehb.HostID]bool{1: tt.over, 2: tt.owner, 3: tt.another} {
			if may, why := MayClaim(host, &g, tt.terms); may != want {
				t.Errorf("%s: host %d may claim the next one: %t, %s", tt.name, host, may, why)
			}
		}
	}
}

func TestMayRunShared(t *testing.T) {
	for host, term := range map[datastorehb.HostID]uint64{1: 1, 2: 7, 3: 4} {
		s := Standing{Host: host, Generation: shared(), Mine: true, Term: openTerm(host, term, term), TermKnown: true, LeaseTerm: term, LeaseValid: true}
		if may, why := MayRun(s); may != (host != 1) {
			t.Errorf("host %d may run it: %t, %s", host, may, why)
		}
		s.Term = openTerm(host, term+1, term+1)
		s.LeaseTerm++
		if may, _ := MayRun(s); may {
			t.Errorf("host %d may run it under another chain", host)
		}
	}
}

// What follows a shared generation names whom it should, and carries over what it should.
func TestAfterSharing(t *testing.T) {
	g := shared()
	g.Failures, g.Entry = 2, 5
	again := ShareAgain(g, sampleWriter(3), 6)
	want := g
	want.Number, want.Receiver = 6, Party{Writer: sampleWriter(3), Term: 6}
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("shared again by the receiver (-want +got):\n%s", d)
	}
	again = ShareAgain(g, sampleWriter(2), 9)
	want = g
	want.Number, want.Term = 6, 9
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("shared again by the owner (-want +got):\n%s", d)
	}
	left := LeaveToOther(g, 2, NotReleased, 3, "")
	want = Generation{VM: vm(1), Number: 6, Kind: Run, Owner: 3, Term: 4, Entry: 5, Failures: 3, Holder: sampleWriter(3)}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("left by the owner (-want +got):\n%s", d)
	}
	left = LeaveToOther(g, 3, Crashed, 3, "it")
	want = Generation{VM: vm(1), Number: 6, Kind: Run, Owner: 2, Term: 7, Entry: 5, Failures: 3, Holder: sampleWriter(2), Reason: Crashed, Detail: "it"}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("left by the receiver (-want +got):\n%s", d)
	}
	for _, g := range []Generation{g, again, left} {
		b, err := EncodeGeneration(g, SharedLevel)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := DecodeGeneration(b); err != nil || read != g {
			t.Errorf("%+v reads as %+v, %v", g, read, err)
		}
		if _, err := EncodeGeneration(g, SharedLevel-1); err == nil {
			t.Errorf("%+v is written at level %d", g, SharedLevel-1)
		}
	}
	if next := Next(vm(1), &left, 4, 1, 5); next.Holder.Host != 0 || next.Shared() || next.Failures != 3 {
		t.Errorf("the next one is %+v", next)
	}
}
