package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"storebeat/poweron"
)

func policyOf(args ...string) (poweron.PolicyChange, error) {
	cmd := &cobra.Command{}
	flags := addPolicyFlags(cmd)
	var c poweron.PolicyChange
	if err := cmd.ParseFlags(args); err != nil {
		return c, err
	}
	err := flags.in(cmd.Flags(), &c)
	return c, err
}

func TestPolicyFlags(t *testing.T) {
	got, err := policyOf("--pause=stop-then-freeze", "--isolation=power-off", "--on-guest-shut-down=start-again", "--on-host-shutdown=leave-off",
		"--priority=1", "--restart=false", "--attempts=0", "--limit=3", "--window=5m", "--stop-time=90s", "--reboot-wait=1m")
	pause, isolation, guest, shutdown := poweron.StopThenFreeze, poweron.PowerOff, poweron.StartAgain, poweron.LeaveOff
	want := poweron.PolicyChange{Priority: new(1), Restart: new(false), Isolation: &isolation, Attempts: new(0), Limit: new(3), Window: new(5 * time.Minute),
		StopTime: new(90 * time.Second), OnGuestShutDown: &guest, OnHostShutdown: &shutdown, RebootWait: new(time.Minute), Pause: &pause}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	if got, err := policyOf(); err != nil || got != (poweron.PolicyChange{}) {
		t.Errorf("nothing given: %+v, %v", got, err)
	}
	if _, err := policyOf("--pause=sleep"); err == nil || !strings.Contains(err.Error(), "--pause=sleep: use auto, freeze, stop-then-freeze") {
		t.Errorf("%v", err)
	}
}
