package core

import (
	"strings"
	"testing"
)

// Whoever asks why a machine does not run is told what its start waits for, as long
// as it waits; the journal is told once.
func TestRefusedStartIsExplained(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	e := d.start()
	refusal := MachineStarted{VM: guest, Generation: e.Generation, Refused: true, Err: "disk is locked by another process"}
	d.see(refusal)
	state, host, why := d.localState(d.machine(guest))
	if state != "starting" || host != 1 || !strings.Contains(why, refusal.Err) {
		t.Errorf("it is %s on host %d: %s", state, host, why)
	}
	told := d.events("start-refused")
	if len(told) != 1 || !strings.Contains(told[0].Text, refusal.Err) {
		t.Errorf("the journal is told %+v", told)
	}
	d.machine(guest).enter(phaseCreate)
	d.see(refusal)
	if told := d.events("start-refused"); len(told) != 0 {
		t.Errorf("the journal is told again: %+v", told)
	}
	d.machine(guest).enter(phaseCreate)
	d.see(MachineStarted{VM: guest, Generation: e.Generation})
	if _, _, why := d.localState(d.machine(guest)); strings.Contains(why, refusal.Err) {
		t.Errorf("it is started, and is said to wait: %s", why)
	}
}
