package poweron

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

func TestCrash(t *testing.T) {
	policy := Policy{Restart: true, Attempts: 2, Limit: 6, Window: time.Minute}
	for _, tt := range []struct {
		name     string
		change   func(*Policy)
		failures uint32
		ranFor   time.Duration
		action   Action
		reason   ReleaseReason
		after    uint32
		delay    time.Duration
		why      string
	}{
		{"first", nil, 0, time.Second, RestartHere, 0, 1, time.Second, "crashed after 1s: failure 1 in a row, restart on the spot in 1s"},
		{"second", nil, 1, time.Second, RestartHere, 0, 2, 3 * time.Second, "failure 2"},
		{"third moves", nil, 2, time.Second, Move, Crashed, 3, 0, "a move follows 2 restarts"},
		{"fourth, on another host", nil, 3, time.Second, RestartHere, 0, 4, 27 * time.Second, "failure 4"},
		{"sixth reaches the limit", nil, 5, time.Second, Hold, Held, 6, 0, "failure 6 in a row, and the limit is 6"},
		{"beyond the limit", nil, 99, time.Second, Hold, Held, 100, 0, "failure 100"},
		{"a good run sets back", nil, 5, time.Minute + 1, RestartHere, 0, 1, time.Second, "failure 1"},
		{"a run of just the window does not", nil, 5, time.Minute, Hold, Held, 6, 0, "failure 6"},
		{"no attempt on the spot", func(p *Policy) { p.Attempts = 0 }, 0, time.Second, Move, Crashed, 1, 0, "failure 1"},
		{"limit of one", func(p *Policy) { p.Limit = 1 }, 0, time.Second, Hold, Held, 1, 0, "limit is 1"},
		{"no restart allowed", func(p *Policy) { p.Restart = false }, 0, time.Hour, Hold, Held, 1, 0, "restart = false"},
		{"count does not wrap", func(p *Policy) { p.Limit = 1 << 40 }, 1<<32 - 1, 0, Move, Crashed, 1<<32 - 1, 0, ""},
	} {
		p := policy
		if tt.change != nil {
			tt.change(&p)
		}
		r := Crash(p, tt.failures, tt.ranFor)
		if r.Action != tt.action || r.Reason != tt.reason || r.Failures != tt.after || r.Delay != tt.delay || !strings.Contains(r.Why, tt.why) {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
}

func TestStartFailure(t *testing.T) {
	p := Policy{Restart: true, Attempts: 2, Limit: 3, Window: time.Minute}
	if r := StartFailure(p, 1); r.Action != Move || r.Reason != StartFailed || r.Failures != 2 {
		t.Errorf("second: %+v", r)
	}
	if r := StartFailure(p, 2); r.Action != Hold || r.Reason != Held || r.Failures != 3 {
		t.Errorf("third: %+v", r)
	}
}

// Whatever the policy, a machine that only crashes is held after as many
// crashes as the limit says, and never before.
func TestAMachineThatOnlyCrashesIsHeldAtTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultPolicy()
		p.Attempts = rapid.IntRange(0, maxAttempts).Draw(t, "attempts")
		p.Limit = rapid.IntRange(1, 50).Draw(t, "limit")
		failures := uint32(0)
		for n := 1; n <= p.Limit; n++ {
			r := Crash(p, failures, time.Second)
			if (r.Action == Hold) != (n == p.Limit) {
				t.Fatalf("crash %d of %d: %+v", n, p.Limit, r)
			}
			failures = r.Failures
		}
	})
}

func TestDelaysGrowToABound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		delay func(n int) time.Duration
		first time.Duration
		times time.Duration
		most  time.Duration
	}{
		{"RestartDelay", func(n int) time.Duration { return RestartDelay(uint32(n)) }, time.Second, 3, 2 * time.Minute},
		{"Delay", Delay, 500 * time.Millisecond, 2, 30 * time.Second},
	} {
		if d := tt.delay(0); d != 0 {
			t.Errorf("%s(0) = %v", tt.name, d)
		}
		if d := tt.delay(1); d != tt.first {
			t.Errorf("%s(1) = %v", tt.name, d)
		}
		for n := 1; n < 100; n++ {
			if a, b := tt.delay(n), tt.delay(n+1); b != min(tt.times*a, tt.most) {
				t.Errorf("%s(%d) = %v after %v", tt.name, n+1, b, a)
			}
		}
		if d := tt.delay(1<<31 - 1); d != tt.most {
			t.Errorf("%s has no bound: %v", tt.name, d)
		}
	}
	if d := Delay(-1); d != 0 {
		t.Errorf("Delay(-1) = %v", d)
	}
}

