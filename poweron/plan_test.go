package poweron

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

const gib = 1 << 30

var storeA, storeB = uuid.UUID{0: 0xa}, uuid.UUID{0: 0xb}

func host(id datastorehb.HostID, memory, used uint64, stores ...uuid.UUID) Host {
	return Host{ID: id, Live: true, Memory: memory, Used: used, Datastores: stores}
}

func machine(n byte, priority int, memory uint64, failed ...Failed) Machine {
	return Machine{VM: vm(n), Name: fmt.Sprintf("m%d", n), Priority: priority, Memory: memory, Home: storeA, Failed: failed}
}

// planned writes a plan as one short line: "1>2" places machine 1 on host 2, and
// "1?" lets it wait.
func planned(r Result) string {
	var words []string
	for _, p := range r.Placements {
		words = append(words, fmt.Sprintf("%d>%d", p.VM[15], p.Host))
	}
	for _, w := range r.Waiting {
		words = append(words, fmt.Sprintf("%d?", w.VM[15]))
	}
	return strings.Join(words, " ")
}

func TestPlan(t *testing.T) {
	dead := Host{ID: 1, State: "dead", Memory: 8 * gib, Datastores: []uuid.UUID{storeA}}
	resting := host(1, 8*gib, 0, storeA)
	resting.Maintenance = true
	busy := host(1, 8*gib, 0, storeA)
	busy.Starting = 4
	for _, tt := range []struct {
		name string
		in   Input
		want string
	}{
		{"nothing", Input{}, ""},
		{"no host", Input{Machines: []Machine{machine(1, 3, gib)}}, "1?"},
		{"least loaded by part, not by bytes", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 4*gib, 2*gib, storeA), host(2, 64*gib, 16*gib, storeA)}}, "1>2"},
		{"equal load: the lower id", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(2, 8*gib, 0, storeA), host(1, 8*gib, 0, storeA)}}, "1>1"},
		{"spread", Input{Machines: []Machine{machine(1, 3, gib), machine(2, 3, gib), machine(3, 3, gib)}, Hosts: []Host{host(1, 8*gib, 0, storeA), host(2, 8*gib, 0, storeA)}}, "1>1 2>2 3>1"},
		{"priority, then size, then name", Input{Machines: []Machine{machine(1, 5, gib), machine(3, 3, gib), machine(2, 3, gib), machine(4, 3, 2*gib), machine(5, 1, gib)}, Hosts: []Host{host(1, 64*gib, 0, storeA)}, Starts: 9}, "5>1 4>1 2>1 3>1 1>1"},
		{"not known alive", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{dead}}, "1?"},
		{"maintenance", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{resting}}, "1?"},
		{"no access to its datastore", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 8*gib, 0, storeB), host(2, 8*gib, 7*gib, storeB, storeA)}}, "1>2"},
		{"memory to the last byte", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 8*gib, 7*gib, storeA)}}, "1>1"},
		{"a byte too little", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 8*gib, 7*gib+1, storeA)}}, "1?"},
		{"uses more than it has", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 8*gib, 9*gib, storeA)}}, "1?"},
		{"memory unknown", Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: []Host{host(1, 0, 0, storeA)}}, "1?"},
		{"the large waits, the small goes on", Input{Machines: []Machine{machine(1, 1, 9*gib), machine(2, 5, gib)}, Hosts: []Host{host(1, 8*gib, 0, storeA)}}, "2>1 1?"},
		{"four starts at a time unless told", Input{Machines: []Machine{machine(1, 3, 1), machine(2, 3, 1), machine(3, 3, 1), machine(4, 3, 1), machine(5, 3, 1)}, Hosts: []Host{host(1, gib, 0, storeA)}}, "1>1 2>1 3>1 4>1 5?"},
		{"as many as told", Input{Machines: []Machine{machine(1, 3, 1), machine(2, 3, 1)}, Hosts: []Host{host(1, gib, 0, storeA)}, Starts: 1}, "1>1 2?"},
		{"starts under way count", Input{Machines: []Machine{machine(1, 3, 1)}, Hosts: []Host{busy}}, "1?"},
		{"away from where it failed", Input{Machines: []Machine{machine(1, 3, gib, Failed{1, 1})}, Hosts: []Host{host(1, 8*gib, 0, storeA), host(2, 8*gib, 6*gib, storeA)}}, "1>2"},
		{"back to where it failed for want of another", Input{Machines: []Machine{machine(1, 3, gib, Failed{1, 1})}, Hosts: []Host{host(1, 8*gib, 0, storeA), host(2, 8*gib, 8*gib, storeA)}}, "1>1"},
		{"where it failed less", Input{Machines: []Machine{machine(1, 3, gib, Failed{1, 2}, Failed{2, 1})}, Hosts: []Host{host(1, 8*gib, 0, storeA), host(2, 8*gib, 4*gib, storeA)}}, "1>2"},
		{"waits for a busy host where it has not failed", Input{Machines: []Machine{machine(1, 3, gib, Failed{2, 1})}, Hosts: []Host{busy, host(2, 8*gib, 0, storeA)}}, "1?"},
		{"does not wait for a busy host where it failed too", Input{Machines: []Machine{machine(1, 3, gib, Failed{1, 1}, Failed{2, 2})}, Hosts: []Host{busy, host(2, 8*gib, 0, storeA)}}, "1>2"},
	} {
		if got := planned(Plan(tt.in)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPlanExplainsItself(t *testing.T) {
	hosts := []Host{
		{ID: 1, State: "isolated"}, {ID: 2}, {ID: 3, Live: true, Maintenance: true},
		host(4, 8*gib, 0, storeB), host(5, 8*gib, 15*gib/2, storeA), host(6, 8*gib, 0, storeA), host(7, 8*gib, 0, storeA),
	}
	hosts[5].Starting = 4
	r := Plan(Input{Machines: []Machine{machine(1, 3, gib, Failed{7, 2})}, Hosts: hosts})
	if len(r.Waiting) != 1 {
		t.Fatalf("plan %+v", r)
	}
	got := []string{r.Waiting[0].Why}
	for _, h := range r.Waiting[0].Hosts {
		got = append(got, h.String())
	}
	want := []string{
		"waits for a host where it has not failed lately",
		"host 1 is isolated",
		"host 2 is not known to be alive",
		"host 3 is in maintenance",
		"host 4 does not access its home datastore",
		"host 5 has 512 MiB of memory left, and it needs 1.0 GiB",
		"host 6 has as many starts under way as it may (4)",
		"host 7 is where it failed lately (2×)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for n, want := range []string{
		"the cluster has no host", "no host is known to be alive", "no host is known to be alive", "every live host is in maintenance",
		"no usable host accesses its home datastore", "no usable host has enough memory left", "waits for other starts to end",
	} {
		r := Plan(Input{Machines: []Machine{machine(1, 3, gib)}, Hosts: hosts[:n]})
		if r.Waiting[0].Why != want {
			t.Errorf("with %d hosts: %q, want %q", n, r.Waiting[0].Why, want)
		}
	}
	r = Plan(Input{Machines: []Machine{machine(1, 3, gib, Failed{4, 2})}, Hosts: []Host{host(4, 8*gib, gib, storeA)}})
	if want := "least loaded: 2.0 GiB of 8.0 GiB with it; it failed here lately (2×), and no other host can take it"; r.Placements[0].Why != want {
		t.Errorf("placed because %q", r.Placements[0].Why)
	}
}

func drawInput(t *rapid.T) Input {
	stores := []uuid.UUID{storeA, storeB, {0: 0xc}}
	id := rapid.Map(rapid.IntRange(1, 8), func(n int) datastorehb.HostID { return datastorehb.HostID(n) })
	memory := rapid.OneOf(rapid.Uint64Range(0, 16), rapid.Uint64Range(0, MaxMemory), rapid.Uint64())
	hosts := rapid.Custom(func(t *rapid.T) Host {
		return Host{
			ID: id.Draw(t, "id"), Live: rapid.IntRange(0, 4).Draw(t, "live") > 0, Maintenance: rapid.IntRange(0, 4).Draw(t, "maintenance") == 0,
			Memory: memory.Draw(t, "memory"), Used: memory.Draw(t, "used"), Starting: rapid.IntRange(0, 5).Draw(t, "starting"),
			Datastores: rapid.SliceOfDistinct(rapid.SampledFrom(stores), rapid.ID[uuid.UUID]).Draw(t, "datastores"),
		}
	})
	machines := rapid.Custom(func(t *rapid.T) Machine {
		m := machine(rapid.Byte().Draw(t, "vm"), rapid.IntRange(1, 5).Draw(t, "priority"), memory.Draw(t, "memory"))
		m.Home = rapid.SampledFrom(stores).Draw(t, "home")
		for _, h := range rapid.SliceOfNDistinct(id, 0, 3, rapid.ID[datastorehb.HostID]).Draw(t, "failed") {
			m.Failed = append(m.Failed, Failed{Host: h, Times: rapid.IntRange(1, 3).Draw(t, "times")})
		}
		m.Rules = drawRules(t)
		return m
	})
	residents := rapid.Custom(func(t *rapid.T) Resident {
		return resident(rapid.Byte().Draw(t, "vm"), id.Draw(t, "on"), drawRules(t))
	})
	return Input{
		Present:  rapid.SliceOfNDistinct(residents, 0, 10, func(r Resident) uuid.UUID { return r.VM }).Draw(t, "present"),
		Machines: rapid.SliceOfNDistinct(machines, 0, 30, func(m Machine) uuid.UUID { return m.VM }).Draw(t, "machines"),
		Hosts:    rapid.SliceOfNDistinct(hosts, 0, 8, func(h Host) datastorehb.HostID { return h.ID }).Draw(t, "hosts"),
		Starts:   rapid.IntRange(0, 6).Draw(t, "starts"),
	}
}

// hostsAfter checks each placement against the rules (I3) in the plainest way and
// returns the hosts as they are with all of them carried out.
func hostsAfter(t *rapid.T, in Input, r Result) map[datastorehb.HostID]*Host {
	limit := in.Starts
	if limit == 0 {
		limit = DefaultStarts
	}
	hosts, machines := map[datastorehb.HostID]*Host{}, map[uuid.UUID]Machine{}
	for _, h := range in.Hosts {
		hosts[h.ID] = &h
	}
	for _, m := range in.Machines {
		machines[m.VM] = m
	}
	for _, p := range r.Placements {
		h, m := hosts[p.Host], machines[p.VM]
		accesses := false
		for _, d := range h.Datastores {
			accesses = accesses || d == m.Home
		}
		if !h.Live || h.Maintenance || !accesses || h.Used > h.Memory || h.Memory-h.Used < m.Memory || h.Starting >= limit {
			t.Fatalf("machine %+v must not start on host %+v", m, h)
		}
		h.Used += m.Memory
		h.Starting++
	}
	return hosts
}

func TestPlanKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		r := Plan(in)
		hostsAfter(t, in, r)
		checkRules(t, in, r)
		seen := map[uuid.UUID]bool{}
		for _, p := range r.Placements {
			seen[p.VM] = true
		}
		for _, w := range r.Waiting {
			if seen[w.VM] {
				t.Fatalf("machine %s both starts and waits", w.VM)
			}
			seen[w.VM] = true
			if w.Why == "" || len(w.Hosts) != len(in.Hosts) {
				t.Fatalf("machine %s waits without a reason for each host: %+v", w.VM, w)
			}
		}
		if len(seen) != len(in.Machines) || len(r.Placements)+len(r.Waiting) != len(in.Machines) {
			t.Fatalf("%d machines, and the plan has %d starts and %d waits", len(in.Machines), len(r.Placements), len(r.Waiting))
		}
	})
}

