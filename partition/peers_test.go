package partition

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

const tick = datastorehb.Instant(10 * time.Millisecond)

// node is one run of a host's agent in a test: its detector and its sequence.
type node struct {
	writer   datastorehb.Writer
	peers    *Peers
	sequence uint64
}

func newNode(host datastorehb.HostID, incarnation uint64, now datastorehb.Instant, others ...datastorehb.HostID) *node {
	w := datastorehb.Writer{Host: host, Machine: uuidOf(byte(host)), Boot: uuidOf(byte(host) + 100), Incarnation: incarnation}
	n := &node{writer: w, peers: NewPeers(w, TimingOf(defaultTiming), now)}
	n.peers.Expect(now, others)
	return n
}

func (n *node) send(now datastorehb.Instant, to datastorehb.HostID) Packet {
	return n.sendEcho(now, to, n.peers.EchoFor(to))
}

func (n *node) sendEcho(now datastorehb.Instant, to datastorehb.HostID, echo Echo) Packet {
	n.sequence++
	n.peers.Sent(now, n.sequence)
	return Packet{From: n.writer, To: to, Sequence: n.sequence, Echo: echo}
}

// acquaint lets two hosts exchange packets until both accept each other.
func acquaint(t *testing.T, now datastorehb.Instant, a, b *node) {
	t.Helper()
	b.peers.Heard(now, a.send(now, b.writer.Host))
	a.peers.Heard(now, b.send(now, a.writer.Host))
	if fresh, _ := b.peers.Heard(now, a.send(now, b.writer.Host)); !fresh {
		t.Fatal("a packet that echoes ours was not taken")
	}
	if fresh, _ := a.peers.Heard(now, b.send(now, a.writer.Host)); !fresh {
		t.Fatal("the other side did not take its packet")
	}
}

func at(seconds float64) datastorehb.Instant {
	return datastorehb.Instant(seconds * float64(time.Second))
}

func TestFirstPacketsAreProvenByEcho(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	fresh, reply := b.peers.Heard(tick, a.send(tick, 2))
	if fresh || !reply {
		t.Fatalf("a first packet without echo: fresh %v, reply %v; want it unproven and answered", fresh, reply)
	}
	answer := b.sendEcho(tick, 1, b.peers.ReplyEcho(1))
	if want := (Echo{Incarnation: 11, Sequence: 1}); answer.Echo != want {
		t.Fatalf("the answer echoes %+v, want %+v", answer.Echo, want)
	}
	if fresh, reply := a.peers.Heard(2*tick, answer); !fresh || reply {
		t.Fatalf("the answer: fresh %v, reply %v; want it taken and unanswered", fresh, reply)
	}
	if fresh, _ := b.peers.Heard(3*tick, a.send(3*tick, 2)); !fresh {
		t.Fatal("the next packet, which echoes the answer, was not taken")
	}
	if p, ok := b.peers.LastPacket(1); !ok || p.Sequence != 2 {
		t.Errorf("last packet %v %d, want 2", ok, p.Sequence)
	}
}

func TestRepliesAreRare(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	replies := 0
	for now := tick; now <= at(5); now += tick {
		if _, reply := b.peers.Heard(now, a.send(now, 2)); reply {
			replies++
		}
	}
	if replies != 10 {
		t.Errorf("%d replies in 5s to a sender that never proves itself, want 10: one per beat", replies)
	}
}

func TestPacketsOfStrangersAreIgnored(t *testing.T) {
	b := newNode(2, 22, 0, 1)
	for _, from := range []datastorehb.HostID{2, 3} {
		s := newNode(from, 5, 0, 2)
		if fresh, reply := b.peers.Heard(tick, s.send(tick, 2)); fresh || reply {
			t.Errorf("packet of host %d: fresh %v, reply %v, want neither", from, fresh, reply)
		}
	}
	if e := b.peers.EchoFor(3); e != (Echo{}) {
		t.Errorf("a stranger is echoed: %+v", e)
	}
}

func TestReplayNeverCounts(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	acquaint(t, tick, a, b)
	recorded := a.send(2*tick, 2)
	withheld := a.send(2*tick, 2) // recorded, but never delivered
	b.peers.Heard(2*tick, recorded)
	refuse := func(now datastorehb.Instant, what string, p Packet) {
		t.Helper()
		silence := b.peers.Silence(1, now)
		if fresh, _ := b.peers.Heard(now, p); fresh || b.peers.Silence(1, now) != silence {
			t.Errorf("%s counted as heard", what)
		}
	}
	refuse(3*tick, "the same packet again", recorded)
	for now := at(0.5); now < at(9); now += at(0.5) {
		b.send(now, 1)
	}
	refuse(at(9), "an old packet that had never arrived, of a host found silent", withheld)

	restarted := newNode(1, 12, at(9), 2)
	acquaint(t, at(9), b, restarted)
	refuse(at(9.1), "a packet of the run before", recorded)
	refuse(at(9.1), "a withheld packet of the run before", withheld)
}

