package core

import (
	"strings"
	"testing"
)

// Who reads a view may sit at another host than the one that answers: it gives names, and
// "this host" would be taken for the reader's.
func TestViewsGiveNames(t *testing.T) {
	v := View{Name: "alpha",
		Hosts:      []HostView{{Rule: "as this host sees it", Evidence: []string{"this host itself was away", "it does not hear host 3", "the ghost host 77 and hosts 3 to 5"}, Stuck: []string{"host 2 is full"}}},
		Datastores: []DatastoreView{{Why: "give this host an id of its own", ReadError: "slot of host 2", Reasons: []string{"host 3 does not access it"}, Hosts: []WatchView{{NotClosed: "this host itself was asleep"}}}},
		Machines:   []MachineView{{Why: "host 2 handed it over", Refusals: []string{"this host's path is lost"}}},
		Cluster:    ClusterView{Differences: []string{"the guard of this host freezes later"}, Outcast: "host 1 is no member"}}
	d := newDesk(t, nil)
	d.nameHosts(&v)
	for got, want := range map[string]string{
		v.Hosts[0].Rule:                    "as alpha sees it",
		v.Hosts[0].Evidence[0]:             "alpha itself was away",
		v.Hosts[0].Evidence[1]:             "it does not hear h3",
		v.Hosts[0].Evidence[2]:             "the ghost host 77 and hosts 3 to 5",
		v.Hosts[0].Stuck[0]:                "h2 is full",
		v.Datastores[0].Why:                "give alpha an id of its own",
		v.Datastores[0].ReadError:          "slot of h2",
		v.Datastores[0].Reasons[0]:         "h3 does not access it",
		v.Datastores[0].Hosts[0].NotClosed: "alpha itself was asleep",
		v.Machines[0].Why:                  "h2 handed it over",
		v.Machines[0].Refusals[0]:          "alpha's path is lost",
		v.Cluster.Differences[0]:           "the guard of alpha freezes later",
		v.Cluster.Outcast:                  "h1 is no member",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is asked for stays as it is: nameHosts works on copies of what the core keeps.
func TestViewsChangeNothing(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.footing(home).why = "host 2 and this host"
	v := d.View(d.at)
	if strings.Contains(v.Datastores[0].Why, "host ") || d.footing(home).why != "host 2 and this host" {
		t.Errorf("shown %q, kept %q", v.Datastores[0].Why, d.footing(home).why)
	}
}