// Nobody waits though a host could take the machine, other than for a host
// where it has not failed.
func TestPlanLeavesNobodyWaitingForNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		r := Plan(in)
		for _, w := range r.Waiting {
			busy := false
			for _, refusal := range w.Hosts {
				busy = busy || refusal.Obstacle == StartsBusy
			}
			for _, refusal := range w.Hosts {
				if refusal.Obstacle == None || refusal.Obstacle == FailedThere && (!busy || refusal.Count == 0) {
					t.Fatalf("machine %s waits, and %s: %+v", w.VM, refusal, w)
				}
			}
		}
	})
}

func TestPlanDependsOnNoOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		shuffled := Input{
			Machines: rapid.Permutation(in.Machines).Draw(t, "machines shuffled"),
			Hosts:    rapid.Permutation(in.Hosts).Draw(t, "hosts shuffled"),
			Present:  rapid.Permutation(in.Present).Draw(t, "present shuffled"),
			Starts:   in.Starts,
		}
		if d := cmp.Diff(Plan(in), Plan(shuffled)); d != "" {
			t.Fatal(d)
		}
	})
}

// As starts come to their end, every machine that fits somewhere starts in the end.
func TestPlanByPlanEverybodyStarts(t *testing.T) {
	in := Input{Hosts: []Host{host(1, 400, 0, storeA), host(2, 400, 0, storeA)}}
	for n := range byte(200) {
		in.Machines = append(in.Machines, machine(n+1, 1+int(n)%5, 4, Failed{1, 1}))
	}
	for round := 0; len(in.Machines) > 0; round++ {
		if round > 200 {
			t.Fatalf("%d machines still wait", len(in.Machines))
		}
		started := map[uuid.UUID]datastorehb.HostID{}
		for _, p := range Plan(in).Placements {
			started[p.VM] = p.Host
		}
		var left []Machine
		for _, m := range in.Machines {
			if id, ok := started[m.VM]; ok {
				in.Hosts[id-1].Used += m.Memory
			} else {
				left = append(left, m)
			}
		}
		in.Machines = left
	}
}