// A run that died just now has echoed recent packets of ours. Recordings of it
// must not win against the run that has taken its place.
func TestRunThatGaveWayStaysAway(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	acquaint(t, tick, a, b)
	a.peers.Heard(2*tick, b.send(2*tick, 1))
	a.peers.Heard(2*tick, b.send(2*tick, 1))
	withheld := a.send(2*tick, 2)

	restarted := newNode(1, 12, 3*tick, 2)
	restarted.peers.Heard(3*tick, b.send(3*tick, 1))
	if fresh, _ := b.peers.Heard(3*tick, restarted.send(3*tick, 2)); !fresh {
		t.Fatal("the new run echoes a recent packet and was not taken")
	}
	if fresh, reply := b.peers.Heard(4*tick, withheld); fresh || reply {
		t.Errorf("a packet of the run before: fresh %v, reply %v, want neither", fresh, reply)
	}
	if e := b.peers.EchoFor(1); e.Incarnation != 12 {
		t.Errorf("the echo names incarnation %d, want 12", e.Incarnation)
	}
}

func TestOlderEchoDoesNotReplaceARun(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	forerunner := newNode(1, 10, 0, 2)
	forerunner.peers.Heard(tick, b.send(tick, 1))
	withheld := forerunner.send(tick, 2) // names a recent packet of b, but was never delivered
	acquaint(t, 2*tick, a, b)
	if fresh, _ := b.peers.Heard(3*tick, withheld); fresh {
		t.Error("a forerunner that never arrived replaced the present run")
	}
}

// Packets overtake each other: a run may have heard a newer packet of ours than
// its successor when that proved itself. Its recordings still count for nothing.
func TestOvertakenEchoDoesNotBringARunBack(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	acquaint(t, tick, a, b)
	overtaken, overtaking := b.send(2*tick, 1), b.send(2*tick, 1)
	a.peers.Heard(2*tick, overtaking)
	withheld := a.send(2*tick, 2)

	restarted := newNode(1, 12, 3*tick, 2)
	restarted.peers.Heard(3*tick, overtaken)
	if fresh, _ := b.peers.Heard(3*tick, restarted.send(3*tick, 2)); !fresh {
		t.Fatal("the new run echoes a packet newer than any its forerunner echoed, and was not taken")
	}
	if fresh, reply := b.peers.Heard(4*tick, withheld); fresh || reply {
		t.Errorf("a packet of the run before: fresh %v, reply %v, want neither", fresh, reply)
	}
}

func TestEchoMustBeRecent(t *testing.T) {
	for after, want := range map[float64]bool{2.4: true, 2.6: false} {
		a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
		a.peers.Heard(0, b.send(0, 1)) // the last packet that b sends
		if fresh, _ := b.peers.Heard(at(after), a.send(at(after), 2)); fresh != want {
			t.Errorf("echo of a packet sent %vs ago: fresh %v, want %v", after, fresh, want)
		}
	}
}

func TestOneWay(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	acquaint(t, 0, a, b)
	for now := at(0.5); now <= at(6); now += at(0.5) {
		b.send(now, 1) // lost
		if fresh, _ := b.peers.Heard(now, a.send(now, 2)); !fresh {
			t.Fatalf("at %v: host 1 goes on sending and was not heard", now)
		}
		if one, want := b.peers.OneWay(1, now), now > at(2.5); one != want {
			t.Errorf("at %v: one-way %v, want %v", now, one, want)
		}
		if two, want := b.peers.TwoWay(1, now, at0(1.5)), now <= at(2.5); two != want {
			t.Errorf("at %v: two-way %v, want %v", now, two, want)
		}
	}
	if a.peers.OneWay(2, at(6)) {
		t.Error("host 2 is silent, not one-way, as host 1 sees it")
	}
	a.peers.Heard(at(6.1), b.send(at(6.1), 1))
	b.peers.Heard(at(6.1), a.sendEcho(at(6.1), 2, a.peers.ReplyEcho(2)))
	if b.peers.OneWay(1, at(6.1)) {
		t.Error("the path works again and host 1 still counts as one-way")
	}
}

func at0(seconds float64) time.Duration { return time.Duration(at(seconds)) }

