package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"storebeat/agent/config"
)

// edited parses the full sample after replacing parts of it.
func edited(t *testing.T, replacements ...string) *config.Config {
	t.Helper()
	content, err := os.ReadFile("testdata/good/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("the sample does not contain %q", replacements[i])
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	c, diags := config.Parse("/etc/storebeat/full.hcl", []byte(text))
	if diags.HasErrors() {
		t.Fatal(config.Describe(diags))
	}
	return c
}

func shown(changes []config.Change) []string {
	var list []string
	for _, c := range changes {
		list = append(list, c.String())
	}
	return list
}

const gamma = "\nhost \"gamma\" {\n  id = 8\n  heartbeat = \"192.0.2.8\"\n}\n\nlog {"

const web = "\ndatastore \"web\" {\n  path = \"/mnt/web\"\n  uuid = \"4d7c8f66-1f0e-4a1b-9d5e-1f3c1e5b7a99\"\n}\n\nlog {"

func TestDiff(t *testing.T) {
	tests := []struct {
		name          string
		edit          []string
		live, restart []string
	}{
		{name: "nothing", edit: []string{"48GiB", "49152MiB"}},
		{name: "log level", edit: []string{`"debug"`, `"warn"`}, live: []string{`log.level: "debug" → "warn" (line 80)`}},
		{name: "isolation", edit: []string{`"shut down"`, `"leave"`, `["192.0.2.254", `, `[`}, live: []string{
			`isolation.addresses: ["192.0.2.254", "2001:db8::ff"] → ["2001:db8::ff"] (line 48)`, `isolation.response: "shut down" → "leave" (line 49)`}},
		{name: "profile", edit: []string{`"fast"`, `"default"`, `"3s"`, `"6s"`}, restart: []string{
			`timing.profile: "fast" → "default" (line 38)`, `timing.interval: "250ms" → "1s" (line 37)`, `timing.lease: "1.5s" → "4s" (line 37)`, `timing.takeover: "3s" → "6s" (line 39)`}},
		{name: "one of each", edit: []string{`"192.0.2.1"`, `"192.0.2.9"`, "preferred = true", "preferred = false"},
			live:    []string{`datastore "nfs" preferred: true → false (line 26)`},
			restart: []string{`host "alpha" heartbeat: "192.0.2.1:7480" → "192.0.2.9:7480" (line 14)`}},
		{name: "notification", edit: []string{`"5s"`, `"6s"`, `["/opt/chat"]`, `["/opt/talk"]`}, live: []string{
			`notify "mail" timeout: "5s" → "6s" (line 92)`, `notify "chat" command: ["/opt/chat"] → ["/opt/talk"] (line 97)`}},
		{name: "another notification", edit: []string{`notify "chat"`, `notify "talk"`}, live: []string{
			`notify "talk": absent → present (line 96)`, `notify "chat": present → absent (line 1)`}},
		{name: "metrics", edit: []string{`"0.0.0.0:9100"`, `""`}, live: []string{`metrics.address: "0.0.0.0:9100" → "" (line 85)`}},
		{name: "new host", edit: []string{"\nlog {", gamma}, restart: []string{`host "gamma": absent → present (line 79)`}},
		{name: "new datastore", edit: []string{"\nlog {", web}, live: []string{`datastore "web": absent → present (line 79)`}},
		{name: "renamed", edit: []string{`datastore "nfs"`, `datastore "web"`, `host "beta"`, `host "delta"`}, restart: []string{
			`host "delta": absent → present (line 18)`, `host "beta": present → absent (line 1)`, `datastore "web": absent → present (line 23)`, `datastore "nfs": present → absent (line 1)`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			live, restart := config.Diff(edited(t), edited(t, test.edit...))
			if diff := cmp.Diff(test.live, shown(live)); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.restart, shown(restart)); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyTakesOverWhatIsLiveAndNothingElse(t *testing.T) {
	running, next := edited(t), edited(t, `"debug"`, `"warn"`, `"fast"`, `"relaxed"`, `"3s"`, `"13s"`, "preferred = true", "preferred = false", `"192.0.2.1"`, `"192.0.2.9"`, "\nlog {", gamma)
	applied, _, _ := config.Apply(running, next)
	want := edited(t, `"debug"`, `"warn"`, "preferred = true", "preferred = false")
	if diff := cmp.Diff(want, applied, comparing); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(edited(t), running, comparing); diff != "" {
		t.Errorf("the running configuration was changed:\n%s", diff)
	}
	if live, restart := config.Diff(applied, next); len(live) != 0 || len(restart) == 0 {
		t.Errorf("after applying: live %v, restart %v", shown(live), shown(restart))
	}
}
