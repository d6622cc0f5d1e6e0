package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

// MayStartRequest names a guest that a hypervisor is about to start.
type MayStartRequest struct {
	VM     uuid.UUID `json:"vm"`
	Marker string    `json:"marker"` // that its process would carry, "" for one that no agent has ordered
}

// MayStartResult is the answer.
type MayStartResult struct {
	Allowed   bool   `json:"allowed"`
	Protected bool   `json:"protected,omitempty"` // the guest is a machine that is to be moved here
	Why       string `json:"why"`                 // with the remedy, when it is not allowed
}

// mayStart allows what this agent is starting right now, and what is no protected
// machine.
func (a *Agent) mayStart(ctx context.Context, in MayStartRequest) (MayStartResult, error) {
	if in.Marker != "" {
		m, err := hypervisor.ParseMarker(in.Marker)
		if err == nil && m.Cluster == a.cfg.Cluster.UUID && m.Host == a.self.Host && m.VM == in.VM && a.machines.starting(m.VM, m.Generation) {
			return MayStartResult{Allowed: true}, nil
		}
	}
	m, why, err := a.protectedMachine(ctx, in.VM)
	if err != nil || m == nil || a.incoming.begin(in.VM, in.Marker) {
		return MayStartResult{Allowed: why == "", Why: why}, err
	}
	why = refuseStart(m)
	self, _ := a.member(a.self.Host)
	a.observe(core.HypervisorFinding{VM: in.VM, Kind: "start-by-hand-refused", Text: fmt.Sprintf("a start by hand on %s was refused: %s", self.Name, why)})
	return MayStartResult{Why: why}, nil
}

// protectedMachine returns a machine that is protected, nil for a guest that is not. If that
// can't be told it says why nobody may start it here.
func (a *Agent) protectedMachine(ctx context.Context, vm uuid.UUID) (m *core.MachineView, why string, err error) {
	v, err := a.view(ctx)
	if err != nil {
		return nil, "", err
	}
	at := slices.IndexFunc(v.Machines, func(m core.MachineView) bool { return m.VM == vm && m.Protected })
	switch {
	case at >= 0:
		return &v.Machines[at], "", nil
	case !allScanned(&v) && KnownProtected(a.cfg.StateDirectory, vm):
		return nil, refuseUnread(vm), nil
	}
	return nil, "", nil
}

// refuseStart tells a user of a hypervisor what to do instead.
func refuseStart(m *core.MachineView) string {
	where := m.State
	if m.HostName != "" {
		where += " on " + m.HostName
	}
	return fmt.Sprintf("%s is protected by Storebeat and %s: start it with `storebeat vm start %s`, or take it off the protected list first with `storebeat vm unprotect %s`", m.Name, where, m.Name, m.Name)
}

func refuseUnread(vm uuid.UUID) string {
	return fmt.Sprintf("%s was protected by Storebeat when its datastore was last read: wait for the agent (storebeat status), and start it with `storebeat vm start %s`", vm, vm)
}

func allScanned(v *core.View) bool {
	return !slices.ContainsFunc(v.Datastores, func(d core.DatastoreView) bool { return !d.Scanned })
}

// protectedFile holds the machines that were protected when the agent last looked, one
// UUID a line: a hypervisor that comes up before the agent asks it.
const protectedFile = "protected"

// rememberProtected writes down which machines are protected. What is on a
// datastore that has not been read stays written down.
func (a *Agent) rememberProtected(v *core.View) error {
	path := filepath.Join(a.cfg.StateDirectory, protectedFile)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := map[string]bool{}
	if !allScanned(v) {
		for line := range strings.Lines(string(before)) {
			lines[strings.TrimSpace(line)] = true
		}
	}
	for i := range v.Machines {
		if v.Machines[i].Protected {
			lines[v.Machines[i].VM.String()] = true
		}
	}
	var text bytes.Buffer
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		text.WriteString(line + "\n")
	}
	if bytes.Equal(before, text.Bytes()) {
		return nil
	}
	return renameio.WriteFile(path, text.Bytes(), 0o600)
}

// KnownProtected tells whether a machine was protected when the agent with this
// state directory last looked. A list that can't be read is taken to name it.
func KnownProtected(stateDirectory string, vm uuid.UUID) bool {
	text, err := os.ReadFile(filepath.Join(stateDirectory, protectedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || slices.Contains(strings.Fields(string(text)), vm.String())
}
