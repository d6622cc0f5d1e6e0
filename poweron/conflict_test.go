package poweron

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConflicts(t *testing.T) {
	hosts := []Host{{ID: 1, Name: "alpha"}, {ID: 2, Name: "beta"}}
	group := func(r Rules, groups ...string) Rules { r.Groups = groups; return r }
	for _, tt := range []struct {
		name  string
		rules []Rules // of machines a, b, c, …
		want  []Conflict
	}{
		{"none", []Rules{{}, apart("a"), joined("b"), only(1, 9)}, nil},
		{"soft rules contradict nothing", []Rules{joined("b"), preferring(Affinity{Apart: []string{"a"}})}, nil},
		{"a group apart from itself", []Rules{group(apart("g"), "g"), group(apart("g"), "g"), group(apart("g"), "g")}, nil},
		{"apart and together", []Rules{joined("b"), apart("a"), {}}, []Conflict{{[]int{0, 1}, "b and a must be apart, and a and b must be together"}}},
		{"apart from those that others are together with", []Rules{joined("b"), {}, group(joined("b"), "g"), apart("a"), group(Rules{}, "h"), group(apart("g"), "h")}, nil},
		{"apart and together along a chain", []Rules{joined("b"), joined("c"), apart("a")}, []Conflict{{[]int{0, 1, 2}, "c and a must be apart, and a and b and c must be together"}}},
		{"a group together and apart", []Rules{group(joined("g"), "g"), group(apart("a"), "g")}, []Conflict{{[]int{0, 1}, "b and a must be apart, and a and b must be together"}}},
		{"no such host", []Rules{only(7, 8)}, []Conflict{{[]int{0}, "a must run on host 7, which the cluster does not have or host 8, which the cluster does not have"}}},
		{"together on different hosts", []Rules{{Must: Affinity{Together: []string{"b"}, Hosts: only(1).Must.Hosts}}, only(2)}, []Conflict{{[]int{0, 1}, "a must run on alpha, b must run on beta, and a and b must be together"}}},
		{"together on a common host", []Rules{{Must: Affinity{Together: []string{"b"}, Hosts: only(1, 2).Must.Hosts}}, only(2)}, nil},
	} {
		var machines []Ruled
		for i, r := range tt.rules {
			machines = append(machines, Ruled{Name: string(rune('a' + i)), Rules: r})
		}
		got := Conflicts(machines, hosts)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// Whoever is part of a conflict can't be placed with the others, whatever the room.
func TestWhatIsInConflictHasNoPlan(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	conflicts := 0
	for range 3000 {
		in := small(random)
		in.Present = nil
		for i := range in.Hosts {
			in.Hosts[i].Memory = 1 << 20
		}
		var machines []Ruled
		for _, m := range in.Machines {
			machines = append(machines, Ruled{m.Name, m.Rules})
		}
		found := Conflicts(machines, in.Hosts)
		conflicts += min(len(found), 1)
		if r := Plan(in); len(found) > 0 && len(r.Waiting) == 0 {
			t.Fatalf("all have a place in %s, though %+v", planned(r), found)
		}
	}
	if conflicts < 100 {
		t.Errorf("only %d conflicts were tried", conflicts)
	}
}
