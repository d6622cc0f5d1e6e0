package poweron

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

func needsOf(driver string, of ...string) Needs {
	n := Needs{Driver: driver}
	for _, o := range of {
		kind, name, _ := strings.Cut(o, ": ")
		n.Of = append(n.Of, Need{Kind(kind), name})
	}
	return n
}

func TestLacking(t *testing.T) {
	host := &Capabilities{
		Drivers: []DriverState{
			{Name: "qemu", Has: map[Kind][]string{MachineType: {"pc-i440fx-7.2", "q35"}, Accelerator: {"tcg"}}},
			{Name: "libvirt", Problem: "libvirtd can't be reached"},
			{Name: "process"},
		},
		Has: map[Kind][]string{Bridge: {"br0"}, VirtualNetwork: {}},
	}
	for name, tt := range map[string]struct {
		host  *Capabilities
		needs Needs
		want  string
	}{
		"nothing is known of the host":    {nil, needsOf("qemu", "network bridge: br7"), ""},
		"nothing is known of the machine": {host, Needs{}, ""},
		"it has all":                      {host, needsOf("qemu", "network bridge: br0", "machine type: q35"), ""},
		"it lacks two":                    {host, needsOf("qemu", "network bridge: br1", "machine type: q35", "accelerator: kvm"), "has no network bridge br1 and no accelerator kvm"},
		"it has none of the kind":         {host, needsOf("qemu", "virtual network: default"), "has no virtual network default"},
		"the kind is not known":           {host, needsOf("qemu", "CPU model: host"), ""},
		"another driver's things":         {host, needsOf("process", "machine type: pc-q35-99"), ""},
		"driver not used":                 {host, needsOf("xen"), "does not use hypervisor driver xen (hypervisor.drivers in its configuration)"},
		"driver in trouble":               {host, needsOf("libvirt"), "has trouble with hypervisor driver libvirt: libvirtd can't be reached"},
	} {
		if got := tt.host.Lacking(tt.needs); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestCapabilitiesEqual(t *testing.T) {
	of := func(change func(*Capabilities)) *Capabilities {
		c := &Capabilities{Drivers: []DriverState{{Name: "qemu", Has: map[Kind][]string{MachineType: {"q35"}}}}, Has: map[Kind][]string{Bridge: {"br0"}}}
		change(c)
		return c
	}
	same := of(func(*Capabilities) {})
	if !same.Equal(of(func(*Capabilities) {})) || same.Equal(nil) || !(*Capabilities)(nil).Equal(nil) {
		t.Error("equal ones are taken for different, or different ones for equal")
	}
	for name, change := range map[string]func(*Capabilities){
		"another bridge":    func(c *Capabilities) { c.Has[Bridge] = []string{"br1"} },
		"bridges not known": func(c *Capabilities) { delete(c.Has, Bridge) },
		"another kind":      func(c *Capabilities) { c.Has[CPUModel] = nil },
		"trouble":           func(c *Capabilities) { c.Drivers[0].Problem = "gone" },
		"no machine type":   func(c *Capabilities) { c.Drivers[0].Has[MachineType] = nil },
		"no driver":         func(c *Capabilities) { c.Drivers = nil },
	} {
		if same.Equal(of(change)) || of(change).Equal(same) {
			t.Errorf("%s: taken for equal", name)
		}
	}
}

var needHome = uuid.UUID{1}

func needHosts(bridges ...string) (hosts []Host) {
	for i, b := range bridges {
		h := Host{ID: datastorehb.HostID(i + 1), Name: string(rune('a' + i)), Live: true, Memory: 64 << 30, Datastores: []uuid.UUID{needHome}}
		if b != "" {
			h.Capabilities = &Capabilities{Drivers: []DriverState{{Name: "qemu"}}, Has: map[Kind][]string{Bridge: strings.Fields(b)}}
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func needMachine(n byte, of ...string) Machine {
	return Machine{VM: uuid.UUID{9, n}, Name: "vm" + string(rune('0'+n)), Priority: 3, Memory: 1 << 30, Home: needHome, Needs: needsOf("qemu", of...)}
}

// A plan goes by what hosts say, takes a host that says nothing for one that has all,
// and says of each host what it lacks.
func TestPlanByNeeds(t *testing.T) {
	r := Plan(Input{Hosts: needHosts("br0", "br1", ""), Machines: []Machine{needMachine(1, "network bridge: br1"), needMachine(2, "network bridge: br2"), needMachine(3, "network bridge: br0")}})
	want := map[uuid.UUID]datastorehb.HostID{{9, 1}: 2, {9, 2}: 3, {9, 3}: 1}
	for _, p := range r.Placements {
		if p.Host != want[p.VM] {
			t.Errorf("%v on host %d, want %d", p.VM, p.Host, want[p.VM])
		}
	}
	if len(r.Placements) != 3 {
		t.Fatalf("%d placed: %v", len(r.Placements), r.Waiting)
	}

	r = Plan(Input{Hosts: needHosts("br0", "br1"), Machines: []Machine{needMachine(2, "network bridge: br2")}})
	if len(r.Waiting) != 1 || r.Waiting[0].Why != "no usable host has what it needs: a has no network bridge br2" || r.Waiting[0].Hosts[1].String() != "b has no network bridge br2" {
		t.Errorf("waiting: %v", r.Waiting)
	}
}

// Those that must be together go where all of them find what they need.
func TestPlanTogetherByNeeds(t *testing.T) {
	one, other := needMachine(1, "network bridge: br0"), needMachine(2, "network bridge: br1")
	one.Rules.Must.Together = []string{"vm2"}
	r := Plan(Input{Hosts: needHosts("br0", "br1", "br0 br1"), Machines: []Machine{one, other}})
	if len(r.Placements) != 2 || r.Placements[0].Host != 3 || r.Placements[1].Host != 3 {
		t.Errorf("placed %v, waiting %v", r.Placements, r.Waiting)
	}
}

func TestPlaces(t *testing.T) {
	m := needMachine(1, "network bridge: br0")
	m.Rules.Must.Apart = []string{"enemy"}
	enemy := needMachine(2)
	enemy.Name = "enemy"
	hosts := needHosts("br0", "br1", "", "br0", "br0", "br0")
	hosts[3].Maintenance = true
	hosts[4].Starting, hosts[4].Used = 99, 64<<30-1
	hosts[5].Starting = 99
	s := Situation{Hosts: hosts, Machines: []Situated{{Machine: m, Host: 1, Stays: "its user wants it stopped"}, {Machine: enemy, Host: 3}}}
	places, ok := s.Places(m.VM)
	want := []Place{
		{Host: 1, Name: "a", Here: true},
		{Host: 2, Name: "b", Refusal: "has no network bridge br0"},
		{Host: 3, Name: "c", Refusal: "has enemy, and the two must be apart", Unknown: true},
		{Host: 4, Name: "d", Refusal: "is in maintenance"},
		{Host: 5, Name: "e", Refusal: "has 1 B of memory left, and it needs 1.0 GiB"},
		{Host: 6, Name: "f"},
	}
	if !ok || len(places) != len(want) {
		t.Fatalf("places %v", places)
	}
	for i := range want {
		if places[i] != want[i] {
			t.Errorf("%+v, want %+v", places[i], want[i])
		}
	}
	if _, ok := s.Places(uuid.UUID{7}); ok {
		t.Error("a machine that is not there has places")
	}
}
