package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

func TestConditionLeavesOutWhatIsWell(t *testing.T) {
	for name, c := range map[string]struct {
		from hypervisor.Condition
		want core.Condition
	}{
		"no monitor":     {hypervisor.Condition{}, core.Condition{}},
		"runs":           {hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "running"}, core.Condition{}},
		"is about to":    {hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "prelaunch"}, core.Condition{}},
		"just found":     {hypervisor.Condition{Monitor: hypervisor.Connecting}, core.Condition{}},
		"paused":         {hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "paused", Detail: "by a user"}, core.Condition{Guest: "paused", Why: "by a user"}},
		"disk failed":    {hypervisor.Condition{Monitor: hypervisor.Answering, Guest: "io-error", Detail: "vda"}, core.Condition{Guest: "io-error", Why: "vda"}},
		"daemon hangs":   {hypervisor.Condition{Monitor: hypervisor.Silent, Guest: "running", Detail: "libvirtd does not answer"}, core.Condition{Why: "its monitor is silent: libvirtd does not answer"}},
		"daemon is gone": {hypervisor.Condition{Monitor: hypervisor.Connecting, Detail: "libvirtd can't be reached"}, core.Condition{Why: "its monitor is connecting: libvirtd can't be reached"}},
	} {
		if diff := cmp.Diff(c.want, conditionOf(c.from)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