func TestSilence(t *testing.T) {
	a, b := newNode(1, 11, at(1), 2), newNode(2, 22, at(1), 1, 3)
	if s := b.peers.Silence(1, at(2)); s != time.Second {
		t.Errorf("never heard in the first second: silence %v, want 1s", s)
	}
	acquaint(t, at(2), a, b)
	if s, q := b.peers.Silence(1, at(5)), b.peers.Quiet(at(5)); s != 3*time.Second || q != s {
		t.Errorf("silence %v, quiet %v, want 3s for both", s, q)
	}
	if s := b.peers.Silence(9, at(5)); s != 0 {
		t.Errorf("silence of an unknown host %v, want 0", s)
	}
	b.peers.Expect(at(6), []datastorehb.HostID{3, 4})
	if _, known := b.peers.LastPacket(1); known {
		t.Error("a host that is no member any more is still known")
	}
	if s := b.peers.Silence(4, at(6)); s != 0 {
		t.Errorf("silence of a new member %v, want 0", s)
	}
}

func TestSlowHostSuspectsItselfFirst(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1, 3)
	acquaint(t, tick, a, b)
	for now := at(0.5); now <= at(3.5); now += at(0.5) {
		b.peers.Heard(now, a.send(now, 2))
		if b.peers.Step(now) {
			t.Fatalf("at %v: a step in time suspended", now)
		}
	}
	if !b.peers.Step(at(20)) {
		t.Fatal("a step 16.5s late did not suspend")
	}
	n := b.peers.Network(1, at(20))
	if diff := cmp.Diff(Network{Heard: true, LastFresh: at(3.5), OneWay: true}, n); diff != "" {
		t.Errorf("host heard until the pause (-want +got):\n%s", diff)
	}
	if s := b.peers.Silence(3, at(20)); s < 3*time.Second {
		t.Errorf("a host found silent before the pause counts as silent for %v only", s)
	}
	if s := b.peers.Silence(1, at(22)); s != 2*time.Second {
		t.Errorf("silence %v two seconds after the pause, want 2s", s)
	}
}

func TestAgentRestartIsNoticedAtOnce(t *testing.T) {
	a, b := newNode(1, 11, 0, 2), newNode(2, 22, 0, 1)
	acquaint(t, tick, a, b)
	b.peers.Heard(at(1), a.send(at(1), 2))
	again := newNode(1, 12, at(1)+2*tick, 2)
	fresh, reply := b.peers.Heard(at(1)+2*tick, again.send(at(1)+2*tick, 2))
	if fresh || !reply {
		t.Fatalf("first packet of a new run: fresh %v, reply %v", fresh, reply)
	}
	if e := b.peers.EchoFor(1); e.Incarnation != 11 {
		t.Errorf("an unproven run displaced the accepted one in the echo: %+v", e)
	}
	again.peers.Heard(at(1)+3*tick, b.sendEcho(at(1)+3*tick, 1, b.peers.ReplyEcho(1)))
	if fresh, _ := b.peers.Heard(at(1)+4*tick, again.send(at(1)+4*tick, 2)); !fresh {
		t.Error("the new run has proven itself and was not taken")
	}
	if fresh, _ := b.peers.Heard(at(1)+5*tick, a.send(at(1)+5*tick, 2)); fresh {
		t.Error("the old run was taken back")
	}
}

// Whatever is replayed, reordered and lost: a packet counts at most once, never
// after a newer one of its run, and no run counts again after another took its place.
func TestReplayProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newNode(2, 22, 0, 1)
		run := uint64(1)
		a := newNode(1, run, 0, 2)
		var air []Packet
		last, newest := map[uint64]uint64{}, uint64(0)
		now := datastorehb.Instant(0)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now += datastorehb.Instant(rapid.IntRange(1, 600).Draw(t, "ms")) * datastorehb.Instant(time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				run++
				a = newNode(1, run, now, 2)
			case 1, 2, 3:
				air = append(air, a.send(now, 2))
			case 4, 5, 6:
				a.peers.Heard(now, b.send(now, 1))
			default:
				if len(air) == 0 {
					continue
				}
				p := air[rapid.IntRange(0, len(air)-1).Draw(t, "packet")]
				fresh, _ := b.peers.Heard(now, p)
				if !fresh {
					continue
				}
				if p.Sequence <= last[p.From.Incarnation] || p.From.Incarnation < newest {
					t.Fatalf("run %d sequence %d counts after run %d sequence %d", p.From.Incarnation, p.Sequence, newest, last[p.From.Incarnation])
				}
				last[p.From.Incarnation], newest = p.Sequence, p.From.Incarnation
			}
		}
	})
}
