package config_test

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/config"
)

func draft() config.Draft {
	return config.Draft{
		Cluster:    `lab`,
		UUID:       uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
		Hosts:      []config.Host{{Name: "alpha", Heartbeat: netip.MustParseAddrPort("127.0.0.1:7480")}, {Name: "beta", ID: 9, Heartbeat: netip.MustParseAddrPort("127.0.0.2:7480")}},
		Datastores: []config.Datastore{{Name: "first", Path: "/mnt/first", UUID: uuid.MustParse("11111111-2222-4333-8444-555555555555")}},
	}
}

func TestGeneratedConfigurationHolds(t *testing.T) {
	for name, d := range map[string]config.Draft{"given": draft(), "all examples": {}} {
		content := config.Generate(d)
		c, diags := config.Parse("/etc/storebeat/storebeat.hcl", content)
		if len(diags) > 0 {
			t.Fatalf("%s:\n%s\n%s", name, config.Describe(diags), content)
		}
		if d.Cluster == "" {
			continue
		}
		if c.Cluster.UUID != d.UUID || c.Hosts[0].ID != 1 || c.Hosts[1].ID != 9 || c.Datastores[0].UUID != d.Datastores[0].UUID {
			t.Errorf("%s: what was given is not what is read: %+v", name, c)
		}
	}
}

// The comments name defaults, so taking the "#" away must change nothing, and
// no setting may be left without a mention.
func TestGeneratedCommentsAreTrue(t *testing.T) {
	content := config.Generate(draft())
	commented := regexp.MustCompile(`(?m)^(\s*)#(\w+ *= )`)
	uncommented := commented.ReplaceAll(content, []byte("$1$2"))
	want, _ := config.Parse("/etc/storebeat/storebeat.hcl", content)
	got, diags := config.Parse("/etc/storebeat/storebeat.hcl", uncommented)
	if len(diags) > 0 {
		t.Fatalf("%s\n%s", config.Describe(diags), uncommented)
	}
	want.Self = "alpha" // these lines are examples and not defaults
	for i := range want.Datastores {
		want.Datastores[i].WriteBarrier, want.Datastores[i].AcceptNoBarrier = got.Datastores[i].WriteBarrier, true
	}
	if diff := cmp.Diff(want, got, comparing); diff != "" {
		t.Errorf("taking the # away changes something (-commented +uncommented):\n%s", diff)
	}
	for _, name := range config.SettingNames() {
		if !regexp.MustCompile(`(?m)^[\s#]*` + name[1] + ` *= `).Match(uncommented) {
			t.Errorf("%s of block %q is not mentioned", name[1], name[0])
		}
	}
}
