package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{control.Errorf(control.Internal, "x"), 1},
		{control.Errorf(control.Invalid, "x"), 2},
		{control.Errorf(control.NotRunning, "x"), 3},
		{control.Errorf(control.NotPermitted, "x"), 3},
		{control.Errorf(control.NotFound, "x"), 4},
		{fs.ErrNotExist, 4},
		{control.Errorf(control.Refused, "x"), 5},
		{control.Errorf(control.Unavailable, "x"), 6},
		{fmt.Errorf("asking: %w", control.Errorf(control.Unavailable, "x")), 6},
		{fail(2, "x"), 2},
		{failures{fail(5, "x"), fail(4, "y")}.join(), 5},
		{failures{}.join(), 0},
	} {
		if got := statusOf(c.err); got != c.want {
			t.Errorf("%v: status %d, want %d", c.err, got, c.want)
		}
	}
}

func TestReportWritesOneLineForEachError(t *testing.T) {
	var out bytes.Buffer
	a := &app{errOut: &out, begun: true}
	if got := a.report(&cobra.Command{}, failures{fail(4, "no x"), errors.New("no y")}.join()); got != 4 {
		t.Errorf("status %d, want 4", got)
	}
	if want := "storebeat: no x\nstorebeat: no y\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 15, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m":                  now.Add(-10 * time.Minute),
		"15:04":                time.Date(2026, 3, 4, 15, 4, 0, 0, time.UTC),
		"15:04:05":             time.Date(2026, 3, 4, 15, 4, 5, 0, time.UTC),
		"2026-03-01":           time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-01 12:00":     time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		"2026-03-01T12:00:00Z": time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-5m", "25:00"} {
		if got, err := parseSince(text, now); statusOf(err) != exitUsage {
			t.Errorf("%q: got %v, %v, want a refusal", text, got, err)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]uint64{"2GiB": 2 << 30, "64 MiB": 64 << 20, "1MB": 1e6, "": 0, "2": 0, "2G": 0, "-1MiB": 0, "0B": 0, "lots": 0} {
		got, err := parseMemory(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", -time.Second: "", 1500 * time.Millisecond: "2s", 59 * time.Second: "59s", 90 * time.Second: "1m30s",
		90 * time.Minute: "1h30m", 50 * time.Hour: "2d2h",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

// trouble is a cluster in which much is wrong.
func trouble() cluster {
	return cluster{core.View{
		Host: 1, Name: "alpha", Master: 1, MasterName: "alpha", Leading: true, GuardUp: true,
		Hosts: []core.HostView{
			{ID: 1, Name: "alpha", State: "live", Master: true, MemoryTotal: 4 << 30, MemoryUsed: 1 << 30, Machines: 1},
			{ID: 2, Name: "beta", State: "dead", For: 12 * time.Second, Rule: "R7: silent everywhere"},
			{ID: 3, Name: "gamma", State: "storage-lost", Lost: []string{"nfs1"}, Rule: "its slot stands still"},
			{ID: 4, Name: "delta", State: "maintenance"},
		},
		Datastores: []core.DatastoreView{
			{Name: "nfs1", State: "available", FSType: "nfs4", Heartbeat: true, Scanned: true, Rank: 1, Reasons: []string{"4 of 4"}, Term: 3, Phase: "held", Lease: 3 * time.Second},
			{Name: "nfs2", State: "failing", Why: "a write hangs", Term: 2, Phase: "lapsed", Lease: -2 * time.Second},
		},
		Machines: []core.MachineView{
			{VM: uuid.UUID{1}, Name: "db", State: "waiting", Why: "no host has 8 GiB free", Protected: true, Desired: poweron.Running},
			{VM: uuid.UUID{2}, Name: "web", State: "running", Host: 1, HostName: "alpha", Protected: true, Desired: poweron.Running},
			{VM: uuid.UUID{3}, Name: "old", State: "running", Host: 1, HostName: "alpha"},
			{VM: uuid.UUID{4}, Name: "cold", State: "stopped", Protected: true, Desired: poweron.Stopped},
			{VM: uuid.UUID{5}, Name: "off", State: "stopped", Why: "the guest shut itself down", Protected: true, Desired: poweron.Running},
		},
	}}
}

func TestStatusNamesProblemsFirst(t *testing.T) {
	v := trouble()
	v.Machines = append(v.Machines, core.MachineView{VM: uuid.UUID{6}, Name: "ill", State: "running", Host: 1, HostName: "alpha",
		Protected: true, Desired: poweron.Running, Condition: core.Condition{Guest: "io-error"}})
	var out bytes.Buffer
	if err := (&app{out: &out}).showStatus(v); err != nil {
		t.Fatal(err)
	}
	want := `Master    alpha (this is its view)
Timing    heartbeat every 0s, lease 0s, takeover after 0s
Machines  5 protected: 1 running, 1 io-error, 2 stopped, 1 waiting; those on nfs2 have not been read yet

Problems
  host       beta   dead                 R7: silent everywhere
  host       gamma  storage-lost (nfs1)  its slot stands still
  datastore  nfs2   failing              a write hangs
  machine    db     waiting              no host has 8 GiB free
  machine    off    stopped              the guest shut itself down
  machine    ill    io-error             its guest stands still; storebeat events tells since when, and may tell why

HOST   ID  STATE                FOR  MACHINES  MEMORY              ROLE
alpha  1   live                 -    1         1.0 GiB of 4.0 GiB  master
beta   2   dead                 12s  0         -                   -
gamma  3   storage-lost (nfs1)  -    0         -                   -
delta  4   maintenance          -    0         -                   -

DATASTORE  STATE      TYPE  HEARTBEATS  TERM       LEASE         WHY
nfs1       available  nfs4  yes         3, held    3s left       -
nfs2       failing    -     no          2, lapsed  ended 2s ago  a write hangs

TERM and LEASE are those of alpha.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestASubordinateDoesNotCallOthersUndetermined(t *testing.T) {
	v := trouble()
	v.Leading, v.Master, v.MasterName = false, 4, "delta"
	v.Hosts = []core.HostView{{ID: 2, Name: "beta", State: "undetermined", Rule: "only the master watches this host"}}
	for _, row := range v.problems() {
		if strings.TrimSpace(row[0]) == "host" {
			t.Errorf("reported as a problem: %q", row)
		}
	}
	if want := "delta (this is the view of alpha: it does not watch the other hosts)"; v.masterLine() != want {
		t.Errorf("got %q, want %q", v.masterLine(), want)
	}
	for _, row := range v.problems() {
		if strings.TrimSpace(row[0]) == "machine" {
			t.Errorf("reported as a problem: %q", row)
		}
	}
}

func TestStatusNamesBrokenRules(t *testing.T) {
	v := cluster{core.View{Host: 1, Name: "alpha", Master: 1, Leading: true, GuardUp: true, Machines: []core.MachineView{
		{Name: "web-1", State: "running", Protected: true, Breaches: []string{"web-1 and web-2 are both on alpha, and must be apart"}, Conflicts: []string{"web-1 must run on host 9, which the cluster does not have"}},
	}}}
	want := [][]string{
		{"  rules", "web-1", "broken", "web-1 and web-2 are both on alpha, and must be apart"},
		{"  rules", "web-1", "broken", "can't be met: web-1 must run on host 9, which the cluster does not have"},
	}
	if diff := cmp.Diff(want, v.problems()); diff != "" {
		t.Error(diff)
	}
}

func TestStatusWarnsOfHostsWhoseMachinesTheRestCouldNotTake(t *testing.T) {
	fates := []poweron.Fate{{Machine: "db", Why: "no usable host has enough memory left"}, {Machine: "web", Why: "rules"}, {Machine: "c", Why: "x"}, {Machine: "d", Why: "y"}}
	short := []poweron.Shortfall{{Host: "alpha", Machines: 9, Waits: fates}, {Host: "beta", Machines: 1, Waits: fates[:1]}, {Host: "gamma"}}
	for _, c := range []struct {
		short []poweron.Shortfall
		want  [][]string
	}{
		{nil, nil},
		{short, [][]string{{"  capacity", "alpha", "short", "if it were lost, 4 of its 9 machines would wait: db (no usable host has enough memory left); web (rules); c (x); 1 more. The same goes for 2 other hosts (see storebeat plan)"}}},
		{short[1:2], [][]string{{"  capacity", "beta", "short", "if it were lost, 1 of its 1 machine would wait: db (no usable host has enough memory left) (see storebeat plan)"}}},
	} {
		if diff := cmp.Diff(c.want, shortRows(c.short)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestShowForecast(t *testing.T) {
	var out bytes.Buffer
	err := (&app{out: &out}).showForecast(&poweron.Forecast{Lost: []string{"alpha", "beta"},
		Starts: []poweron.Fate{{Machine: "web", From: "alpha", To: "gamma", Memory: 1 << 30, Why: "least loaded: 2.0 GiB of 8.0 GiB with it"}},
		Waits:  []poweron.Fate{{Machine: "db", Memory: 8 << 30, Why: "no usable host has enough memory left", Refusals: []string{"alpha is lost", "gamma has 6.0 GiB of memory left, and it needs 8.0 GiB"}}},
		Stays:  []poweron.Fate{{Machine: "cold", From: "beta", Memory: 1 << 30, Why: "its policy says restart = false"}},
	})
	want := `Without alpha and beta, 1 machine would start elsewhere, 1 would wait, and 1 would stay off.

MACHINE  FROM           TO         MEMORY   WHY
web      alpha          gamma      1.0 GiB  least loaded: 2.0 GiB of 8.0 GiB with it
db       waits already  waits      8.0 GiB  no usable host has enough memory left
cold     beta           stays off  1.0 GiB  its policy says restart = false

db would wait:
  alpha is lost
  gamma has 6.0 GiB of memory left, and it needs 8.0 GiB
`
	if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"alpha", "beta", "gamma", "host-1", "host-2"}
	for name, want := range map[string]string{"alhpa": "alpha", "Beta": "beta", "gama": "gamma", "host-3": "host-1", "delta": "beta", "epsilon": "", "": ""} {
		if got := nearest(name, names); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	many := append(names, "a", "b")
	if err := notFound("host", "gama", many, "storebeat host list"); !strings.Contains(fmt.Sprint(err), "do you mean gamma?") {
		t.Error(err)
	}
}

func TestRulesInWords(t *testing.T) {
	v := trouble()
	a := poweron.Affinity{Apart: []string{"web", "db"}, Together: []string{"cache"}, Hosts: []datastorehb.HostID{2, 9}}
	if diff := cmp.Diff([]string{"apart from web, db", "together with cache", "on beta, host 9"}, v.rulesOf(a)); diff != "" {
		t.Error(diff)
	}
}

// Protected again by a file that says nothing of rules, a machine keeps those it has.
func TestProtectingAgainKeepsTheRules(t *testing.T) {
	home := uuid.New()
	old := core.MachineView{VM: uuid.New(), Name: "web", Datastore: home, Protected: true, Rules: poweron.Rules{Groups: []string{"g"}}}
	v := cluster{View: core.View{Datastores: []core.DatastoreView{{ID: home, Name: "ds1"}}, Hosts: trouble().Hosts, Machines: []core.MachineView{old}}}
	for name, c := range map[string]struct {
		placement *placement
		want      poweron.Rules
		status    int
	}{
		"says nothing": {nil, old.Rules, 0},
		"says no rule": {&placement{}, poweron.Rules{}, 0},
		"says others":  {&placement{must: affinity{hosts: []string{"gamma", "1"}}}, poweron.Rules{Must: poweron.Affinity{Hosts: []datastorehb.HostID{3, 1}}}, 0},
		"names nobody": {&placement{prefer: affinity{hosts: []string{"gamma", "omega"}}}, poweron.Rules{}, exitNotFound},
	} {
		w := &wish{datastore: "ds1", placement: c.placement}
		w.Name = "web"
		commands, err := v.commands([]*wish{w}, false)
		if statusOf(err) != c.status {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && !commands[0].Entry.Rules.Equal(c.want) {
			t.Errorf("%s: %+v", name, commands[0].Entry.Rules)
		}
	}
}

func TestNoMasterAndNoGuardAreProblems(t *testing.T) {
	v := cluster{core.View{Host: 1, Name: "alpha", Isolated: true}}
	var kinds []string
	for _, row := range v.problems() {
		kinds = append(kinds, row[2])
	}
	if diff := cmp.Diff([]string{"no master", "isolated", "no guard"}, kinds); diff != "" {
		t.Error(diff)
	}
}

func TestNotClosed(t *testing.T) {
	v := trouble()
	d := core.DatastoreView{Name: "nfs1"}
	for _, c := range []struct {
		w    core.WatchView
		want []string
	}{
		{core.WatchView{Name: "beta", Term: 3, NotClosed: "silent for 1s of 5s"}, []string{"term 3 of beta on nfs1 is not closed (R7a): silent for 1s of 5s"}},
		{core.WatchView{Name: "beta", Term: 3, NotClosed: "silent for 1s of 5s", Closed: true}, nil},
		{core.WatchView{Name: "beta", NotClosed: "no term"}, nil},
		{core.WatchView{Name: "alpha", Term: 3, NotClosed: "silent for 0s of 5s"}, nil},
	} {
		if diff := cmp.Diff(c.want, v.notClosed(&d, &c.w)); diff != "" {
			t.Errorf("%+v: %s", c.w, diff)
		}
	}
}

func TestEveryStateThatIsNoRunSaysWhyNothingIsDone(t *testing.T) {
	for state, want := range map[string]string{"frozen": "R12", "undetermined": "ends generation 7", "held": "vm start db", "unknown": "can't be read", "running": "", "stopped": "", "waiting": ""} {
		m := core.MachineView{Name: "db", State: state, Home: "nfs1", HostName: "alpha", Generation: 7}
		if got := strings.Join(notMoved(&m), "; "); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: got %q, want something with %q", state, got, want)
		}
	}
}

func FuzzReadMachines(f *testing.F) {
	f.Add("machine \"web\" {\n driver = \"qemu\"\n datastore = \"d\"\n definition = { memory_mib = 1 }\n policy { priority = 1 }\n}\n")
	f.Add(`{"machine": {"web": {"driver": "process", "datastore": "d", "memory": "1MiB", "definition": {"command": ["sh"]}}}}`)
	f.Add(`machine "a" { memory = null }`)
	f.Fuzz(func(t *testing.T, content string) {
		wishes, err := readMachines("-", strings.NewReader(content), poweron.DefaultPolicy())
		if err == nil && len(wishes) == 0 {
			t.Error("neither a machine nor an error")
		}
		for _, w := range wishes {
			w.judge(hypervisor.Spec{DatastorePath: "/datastore"})
		}
	})
}

// A machine that was taken off the list may still run: protected again under
// another UUID it would be started beside itself.
func TestProtectingAgainKeepsTheUUID(t *testing.T) {
	here, elsewhere := uuid.New(), uuid.New()
	machine := func(home uuid.UUID, state string, protected bool) core.MachineView {
		return core.MachineView{VM: uuid.New(), Name: "web", Datastore: home, State: state, Protected: protected, Desired: poweron.Stopped}
	}
	far := machine(elsewhere, "running", false)
	ended, running, listed := machine(here, "stopped", false), machine(here, "running", false), machine(here, "stopped", true)
	for name, c := range map[string]struct {
		there   []core.MachineView
		want    uuid.UUID // Nil for a new one
		desired poweron.Desired
	}{
		"never heard of":               {nil, uuid.Nil, poweron.Running},
		"on another datastore":         {[]core.MachineView{far}, uuid.Nil, poweron.Running},
		"off the list":                 {[]core.MachineView{far, ended}, ended.VM, poweron.Running},
		"off the list and running":     {[]core.MachineView{ended, running, far}, running.VM, poweron.Running},
		"protected, and to be stopped": {[]core.MachineView{running, listed, ended}, listed.VM, poweron.Stopped},
	} {
		v := cluster{View: core.View{Datastores: []core.DatastoreView{{ID: here, Name: "ds1"}}, Machines: c.there}}
		w := &wish{datastore: "ds1"}
		w.Name, w.Desired = "web", poweron.Running
		commands, err := v.commands([]*wish{w}, false)
		if err != nil {
			t.Fatal(err)
		}
		got := commands[0].Entry
		if c.want == uuid.Nil {
			c.want = got.VM
			for _, m := range c.there {
				if m.VM == got.VM {
					t.Errorf("%s: the UUID of a machine on another datastore was taken", name)
				}
			}
		}
		if got.VM != c.want || got.Desired != c.desired {
			t.Errorf("%s: %s, %s; want %s, %s", name, got.VM, got.Desired, c.want, c.desired)
		}
	}
}
