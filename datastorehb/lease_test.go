package datastorehb

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = Instant(time.Second)

func TestLease(t *testing.T) {
	type renewal struct{ now, issued Instant }
	tests := []struct {
		name     string
		renewals []renewal
		at       Instant
		valid    bool
	}{
		{"runs from the issue of the claim", nil, 4*second - 1, true},
		{"has run out at the deadline", nil, 4 * second, false},
		{"is renewed from the issue", []renewal{{3 * second, 2 * second}}, 6*second - 1, true},
		{"and no longer", []renewal{{3 * second, 2 * second}}, 6 * second, false},
		{"an older proof does not shorten it", []renewal{{3 * second, 2 * second}, {3 * second, second}}, 6*second - 1, true},
		{"a proof that is handled too late does not revive it", []renewal{{4 * second, 3 * second}}, 5 * second, false},
		{"nor do later ones", []renewal{{4 * second, 3 * second}, {4 * second, 4 * second}}, 4*second + 1, false},
		{"a proof from the future counts from now", []renewal{{1 * second, 100 * second}}, 5 * second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLease(3, 0, 4*time.Second)
			for _, r := range tt.renewals {
				l.Renew(r.now, r.issued)
			}
			if got := l.Valid(tt.at); got != tt.valid {
				t.Errorf("valid at %v: %v, deadline %v", tt.at, got, l.Deadline())
			}
			if l.Term() != 3 || l.Length() != 4*time.Second {
				t.Errorf("term %d, length %v", l.Term(), l.Length())
			}
		})
	}
	var zero Lease
	if zero.Valid(0) || zero.Renew(0, 0) {
		t.Error("the zero lease is valid")
	}
	inherited := InheritedLease(5, 7*second, 4*time.Second)
	if inherited.Valid(7*second) || inherited.Extend(6*second, 9*second) {
		t.Error("an inherited lease outlived its deadline")
	}
}

// Custody lasts until it is ended, and leaves L from there; what has run out is not
// taken into custody.
func TestLeaseInCustody(t *testing.T) {
	l := NewLease(3, 0, 4*time.Second)
	if !l.BeginCustody(3*second) || !l.Valid(3600*second) || !l.InCustody() {
		t.Fatal("custody does not last")
	}
	if !l.Renew(3600*second, 3600*second) || !l.InCustody() {
		t.Fatal("a proof of life ends custody")
	}
	l.EndCustody(7200 * second)
	if l.InCustody() || l.Deadline() != 7204*second || !l.Valid(7204*second-1) || l.Valid(7204*second) {
		t.Fatalf("after custody it runs until %v", l.Deadline())
	}
	if l.BeginCustody(7205*second) || l.Valid(7205*second) {
		t.Fatal("what has run out is in custody")
	}
	l.EndCustody(7206 * second)
	if l.Valid(7206 * second) {
		t.Fatal("the end of a custody that never began revives the lease")
	}
	kept := CustodyLease(5, 4*time.Second)
	if !kept.Valid(7200*second) || kept.Term() != 5 || kept.Length() != 4*time.Second {
		t.Fatal("a lease that somebody else keeps in custody does not last")
	}
}

// TestLeaseIsLatched drives a lease with a clock that only goes forward and
// proofs that were issued at any time before. Once a deadline was passed, it never
// holds again; and while it holds, a proof not older than L stands behind it.
func TestLeaseIsLatched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.Int64Range(1, 20).Draw(t, "L"))
		l := NewLease(1, 0, length)
		now, newest, lapsed := Instant(0), Instant(0), false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += Instant(rapid.Int64Range(0, 12).Draw(t, "passes"))
			if now >= newest.Add(length) {
				lapsed = true
			}
			if rapid.Bool().Draw(t, "proof") {
				issued := Instant(rapid.Int64Range(0, int64(now)).Draw(t, "issued"))
				if got := l.Renew(now, issued); got == lapsed {
					t.Fatalf("renewed at %d: %v, though lapsed: %v", now, got, lapsed)
				}
				if !lapsed {
					newest = max(newest, issued)
				}
			}
			if rapid.Bool().Draw(t, "asked") && l.Valid(now) == lapsed {
				t.Fatalf("valid at %d, though lapsed: %v", now, lapsed)
			}
		}
	})
}

func TestTimingValidate(t *testing.T) {
	good := Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second}
	for name, tt := range map[string]struct {
		spoil func(*Timing)
		ok    bool
	}{
		"default": {func(*Timing) {}, true},
		"fast": {func(x *Timing) {
			*x = Timing{250 * time.Millisecond, 1500 * time.Millisecond, 500 * time.Millisecond, 2200 * time.Millisecond}
		}, true},
		"relaxed": {func(x *Timing) {
			*x = Timing{2 * time.Second, 10 * time.Second, 500 * time.Millisecond, 12 * time.Second}
		}, true},
		"zero":               {func(x *Timing) { *x = Timing{} }, false},
		"negative freeze":    {func(x *Timing) { x.Freeze = -1 }, false},
		"short lease":        {func(x *Timing) { x.Interval = 3 * time.Second }, false},
		"long lease":         {func(x *Timing) { x.Lease = 4500 * time.Millisecond }, false},
		"least takeover":     {func(x *Timing) { x.Takeover = x.LeastTakeover() }, true},
		"one tick too short": {func(x *Timing) { x.Takeover = x.LeastTakeover() - time.Millisecond }, false},
		"absurd":             {func(x *Timing) { x.Lease, x.Takeover = 1<<62, 1<<62+1<<61 }, false},
	} {
		x := good
		tt.spoil(&x)
		if err := x.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLeastTakeover checks that the least takeover time satisfies R9, and that a
// millisecond less does not.
func TestLeastTakeover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := Timing{Lease: time.Duration(rapid.Int64Range(0, int64(MaxDuration)).Draw(t, "L")), Freeze: time.Duration(rapid.Int64Range(0, int64(MaxDuration)).Draw(t, "F"))}
		holds := func(takeover time.Duration) bool { return takeover >= x.Lease+x.Freeze+Epsilon(takeover) }
		least := x.LeastTakeover()
		if !holds(least) || holds(least-time.Millisecond-time.Microsecond) {
			t.Fatalf("least takeover %v for lease %v, freeze %v", least, x.Lease, x.Freeze)
		}
	})
}

func TestTermCarries(t *testing.T) {
	for _, tt := range []struct {
		term  Term
		named uint64
		want  bool
	}{
		{Term{Number: 5, First: 3}, 3, true},
		{Term{Number: 5, First: 3}, 5, true},
		{Term{Number: 5, First: 3}, 2, false},
		{Term{Number: 5, First: 3}, 6, false},
		{Term{Number: 5, First: 3, Closed: true}, 4, false},
	} {
		if got := tt.term.Carries(tt.named); got != tt.want {
			t.Errorf("%+v carries %d: %v", tt.term, tt.named, got)
		}
	}
}
