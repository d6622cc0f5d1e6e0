package partition

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPings(t *testing.T) {
	var p Pings
	p.Answered(at(1), 1, "a")
	if diff := cmp.Diff(Ping{}, p.Of(1, "a")); diff != "" {
		t.Errorf("an answer that nobody asked for counts:\n%s", diff)
	}
	p.Asked(at(1), 1, "a")
	p.Asked(at(2), 1, "a")
	if got := p.Of(1, "a").Unanswering(at(4)); got != 3*time.Second {
		t.Errorf("unanswered for %v, want 3s: from the first ask", got)
	}
	p.Answered(at(4), 1, "a")
	if g := p.Of(1, "a"); g.Open || !g.AnsweredWithin(at(6), 3*time.Second) || g.AnsweredWithin(at(7), 3*time.Second) {
		t.Errorf("answered at 4s: %+v", g)
	}
	p.Asked(at(4), 1, "a")
	if got := p.Of(1, "a").Unanswering(at(5)); got != time.Second {
		t.Errorf("asked again at the instant of the answer, unanswered for %v, want 1s", got)
	}
	p.Suspend(at(9))
	if got := p.Of(1, "a").Unanswering(at(10)); got != time.Second {
		t.Errorf("unanswered for %v after this host was away until 9s, want 1s", got)
	}
}

func TestOneAddressThatAnswersIsEnough(t *testing.T) {
	var p Pings
	p.Asked(at(1), 1, "a")
	p.Asked(at(2), 1, "b")
	p.Asked(at(2), 2, "c")
	p.Answered(at(3), 1, "b")
	want := Ping{Asked: true, LastAsk: at(2), Waiting: at(2), Answered: true, Last: at(3)}
	if diff := cmp.Diff(want, p.OfHost(1)); diff != "" {
		t.Errorf("host 1 (-want +got):\n%s", diff)
	}
	if !p.OfHost(2).Open || p.OfHost(3).Asked {
		t.Errorf("hosts 2 and 3: %+v, %+v", p.OfHost(2), p.OfHost(3))
	}
	p.Keep(1, []string{"a"})
	if p.OfHost(1).Answered {
		t.Error("an address that was dropped still counts")
	}
	p.Keep(2, nil)
	if p.OfHost(2).Asked {
		t.Error("a host whose addresses were all dropped is still known")
	}
}