// restarts returns the input after a large failure: count machines of several
// sizes want places on the given number of hosts.
func restarts(count, hosts, starts int) Input {
	in := Input{Starts: starts}
	for n := range hosts {
		in.Hosts = append(in.Hosts, host(datastorehb.HostID(n+1), 512*gib, uint64(n%7)*16*gib, storeB, storeA))
	}
	for n := range count {
		m := machine(0, 1+n%5, uint64(1+n%16)*gib)
		m.VM, m.Name = uuid.UUID{14: byte(n >> 8), 15: byte(n)}, fmt.Sprintf("machine-%d", n)
		in.Machines = append(in.Machines, m)
	}
	return in
}

// ruled gives the machines rules of every kind: groups of eight that must be
// apart, pairs that must be together, and preferred hosts; 1,000 others are there.
func ruled(in *Input) {
	for i := range in.Machines {
		group := fmt.Sprintf("group-%d", i/8)
		in.Machines[i].Rules = Rules{Groups: []string{group}, Must: Affinity{Apart: []string{group}}, Prefer: Affinity{Hosts: []datastorehb.HostID{datastorehb.HostID(1 + i%64)}}}
		if i%16 == 0 {
			in.Machines[i].Rules.Must.Together = []string{fmt.Sprintf("machine-%d", i+9)}
		}
		in.Present = append(in.Present, Resident{VM: uuid.UUID{13: 1, 14: byte(i >> 8), 15: byte(i)}, Name: fmt.Sprintf("other-%d", i),
			Host: datastorehb.HostID(1 + i%64), Rules: Rules{Groups: []string{group}, Prefer: Affinity{Apart: []string{group}}}})
	}
}

func BenchmarkPlan1000Over64(b *testing.B) {
	for _, bb := range []struct {
		name   string
		starts int
		rules  func(*Input)
	}{{"AllPlaced", 1000, nil}, {"FourStartsEach", DefaultStarts, nil}, {"Rules", 1000, ruled}, {"FourStartsEachRules", DefaultStarts, ruled}} {
		b.Run(bb.name, func(b *testing.B) {
			in := restarts(1000, 64, bb.starts)
			if bb.rules != nil {
				bb.rules(&in)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r := Plan(in); len(r.Placements) < 256 {
					b.Fatalf("%d placed", len(r.Placements))
				}
			}
		})
	}
}