func TestPause(t *testing.T) {
	g := Generation{Kind: Released, Reason: StartFailed, Entry: 3, Failures: 4}
	for _, tt := range []struct {
		name   string
		change func(*Entry, *Generation)
		want   time.Duration
	}{
		{"could not be started", nil, 27 * time.Second},
		{"crashed", func(_ *Entry, g *Generation) { g.Reason = Crashed }, 27 * time.Second},
		{"a user asks for a start", func(e *Entry, _ *Generation) { e.Asked = 4 }, 0},
		{"a user had asked before", func(e *Entry, _ *Generation) { e.Asked = 3 }, 27 * time.Second},
		{"handed over", func(_ *Entry, g *Generation) { g.Reason = HandedOver }, 0},
		{"its host was lost", func(_ *Entry, g *Generation) { g.Kind, g.Reason = Run, NotReleased }, 0},
	} {
		e, g := sampleEntry(), g
		e.Asked = 0
		if tt.change != nil {
			tt.change(&e, &g)
		}
		if got := Pause(e, g); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWants(t *testing.T) {
	run := &Generation{Number: 4, Kind: Run, Owner: 2, Term: 7, Entry: 3}
	released := func(r ReleaseReason) *Generation {
		return &Generation{Number: 5, Kind: Released, Owner: 2, Reason: r, Entry: 3, Failures: 6, Detail: "details"}
	}
	noRestart := func(e *Entry) { e.Policy.Restart = false }
	askedAgain := func(e *Entry) { *e = AskStart(*e, 4) }
	noRestartAsked := func(e *Entry) { noRestart(e); askedAgain(e) }
	for _, tt := range []struct {
		name     string
		change   func(*Entry)
		revision uint64
		newest   *Generation
		over     bool
		want     bool
		why      string
	}{
		{"never ran", nil, 1, nil, false, true, "never ran"},
		{"never ran, no restart", noRestart, 1, nil, false, true, "never ran"},
		{"unprotected (I5)", func(e *Entry) { e.Protected = false }, 4, released(Crashed), true, false, "storebeat vm protect"},
		{"stopped (I5)", func(e *Entry) { e.Desired = Stopped }, 4, run, true, false, "storebeat vm start web-1"},
		{"runs", nil, 3, run, false, true, "host 2 holds it"},
		{"runs, no restart", noRestart, 3, run, false, true, "host 2 holds it"},
		{"host lost", nil, 3, run, true, true, "host 2 was lost"},
		{"host lost, no restart", noRestart, 3, run, true, false, "restart = false"},
		{"host lost, no restart, policy changed since", noRestart, 4, run, true, false, "restart = false"},
		{"host lost, no restart, user asked", noRestartAsked, 4, run, true, true, "asked for a start in revision 4"},
		{"entry out of date", nil, 2, released(StoppedByUser), true, false, "read the entry again"},
		{"stopped and wanted again", nil, 3, released(StoppedByUser), true, true, "wants it running again"},
		{"handed over, no restart", noRestart, 3, released(HandedOver), true, true, "handed it over"},
		{"crashed", nil, 3, released(Crashed), true, true, "crashed"},
		{"crashed, no restart", noRestart, 3, released(Crashed), true, false, "restart = false"},
		{"start failed", nil, 3, released(StartFailed), true, true, "start failed"},
		{"host shut down", nil, 3, released(HostShutdown), true, true, "host shutdown"},
		{"isolation", nil, 3, released(Isolation), true, true, "isolation"},
		{"abandoned", nil, 3, released(Abandoned), true, true, "abandoned"},
		{"held", nil, 3, released(Held), true, false, "held since failure 6 in a row (details): let it go with `storebeat vm start web-1`"},
		{"held, policy changed since", nil, 4, released(Held), true, false, "held since failure 6"},
		{"held, user asked", askedAgain, 4, released(Held), true, true, "asked for a start"},
		{"guest shut down", nil, 3, released(GuestShutDown), true, false, `"stay off"`},
		{"guest shut down, user asked", askedAgain, 4, released(GuestShutDown), true, true, "asked for a start"},
		{"guest shut down, start again", func(e *Entry) { e.Policy.OnGuestShutDown = StartAgain }, 3, released(GuestShutDown), true, true, "guest shut down"},
		{"guest shut down, start again, no restart", func(e *Entry) { noRestart(e); e.Policy.OnGuestShutDown = StartAgain }, 3, released(GuestShutDown), true, false, "restart = false"},
	} {
		e := sampleEntry()
		e.Asked = 1
		if tt.change != nil {
			tt.change(&e)
		}
		wants, why := Wants(e, tt.revision, tt.newest, tt.over)
		if wants != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("%s: Wants = %t, %q; want %t with %q", tt.name, wants, why, tt.want, tt.why)
		}
	}
}

// A machine is kept for the host that was shut down with it, as its policy says and
// for nobody else.
func TestKept(t *testing.T) {
	shut := Generation{Number: 5, Kind: Released, Owner: 2, Reason: HostShutdown, Entry: 3}
	wait := func(e *Entry, _ *Generation) {
		e.Policy.OnHostShutdown, e.Policy.RebootWait = WaitForReboot, time.Minute
	}
	off := func(e *Entry, _ *Generation) { e.Policy.OnHostShutdown, e.Policy.RebootWait = LeaveOff, time.Minute }
	for _, tt := range []struct {
		name   string
		change []func(*Entry, *Generation)
		host   datastorehb.HostID
		long   time.Duration
	}{
		{"nothing is said", nil, 0, 0},
		{"restart elsewhere", []func(*Entry, *Generation){func(e *Entry, _ *Generation) { e.Policy = e.Policy.Complete() }}, 0, 0},
		{"wait", []func(*Entry, *Generation){wait}, 2, time.Minute},
		{"leave off", []func(*Entry, *Generation){off}, 2, ForGood},
		{"leave off, and a user has asked for a start", []func(*Entry, *Generation){off, func(e *Entry, _ *Generation) { e.Asked = 4 }}, 0, 0},
		{"leave off, and its rules do not allow that host any more", []func(*Entry, *Generation){off, func(e *Entry, _ *Generation) { e.Rules.Must.Hosts = []datastorehb.HostID{1, 3} }}, 0, 0},
		{"leave off, and it crashed", []func(*Entry, *Generation){off, func(_ *Entry, g *Generation) { g.Reason = Crashed }}, 0, 0},
		{"leave off, and its host was lost", []func(*Entry, *Generation){off, func(_ *Entry, g *Generation) { g.Kind, g.Reason = Run, NotReleased }}, 0, 0},
	} {
		e, g := sampleEntry(), shut
		e.Asked = 1
		for _, change := range tt.change {
			change(&e, &g)
		}
		if host, long := Kept(e, &g); host != tt.host || long != tt.long {
			t.Errorf("%s: kept for host %d for %v, want host %d for %v", tt.name, host, long, tt.host, tt.long)
		}
	}
	if host, _ := Kept(waitingEntry(), nil); host != 0 {
		t.Errorf("a machine that never ran is kept for host %d", host)
	}
}

// A change of one of the two fields completes an entry that has neither.
func TestChangeOfHostShutdown(t *testing.T) {
	wait, off, long := WaitForReboot, LeaveOff, time.Hour
	for _, tt := range []struct {
		change Change
		want   HostShutdownResponse
		wait   time.Duration
	}{
		{Change{Policy: PolicyChange{OnHostShutdown: &wait}}, WaitForReboot, DefaultPolicy().RebootWait},
		{Change{Policy: PolicyChange{OnHostShutdown: &wait, RebootWait: &long}}, WaitForReboot, time.Hour},
		{Change{Policy: PolicyChange{OnHostShutdown: &off}}, LeaveOff, DefaultPolicy().RebootWait},
		{Change{Policy: PolicyChange{RebootWait: &long}}, RestartElsewhere, time.Hour},
		{Change{Policy: PolicyChange{Priority: new(1)}}, "", 0},
	} {
		e, err := tt.change.Of(sampleEntry())
		if err != nil || e.Policy.OnHostShutdown != tt.want || e.Policy.RebootWait != tt.wait {
			t.Errorf("%+v: %q for %v, %v", tt.change, e.Policy.OnHostShutdown, e.Policy.RebootWait, err)
		}
	}
}

func TestEnumsHaveNames(t *testing.T) {
	for got, want := range map[string]string{
		Run.String(): "run", Released.String(): "released", GenerationKind(9).String(): "GenerationKind(9)",
		Abandoned.String(): "abandoned", ReleaseReason(10).String(): "ReleaseReason(10)",
		RestartHere.String(): "restart here", Move.String(): "move", Hold.String(): "hold", Action(9).String(): "Action(9)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
