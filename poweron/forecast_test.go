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

func situated(m Machine, on datastorehb.HostID) Situated { return Situated{Machine: m, Host: on} }

// three is a cluster of alpha, beta and gamma with machines 1 and 2 on alpha, 3
// on beta, 4 on gamma, and 5 nowhere.
func three() Situation {
	s := Situation{Hosts: []Host{host(1, 8*gib, 6*gib, storeA), host(2, 8*gib, 2*gib, storeA), host(3, 8*gib, 5*gib, storeA)}}
	for i, name := range []string{"alpha", "beta", "gamma"} {
		s.Hosts[i].Name = name
	}
	s.Machines = []Situated{
		situated(machine(1, 1, 4*gib), 1), situated(machine(2, 3, 2*gib).with(apart("web")), 1), situated(machine(3, 3, 2*gib), 2),
		situated(machine(4, 3, 5*gib).with(Rules{}, "web"), 3), situated(machine(5, 5, 20*gib), 0),
		{Machine: machine(6, 3, gib), Host: 1, Stays: "its policy says restart = false"},
	}
	return s
}

// foreseen writes a forecast as one short line: "1:alpha>beta" starts machine 1
// of alpha on beta, "2:alpha?" lets it wait, "3:alpha-" leaves it off.
func foreseen(f Forecast) string {
	var words []string
	for sign, fates := range map[string][]Fate{">": f.Starts, "?": f.Waits, "-": f.Stays} {
		for _, fate := range fates {
			words = append(words, fmt.Sprintf("%d:%s%s%s", fate.VM[15], fate.From, sign, fate.To))
		}
	}
	return strings.Join(words, " ")
}

func TestLose(t *testing.T) {
	for _, tt := range []struct {
		lost []datastorehb.HostID
		want []string
	}{
		{nil, []string{"5:?"}},
		{[]datastorehb.HostID{1}, []string{"1:alpha>beta", "2:alpha>beta", "5:?", "6:alpha-"}},
		{[]datastorehb.HostID{2}, []string{"3:beta>gamma", "5:?"}},
		{[]datastorehb.HostID{1, 2}, []string{"1:alpha?", "2:alpha?", "3:beta>gamma", "5:?", "6:alpha-"}},
		{[]datastorehb.HostID{1, 2, 3}, []string{"1:alpha?", "2:alpha?", "3:beta?", "4:gamma?", "5:?", "6:alpha-"}},
		{[]datastorehb.HostID{9}, []string{"5:?"}},
	} {
		s := three()
		got := strings.Fields(foreseen(s.Lose(tt.lost...)))
		for _, w := range tt.want {
			if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+w+" ") {
				t.Errorf("without %v: %q, want %q", tt.lost, got, tt.want)
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("without %v: %q, want %q", tt.lost, got, tt.want)
		}
		if d := cmp.Diff(three(), s); d != "" {
			t.Errorf("the situation was changed:\n%s", d)
		}
	}
}

func TestAForecastSaysWhy(t *testing.T) {
	f := three().Lose(1, 2)
	if d := cmp.Diff([]string{"alpha", "beta"}, f.Lost); d != "" {
		t.Error(d)
	}
	want := Fate{VM: vm(2), Machine: "m2", Memory: 2 * gib, From: "alpha", Why: "its rules leave it no usable host: gamma has m4, and the two must be apart",
		Refusals: []string{"alpha is lost", "beta is lost", "gamma has m4, and the two must be apart"}}
	if d := cmp.Diff(want, f.Waits[1]); d != "" {
		t.Error(d)
	}
	if f.Stays[0].Why != "its policy says restart = false" || f.Starts[0].Why != "least loaded: 7.0 GiB of 8.0 GiB with it" {
		t.Errorf("%+v", f)
	}
}

func TestShortfalls(t *testing.T) {
	s := three()
	if short := s.Shortfalls(); len(short) != 0 {
		t.Errorf("the rest can take each host's machines: %+v", short)
	}
	s.Hosts[1].Memory = 5 * gib
	want := []Shortfall{{Host: "alpha", Memory: 6 * gib, Machines: 2, Waits: []Fate{
		{VM: vm(1), Machine: "m1", Memory: 4 * gib, From: "alpha", Why: "no usable host has enough memory left"}}},
		{Host: "gamma", Memory: 5 * gib, Machines: 1, Waits: []Fate{
			{VM: vm(4), Machine: "m4", Memory: 5 * gib, From: "gamma", Why: "no usable host has enough memory left; rules keep it off others: alpha has m2, and the two must be apart"}}}}
	if d := cmp.Diff(want, s.Shortfalls()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	alone := Situation{Hosts: s.Hosts[:1], Machines: s.Machines[:1]}
	if short := alone.Shortfalls(); len(short) != 0 {
		t.Errorf("a cluster of one host: %+v", short)
	}
}

// Every machine of the lost hosts has one fate, and what starts somewhere is a
// plan that keeps to the rules.
func TestAForecastIsAPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		s := Situation{Hosts: in.Hosts}
		for _, m := range in.Machines {
			on := datastorehb.HostID(rapid.IntRange(0, 8).Draw(t, "on"))
			s.Machines = append(s.Machines, Situated{Machine: m, Host: on, Stays: rapid.SampledFrom([]string{"", "", "", "it does"}).Draw(t, "stays")})
		}
		lost := rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(1, 8), func(n int) datastorehb.HostID { return datastorehb.HostID(n) }), 0, 3, rapid.ID[datastorehb.HostID]).Draw(t, "lost")
		f := s.Lose(lost...)
		seen := map[uuid.UUID]bool{}
		for _, fates := range [][]Fate{f.Starts, f.Waits, f.Stays} {
			for _, fate := range fates {
				if seen[fate.VM] {
					t.Fatalf("%s has two fates", fate.Machine)
				}
				seen[fate.VM] = true
			}
		}
		for _, m := range s.Machines {
			affected := false
			for _, h := range lost {
				affected = affected || m.Host == h
			}
			if want := affected || m.Host == 0 && m.Stays == ""; seen[m.VM] != want {
				t.Fatalf("%+v has a fate: %t", m, !want)
			}
		}
		for _, fate := range f.Starts {
			for _, h := range s.Hosts {
				for _, l := range lost {
					if h.ID == l && h.String() == fate.To {
						t.Fatalf("%s would start on %s, which is lost", fate.Machine, fate.To)
					}
				}
			}
		}
	})
}

// crowded is a situation of 1,000 machines on 64 hosts, with rules.
func crowded() Situation {
	in := restarts(1000, 64, 1000)
	ruled(&in)
	s := Situation{Hosts: in.Hosts}
	for i, m := range in.Machines {
		s.Machines = append(s.Machines, situated(m, datastorehb.HostID(1+i%64)))
	}
	return s
}

func BenchmarkForecast1000Over64(b *testing.B) {
	s := crowded()
	b.Run("OneHost", func(b *testing.B) {
		for b.Loop() {
			if f := s.Lose(1); len(f.Starts) == 0 {
				b.Fatal("nothing starts")
			}
		}
	})
	b.Run("EachHost", func(b *testing.B) {
		for b.Loop() {
			s.Shortfalls()
		}
	})
}
