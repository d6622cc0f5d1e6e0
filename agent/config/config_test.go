package config_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"

	"storebeat/agent/config"
	"storebeat/agent/core"
	"storebeat/agent/notify"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

var update = flag.Bool("update", false, "rewrite the golden files with what is printed now")

var comparing = cmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// parse parses a file of testdata under a name that is the same on every machine.
func parse(t *testing.T, path string) (*config.Config, hcl.Diagnostics) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return config.Parse("/etc/storebeat/"+filepath.Base(path), content)
}

func TestEverySettingIsRead(t *testing.T) {
	got, diags := parse(t, "testdata/good/full.hcl")
	if len(diags) > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", config.Describe(diags))
	}
	none := datastorehb.BarrierNone
	want := &config.Config{
		Path:           "/etc/storebeat/full.hcl",
		Self:           "alpha",
		RunDirectory:   "/run/sb",
		StateDirectory: "/etc/storebeat/state",
		ControlSocket:  "/run/sb/agent.sock",
		Cluster:        config.Cluster{Name: "lab", UUID: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), KeyFile: "/etc/storebeat/keys/lab.key"},
		Hosts: []config.Host{
			{Name: "alpha", ID: 1, Heartbeat: netip.MustParseAddrPort("192.0.2.1:7480"), Management: netip.MustParseAddrPort("198.51.100.1:9000")},
			{Name: "beta", ID: 7, Heartbeat: netip.MustParseAddrPort("[2001:db8::2]:7777"), Management: netip.MustParseAddrPort("[2001:db8::2]:7481")},
		},
		Datastores: []config.Datastore{
			{Name: "nfs", UUID: uuid.MustParse("11111111-2222-4333-8444-555555555555"), Path: "/mnt/nfs", Preferred: true},
			{Name: "scratch", UUID: uuid.MustParse("11111111-2222-4333-8444-666666666666"), Path: "/mnt/scratch", Excluded: true, WriteBarrier: &none, AcceptNoBarrier: true},
		},
		Profile:    config.Fast,
		Timing:     datastorehb.Timing{Interval: 250 * time.Millisecond, Lease: 1500 * time.Millisecond, Freeze: 500 * time.Millisecond, Takeover: 3 * time.Second},
		Heartbeat:  config.Heartbeat{Datastores: 3, Threshold: 60},
		Isolation:  config.Isolation{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8::ff")}},
		Hypervisor: config.Hypervisor{Drivers: []string{"qemu"}, LibvirtURI: "qemu+unix:///system?socket=/run/lv.sock", CgroupRoot: "/sys/fs/cgroup/machines.slice", ParallelStarts: 8, Memory: config.Memory{Bytes: 48 << 30}},
		Guard:      config.Guard{Socket: "/run/sb/g.sock", Watchdog: "/dev/watchdog"},
		Machines: poweron.Policy{
			Priority: 2, Isolation: poweron.ShutDown, Limit: 3, Window: 5 * time.Minute, StopTime: 90 * time.Second, OnGuestShutDown: poweron.StartAgain, OnHostShutdown: poweron.WaitForReboot, RebootWait: 5 * time.Minute, Pause: poweron.StopThenFreeze,
		},
		Log:     config.Log{Level: "debug", Format: "json"},
		Metrics: config.Metrics{Address: netip.MustParseAddrPort("0.0.0.0:9100")},
		Notify: []config.Notify{
			{Name: "mail", Kinds: []core.Kind{"host-dead", "machine-held"}, Severity: core.Error, Command: []string{"/usr/local/bin/mail-event", "ops@example.org"},
				Timeout: 5 * time.Second, Rate: notify.Rate{Count: 20, Per: time.Hour}},
			{Name: "chat", Severity: core.Warning, Command: []string{"/opt/chat"}, Timeout: 10 * time.Second, Rate: notify.Rate{Count: 10, Per: time.Minute}},
		},
	}
	if diff := cmp.Diff(want, got, comparing); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestDefaultsHoldWhereTheFileSaysNothing(t *testing.T) {
	got, diags := parse(t, "testdata/good/minimal.hcl")
	if len(diags) > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", config.Describe(diags))
	}
	want := config.Default()
	want.Path = "/etc/storebeat/minimal.hcl"
	want.Cluster = config.Cluster{Name: "lab", UUID: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), KeyFile: "/etc/storebeat/cluster.key"}
	want.ControlSocket, want.Guard.Socket = "/run/storebeat/control.sock", "/run/storebeat/guard.sock"
	want.Hosts = []config.Host{{Name: "alpha", ID: 1, Heartbeat: netip.MustParseAddrPort("127.0.0.1:7480"), Management: netip.MustParseAddrPort("127.0.0.1:7481")}}
	want.Datastores = []config.Datastore{{Name: "only", UUID: uuid.MustParse("11111111-2222-4333-8444-555555555555"), Path: "/mnt/only"}}
	if diff := cmp.Diff(want, got, comparing); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// Every bad file has a golden report beside it; so have good ones with warnings.
func TestReports(t *testing.T) {
	for _, folder := range []string{"bad", "good"} {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.hcl"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, file := range files {
			t.Run(folder+"/"+filepath.Base(file), func(t *testing.T) {
				c, diags := parse(t, file)
				if bad := folder == "bad"; bad != diags.HasErrors() || bad != (c == nil) {
					t.Errorf("errors: %t, configuration: %t", diags.HasErrors(), c != nil)
				}
				golden(t, strings.TrimSuffix(file, ".hcl")+".golden", config.Describe(diags))
			})
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("report (-want +got), rewrite with -update if it is right:\n%s", diff)
	}
}

