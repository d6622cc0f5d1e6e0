package cluster

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

func at(n byte) (heartbeat, management netip.AddrPort) {
	a := netip.AddrFrom4([4]byte{192, 0, 2, n})
	return netip.AddrPortFrom(a, 7480), netip.AddrPortFrom(a, 7481)
}

func newcomer(name string, n byte) Member {
	m := Member{Name: name}
	m.Heartbeat, m.Management = at(n)
	return m
}

func free(datastorehb.HostID) bool { return false }

// TestMembers goes through a list of changes, each made twice: the second time, as
// after a lost reply, it changes nothing.
func TestMembers(t *testing.T) {
	one, two := uuid.UUID{1}, uuid.UUID{2}
	named := newcomer("delta", 4)
	named.Machine = one
	other := named
	other.Machine = two
	steps := []struct {
		what string
		do   func(r *Record) (string, error)
	}{
		{"delta joined with id 4", func(r *Record) (string, error) { return r.AddMember(newcomer("delta", 4), free) }},
		{"delta is the computer with machine-id " + one.String(), func(r *Record) (string, error) { return r.AddMember(named, free) }},
		{"another computer takes the place of delta", func(r *Record) (string, error) { return r.ReplaceMember(other) }},
		{"delta is called epsilon", func(r *Record) (string, error) { return r.SetMember("delta", Member{Name: "epsilon"}) }},
		{"epsilon is at 192.0.2.9:7480 and 192.0.2.9:7481", func(r *Record) (string, error) { return r.SetMember("epsilon", newcomer("", 9)) }},
		{"epsilon (id 4) was removed", func(r *Record) (string, error) { return r.RemoveMember("epsilon") }},
		{"zeta joined with id 5", func(r *Record) (string, error) { return r.AddMember(newcomer("zeta", 5), free) }},
		{"epsilon joined with id 4", func(r *Record) (string, error) {
			m := newcomer("epsilon", 9)
			m.ID = 4
			return r.AddMember(m, free)
		}},
		{"datastore nfs4 was added", func(r *Record) (string, error) {
			return r.AddDatastore(Datastore{ID: datastoreID(4), Name: "nfs4", Path: "/mnt/nfs4", Preferred: true})
		}},
		{"datastore nfs1 was removed", func(r *Record) (string, error) { return r.RemoveDatastore("nfs1") }},
	}
	r := sample()
	for _, step := range steps {
		next := r.Next(r.Revision+1, 1, r.At, "", nil)
		what, err := step.do(&next)
		if err != nil || what != step.what {
			t.Fatalf("%q, %v, want %q", what, err, step.what)
		}
		encoded(t, next)
		if again, err := step.do(&next); err != nil || again != "" {
			t.Errorf("%s: once more says %q, %v", step.what, again, err)
		}
		r = next
	}
}

func TestMembersRefused(t *testing.T) {
	taken := func(id datastorehb.HostID) bool { return id == 3 }
	withID := func(id datastorehb.HostID) Member {
		m := newcomer("delta", 4)
		m.ID = id
		return m
	}
	tests := map[string]func(r *Record) (string, error){
		"is that of alpha":                             func(r *Record) (string, error) { return r.AddMember(withID(1), taken) },
		"choose 1 to 1000":                             func(r *Record) (string, error) { return r.AddMember(withID(1001), taken) },
		"in the name of host id 3":                     func(r *Record) (string, error) { return r.AddMember(withID(3), taken) },
		"is the address of beta":                       func(r *Record) (string, error) { return r.AddMember(newcomer("delta", 2), taken) },
		"choose another name, or change its addresses": func(r *Record) (string, error) { return r.AddMember(newcomer("beta", 4), taken) },
		"whose place could be taken":                   func(r *Record) (string, error) { return r.ReplaceMember(newcomer("delta", 4)) },
		"no member \"delta\"":                          func(r *Record) (string, error) { return r.RemoveMember("delta") },
		"has no member \"x\"":                          func(r *Record) (string, error) { return r.SetMember("x", Member{Name: "y"}) },
		"as nfs1":                                      func(r *Record) (string, error) { return r.AddDatastore(Datastore{ID: datastoreID(1), Name: "x"}) },
		"is another one":                               func(r *Record) (string, error) { return r.AddDatastore(Datastore{ID: datastoreID(9), Name: "nfs1"}) },
		"the only member": func(r *Record) (string, error) {
			_, _ = r.RemoveMember("beta")
			return r.RemoveMember("alpha")
		},
		"the only datastore": func(r *Record) (string, error) {
			_, _ = r.RemoveDatastore("nfs1")
			_, _ = r.RemoveDatastore("nfs2")
			return r.RemoveDatastore("nfs3")
		},
	}
	for want, do := range tests {
		r := sample()
		next := r.Next(8, 1, r.At, "", nil)
		if what, err := do(&next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %v, want %q", what, err, want)
		}
	}
}

// TestIDsAreNotReused: ids of removed hosts come last, and never while machines
// are in their name.
func TestIDsAreNotReused(t *testing.T) {
	r := sample()
	r.Members, r.Removed = r.Members[:1], nil
	for id := datastorehb.HostID(2); id <= MaxHostID; id++ {
		r.Removed = append(r.Removed, Removed{ID: id, Name: "x", In: 1})
	}
	if id, err := r.freeID(func(id datastorehb.HostID) bool { return id < 7 }); id != 7 || err != nil {
		t.Errorf("id %d, %v", id, err)
	}
	if _, err := r.freeID(func(datastorehb.HostID) bool { return true }); err == nil {
		t.Error("an id whose machines are owned was given away")
	}
}

func TestDifferences(t *testing.T) {
	r, file := sample(), sample()
	file.Members, file.Datastores = file.Members[:1], file.Datastores[:1] // a file need not name everything
	if d := Differences(&file, &r, nil); len(d) > 0 {
		t.Errorf("%q", d)
	}
	file.Timing.Freeze = time.Second
	if d := Differences(&file, &r, Settings()); len(d) != 1 || !strings.Contains(d[0], "counts on 500ms") {
		t.Errorf("%q", d)
	}
	file.Timing.Freeze = 100 * time.Millisecond // the guard is quicker than need be
	file.Timing.Lease, file.Machines.Priority = 3*time.Second, 5
	if d := Differences(&file, &r, []string{"timing.lease"}); len(d) != 1 || !strings.Contains(d[0], "machine_defaults.priority") {
		t.Errorf("%q", d)
	}
	file.Members[0].Name, file.Datastores[0].ID = "omega", datastoreID(7)
	file.Members = append(file.Members, Member{ID: 9, Name: "iota"})
	d := strings.Join(Differences(&file, &r, nil), "\n")
	for _, want := range []string{`"omega"`, `"alpha"`, `"iota" (id 9)`, "storebeat host add", "storebeat datastore add"} {
		if !strings.Contains(d, want) {
			t.Errorf("%q lacks %q", d, want)
		}
	}
}

func TestSetDatastoreOptions(t *testing.T) {
	r := sample()
	err := r.Assign([]Assignment{{"datastore.nfs2.preferred", "true"}, {"datastore.nfs2.path", "/mnt/b"}})
	if d := r.Datastore("nfs2"); err != nil || !d.Preferred || d.Path != "/mnt/b" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, wrong := range []Assignment{{"datastore.nfs2.excluded", "true"}, {"datastore.nfs2.path", "mnt"}, {"datastore.nfs9.path", "/mnt"}} {
		if err := r.Assign([]Assignment{wrong}); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	encoded(t, r)
}
