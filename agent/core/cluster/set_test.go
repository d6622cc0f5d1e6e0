package cluster

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
)

func TestAssign(t *testing.T) {
	r := sample()
	// A single timing goes over the profile, whatever the order.
	err := r.Assign([]Assignment{{"timing.takeover", "9s"}, {"timing.profile", "fast"}, {"isolation.response", "shut down"}, {"machine_defaults.restart", "false"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Timing.Lease != 1500*time.Millisecond || r.Timing.Takeover != 9*time.Second || r.Machines.Isolation != "shut down" || r.Machines.Restart {
		t.Errorf("%+v", r)
	}
	if got := r.Show("timing.profile"); got != "none" {
		t.Errorf("the profile shows as %s", got)
	}
	encoded(t, r)
}

// A record made before there was a choice about a host's shutdown says what it meant
// then, and takes either setting alone.
func TestAssignHostShutdown(t *testing.T) {
	old := sample()
	old.Machines.OnHostShutdown, old.Machines.RebootWait = "", 0
	if got := old.Show("machine_defaults.on_host_shutdown"); got != "restart elsewhere" || old.Machines.OnHostShutdown != "" {
		t.Errorf("shows as %q, and is %q after that", got, old.Machines.OnHostShutdown)
	}
	for _, a := range []Assignment{{"machine_defaults.on_host_shutdown", "leave off"}, {"machine_defaults.reboot_wait", "3m"}} {
		r := old
		if _, err := Decode(encoded(t, r), datastorehb.KnownLevels()); err != nil {
			t.Fatal(err)
		}
		if err := r.Assign([]Assignment{a}); err != nil || a.Setting == "machine_defaults.reboot_wait" && r.Machines.RebootWait != 3*time.Minute {
			t.Errorf("%s: %v, %+v", a, err, r.Machines)
		}
		encoded(t, r)
	}
}

func TestAssignRefuses(t *testing.T) {
	for _, test := range []struct{ setting, value, want string }{
		{"timing.freeze", "1s", "has no setting"},
		{"colour", "red", "timing.profile"},
		{"timing.profile", "quick", "use fast"},
		{"timing.lease", "soon", "write a duration"},
		{"timing.lease", "9s", "raise takeover"},
		{"machine_defaults.priority", "high", "whole number"},
		{"machine_defaults.priority", "7", "priority is 7"},
		{"machine_defaults.restart", "perhaps", "true or false"},
		{"isolation.response", "explode", "use one of"},
	} {
		r := sample()
		err := r.Assign([]Assignment{{"machine_defaults.limit", "9"}, {test.setting, test.value}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%s: %v, want %q", test.setting, test.value, err, test.want)
		}
		if r.Machines.Limit != sample().Machines.Limit {
			t.Errorf("%s=%s was refused and changed something", test.setting, test.value)
		}
	}
}

func TestEverySettingTakesWhatItShows(t *testing.T) {
	for _, name := range Settings() {
		r := sample()
		if err := r.Assign([]Assignment{{name, r.Show(name)}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if before := sample(); r.Sum() != before.Sum() {
			t.Errorf("%s=%s changes the record", name, r.Show(name))
		}
	}
}
