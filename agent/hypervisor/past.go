package hypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// Historian is a driver whose hypervisor still knows how a machine ended when no agent was
// there to see it.
type Historian interface {
	// Ended says how the newest run of a machine ended, and whether that is known.
	Ended(ctx context.Context, vm uuid.UUID) (exit Exit, known bool)
}

// endingFile says, beside the record, that the machine's end was asked for by its agent.
const endingFile = "ending"

// NoteEnding notes that an agent is about to end a machine, or to ask its guest for it: if
// the agent does not live to see the end, nobody takes that for a user's will.
func NoteEnding(runDir string, vm uuid.UUID, generation uint64) error {
	if err := os.WriteFile(filepath.Join(MachineDir(runDir, vm, generation), endingFile), nil, 0o600); err != nil {
		return fmt.Errorf("note that machine %s is being ended: %w", vm, err)
	}
	return nil
}

// Past lists the machines of this boot whose leading process was recorded and is gone, each
// in its newest generation, unless their agent had begun to end them. What is recorded of
// older generations is removed, and so are cgroups of theirs that stand empty.
func Past(cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error) {
	records, err := recordsOf(cluster, host, runDir)
	slices.SortFunc(records, func(a, b sighted) int { return cmp.Compare(b.Generation, a.Generation) })
	var past []Found
	seen := map[uuid.UUID]bool{}
	for _, r := range records {
		alive := Alive(r.handle)
		if !alive {
			tidyCgroup(r.handle)
		}
		switch {
		case alive:
		case seen[r.VM]:
			_ = os.RemoveAll(MachineDir(runDir, r.VM, r.Generation)) // it does no harm
		case !noted(r.VM, r.Generation, runDir):
			past = append(past, Found{Marker: r.Marker, Driver: r.driver, RunDir: runDir, Handle: r.handle})
		}
		seen[r.VM] = true
	}
	return past, err
}

// tidyCgroup removes the cgroup that was made for a machine, once nothing is in it: the
// agent that would have done so was not there when the machine ended.
func tidyCgroup(h Handle) {
	if _, _, ours := parseCgroupName(filepath.Base(h.Cgroup)); ours {
		_ = freeze.RemoveCgroup(h.Cgroup) // it is refused while a process is left
	}
}

func noted(vm uuid.UUID, generation uint64, runDir string) bool {
	_, err := os.Stat(filepath.Join(MachineDir(runDir, vm, generation), endingFile))
	return !errors.Is(err, fs.ErrNotExist)
}
