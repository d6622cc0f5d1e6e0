package agent

import (
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

func TestSilentMonitorIsToldOnce(t *testing.T) {
	s := silences{looks: map[uuid.UUID]int{}}
	vm := uuid.New()
	silent, answering := hypervisor.Condition{Monitor: hypervisor.Silent, Detail: "libvirtd does not answer"}, hypervisor.Condition{Monitor: hypervisor.Answering}
	for look, c := range []struct {
		running bool
		seen    hypervisor.Condition
		want    string
	}{
		{true, answering, ""}, {true, silent, ""}, {true, silent, ""}, {true, answering, ""}, // a restart of the daemon
		{true, silent, ""}, {false, silent, ""}, {true, silent, ""}, {true, silent, ""}, // one look while frozen
		{true, silent, "silent"}, {true, silent, ""}, {true, silent, ""},
		{true, answering, "answers"}, {true, answering, ""},
		{true, hypervisor.Condition{}, ""},
	} {
		got := ""
		if o := s.see(vm, c.running, c.seen); o != nil && o.Silent {
			got = "silent"
		} else if o != nil {
			got = "answers"
		}
		if got != c.want {
			t.Errorf("look %d: told %q, want %q", look, got, c.want)
		}
	}
	s.keep(nil)
	if len(s.looks) != 0 {
		t.Error("a machine that is gone is remembered")
	}
}
