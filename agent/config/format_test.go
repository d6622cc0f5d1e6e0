package config_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"storebeat/agent/config"
)

// Any amount of memory up to 2^53 bytes comes back as it was: no rounding may
// hide a change from Diff.
func TestFormatKeepsMemory(t *testing.T) {
	base := edited(t)
	rapid.Check(t, func(t *rapid.T) {
		want := *base
		want.Hypervisor.Memory = config.Memory{Bytes: rapid.Uint64Range(1, 1<<53).Draw(t, "bytes")}
		got, diags := config.Parse(want.Path, config.Format(&want))
		if diags.HasErrors() || got.Hypervisor.Memory != want.Hypervisor.Memory {
			t.Fatalf("%v came back as another amount: %v", want.Hypervisor.Memory, config.Describe(diags))
		}
	})
}

func TestFormatKeepsEverything(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.hcl")
	for _, file := range files {
		want, _ := parse(t, file)
		text := config.Format(want)
		got, diags := config.Parse(want.Path, text)
		if diags.HasErrors() {
			t.Fatalf("%s:\n%s\n%s", file, config.Describe(diags), text)
		}
		if diff := cmp.Diff(want, got, comparing); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", file, diff, text)
		}
	}
}

func TestFormatKeepsAProfile(t *testing.T) {
	for _, profile := range []config.Profile{config.Fast, config.Normal, config.Relaxed} {
		want := edited(t, `"fast"`, `"`+string(profile)+`"`, `"3s"`, `"13s"`, `control_socket  = "/run/sb/agent.sock"`, "")
		got, diags := config.Parse(want.Path, config.Format(want))
		if diff := cmp.Diff(want, got, comparing); diff != "" {
			t.Errorf("%s (-want +got):\n%s%s", profile, diff, config.Describe(diags))
		}
	}
}
