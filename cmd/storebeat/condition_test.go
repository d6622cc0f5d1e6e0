package main

import (
	"strings"
	"testing"

	"storebeat/agent/core"
	"storebeat/poweron"
)

// A guest that does not run, though its host runs the machine, is shown as what it is; and
// what is to be looked at is among the problems.
func TestConditionIsShown(t *testing.T) {
	failed := core.MachineView{Name: "web", Protected: true, State: "running", Host: 1, HostName: "alpha", Desired: poweron.Running,
		Condition: core.Condition{Guest: "io-error", Why: "a request to a disk failed: vda: no space"}}
	silent := core.MachineView{Name: "db", Protected: true, State: "running", Host: 1, HostName: "alpha", Desired: poweron.Running,
		Condition: core.Condition{Why: "its monitor is silent", Remarks: []string{"its definition was changed"}}}
	well := core.MachineView{Name: "mail", Protected: true, State: "running", Host: 1, HostName: "alpha", Desired: poweron.Running}
	frozen := failed
	frozen.State = "frozen"
	pending := failed
	pending.State, pending.Condition.Guest = "stopping", core.KillPending
	for state, m := range map[string]core.MachineView{"io-error on alpha": failed, "running on alpha": silent, "frozen on alpha": frozen, "kill-pending on alpha": pending} {
		if got := stateOn(&m); got != state {
			t.Errorf("%s is shown as %q, want %q", m.Name, got, state)
		}
	}
	v := cluster{View: core.View{GuardUp: true, Master: 1, Leading: true, Machines: []core.MachineView{failed, silent, well}}}
	if line := v.machinesLine(); line != "3 protected: 2 running, 1 io-error" {
		t.Errorf("counted: %s", line)
	}
	var shown []string
	for _, row := range v.problems() {
		if strings.TrimSpace(row[0]) == "machine" {
			shown = append(shown, strings.Join(row[1:], " "))
		}
	}
	want := "web io-error a request to a disk failed: vda: no space\ndb running its monitor is silent\ndb running its definition was changed"
	if got := strings.Join(shown, "\n"); got != want {
		t.Errorf("problems:\n%s\nwant:\n%s", got, want)
	}
}
