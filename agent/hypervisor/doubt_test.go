package hypervisor

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor/procfs"
)

// TestDoubt judges a process that could not be looked at, for what the run directory
// says of one machine. That nothing was found is then no proof that nothing is there.
func TestDoubt(t *testing.T) {
	marker := Marker{Cluster: uuid.New(), Host: 7, VM: uuid.New(), Generation: 3, Datastore: uuid.New()}
	own, err := procfs.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	record := func(start uint64, cgroup string) func(t *testing.T, runDir string) {
		return func(t *testing.T, runDir string) {
			t.Helper()
			if err := WriteRecord(runDir, marker, "script", Handle{PID: 1 << 21, StartTime: start, Cgroup: cgroup}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, runDir string) // nil: the machine was never started here
		session int                               // of the process
		found   []Found
		doubted bool
	}{
		"never started":            {},
		"nothing recorded":         {prepare: func(*testing.T, string) {}, doubted: true},
		"weak":                     {prepare: record(own.Start-1, ""), doubted: true},
		"weak, began later":        {prepare: record(own.Start+1, "")},
		"weak, found":              {prepare: record(own.Start-1, ""), found: []Found{{Marker: marker}}},
		"weak, in a known session": {prepare: record(own.Start-1, ""), session: 1},
		"in a cgroup":              {prepare: record(own.Start-1, "/sys/fs/cgroup/elsewhere")},
	} {
		t.Run(name, func(t *testing.T) {
			runDir := t.TempDir()
			if c.prepare != nil {
				if err := os.Mkdir(MachineDir(runDir, marker.VM, marker.Generation), 0o700); err != nil {
					t.Fatal(err)
				}
				c.prepare(t, runDir)
			}
			stat := own
			stat.Session = c.session
			s := &survey{cluster: marker.Cluster, host: marker.Host, stats: map[int]procfs.Stat{own.PID: stat}, sessions: map[int]sighted{},
				members: map[int]sighted{}, strangers: map[int]bool{1: true}, unseen: map[int]error{own.PID: procfs.ErrHangs}, confined: map[int]instance{}}
			s.byCgroup()
			s.bySession()
			err := s.doubt(runDir, c.found)
			var unseen *UnseenError
			if errors.As(err, &unseen) != c.doubted {
				t.Fatalf("doubt: %v", err)
			}
			if c.doubted && (!unseen.Concerns(marker.VM) || unseen.Concerns(marker.Cluster) || !strings.Contains(err.Error(), own.Name)) {
				t.Errorf("it does not say what it is about: %v", err)
			}
			if err := s.doubt("", nil); (err != nil) != (c.session == 0) {
				t.Errorf("where nothing says which machines were started: %v", err)
			}
		})
	}
}

func TestCgroupNames(t *testing.T) {
	spec := Spec{Host: 7, VM: uuid.New(), Generation: 3}
	host, i, ok := parseCgroupName(spec.CgroupName())
	if want := (instance{spec.VM, 3}); !ok || host != 7 || i != want {
		t.Errorf("%s is read as host %d, %v, %v", spec.CgroupName(), host, i, ok)
	}
	for _, text := range []string{"", "storebeat", "storebeat-probe-77", "storebeat-machines.service", "storebeat-0-" + i.String(), "storebeat-7-" + spec.VM.String(), i.String()} {
		if _, _, ok := parseCgroupName(text); ok {
			t.Errorf("%q is taken for a machine's cgroup", text)
		}
	}
}