func TestProfilesAreSafe(t *testing.T) {
	want := map[config.Profile]datastorehb.Timing{
		config.Fast:    {Interval: 250 * time.Millisecond, Lease: 1500 * time.Millisecond, Freeze: 500 * time.Millisecond, Takeover: 2200 * time.Millisecond},
		config.Normal:  {Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second},
		config.Relaxed: {Interval: 2 * time.Second, Lease: 10 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 12 * time.Second},
	}
	for p, timing := range want {
		if diff := cmp.Diff(timing, p.Timing()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
		if err := p.Timing().Validate(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestFindSelf(t *testing.T) {
	c := &config.Config{Path: "c.hcl", Hosts: []config.Host{{Name: "alpha", ID: 1}, {Name: "beta.example", ID: 2}, {Name: "gamma", ID: 3}}}
	tests := []struct {
		name, self, given, hostname string
		want                        datastorehb.HostID // 0 for an error
	}{
		{"by host name", "", "", "alpha", 1},
		{"by host name without its domain", "", "", "alpha.example", 1},
		{"by host name with its domain", "", "", "beta.example", 2},
		{"self goes before the host name", "gamma", "", "alpha", 3},
		{"the command line goes before self", "gamma", "alpha", "beta.example", 1},
		{"unknown host name", "", "", "delta", 0},
		{"unknown name given", "alpha", "delta", "alpha", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c.Self = test.self
			got, err := c.FindSelf(test.given, test.hostname)
			if got.ID != test.want || (err != nil) != (test.want == 0) {
				t.Errorf("got host %d, error %v", got.ID, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "delta") || !strings.Contains(err.Error(), `"alpha", "beta.example", "gamma"`)) {
				t.Errorf("the error names neither the value nor the remedy: %v", err)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	const total = 1000
	tests := map[string]struct {
		memory config.Memory
		want   uint64
	}{
		"share":              {config.Memory{Percent: 90}, 900},
		"amount":             {config.Memory{Bytes: 10}, 10},
		"more than there is": {config.Memory{Bytes: 2000}, total},
	}
	for name, test := range tests {
		if got := test.memory.Of(total); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}

func TestLookingUp(t *testing.T) {
	c, _ := parse(t, "testdata/good/full.hcl")
	if h, ok := c.HostByID(7); !ok || h.Name != "beta" {
		t.Errorf("host 7: %v %t", h, ok)
	}
	if d, ok := c.DatastoreByUUID(uuid.MustParse("11111111-2222-4333-8444-666666666666")); !ok || d.Name != "scratch" {
		t.Errorf("datastore: %v %t", d, ok)
	}
	if _, ok := c.HostByID(2); ok {
		t.Error("found a host 2")
	}
	if _, ok := c.DatastoreByUUID(uuid.Nil); ok {
		t.Error("found a datastore without identity")
	}
}

func TestLoadNamesTheMissingFile(t *testing.T) {
	c, diags := config.Load(filepath.Join(t.TempDir(), "none.hcl"))
	if c != nil || !strings.Contains(config.Describe(diags), "none.hcl") {
		t.Errorf("got %v and %v", c, diags)
	}
	if _, diags := config.Load(t.TempDir()); !strings.Contains(config.Describe(diags), "is a folder") {
		t.Errorf("loading a folder: %v", diags)
	}
}

func TestLoadReadsTheKey(t *testing.T) {
	folder := t.TempDir()
	path, key := filepath.Join(folder, "storebeat.hcl"), config.NewKey()
	if err := os.WriteFile(path, config.Generate(config.Draft{}), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, diags := config.Load(path); c != nil || !strings.Contains(config.Describe(diags), "Unusable cluster key: cluster key "+folder+"/cluster.key does not exist") {
		t.Errorf("without a key: %s", config.Describe(diags))
	}
	if err := config.WriteKey(filepath.Join(folder, "cluster.key"), key); err != nil {
		t.Fatal(err)
	}
	c, diags := config.Load(path)
	if c == nil || c.Key() != key {
		t.Errorf("with a key: %s", config.Describe(diags))
	}
	if err := os.WriteFile(path, []byte("cluster {"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, diags := config.Load(path); strings.Contains(config.Describe(diags), "key") {
		t.Errorf("a file that is no HCL is blamed for a key: %s", config.Describe(diags))
	}
}

func TestOneAddressInTwoForms(t *testing.T) {
	content, err := os.ReadFile("testdata/good/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(content), "[2001:db8::2]:7777", "[::ffff:192.0.2.1]:7480", 1)
	if _, diags := config.Parse("c.hcl", []byte(text)); !strings.Contains(config.Describe(diags), "Duplicate heartbeat address") {
		t.Errorf("not found to be the same: %s", config.Describe(diags))
	}
}

func TestTooLargeAFileIsRefused(t *testing.T) {
	_, diags := config.Parse("big.hcl", []byte(strings.Repeat("#\n", config.MaxFileSize)))
	if !strings.Contains(config.Describe(diags), "File too large") {
		t.Errorf("got %s", config.Describe(diags))
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.hcl", "testdata/bad/*.hcl"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add(config.Generate(config.Draft{}))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, diags := config.Parse("/etc/storebeat/fuzz.hcl", content)
		if (c == nil) != diags.HasErrors() {
			t.Fatalf("configuration: %t, errors: %t", c != nil, diags.HasErrors())
		}
		_ = config.Describe(diags)
		if c != nil && config.Validate(c).HasErrors() {
			t.Fatalf("parsed without an error, but does not hold:\n%s", config.Describe(config.Validate(c)))
		}
	})
}
