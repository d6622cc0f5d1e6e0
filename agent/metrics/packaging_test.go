package metrics_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"storebeat/agent/core"
	"storebeat/agent/metrics"
	"storebeat/partition"
)

const (
	rules     = "../../packaging/prometheus/storebeat.rules.yml"
	ruleTests = "../../packaging/prometheus/storebeat.rules.test.yml"
	dashboard = "../../packaging/grafana/storebeat.json"
)

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) ruleFile {
	t.Helper()
	f, err := os.Open(rules)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decoder := yaml.NewDecoder(f)
	decoder.KnownFields(true)
	var file ruleFile
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAlertRules(t *testing.T) {
	seen, form := map[string]bool{}, regexp.MustCompile(`^Storebeat[A-Z][A-Za-z]+$`)
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			if !form.MatchString(r.Alert) || seen[r.Alert] {
				t.Errorf("alert %q: one name each is wanted, such as StorebeatHostDown", r.Alert)
			}
			seen[r.Alert] = true
			if s := r.Labels["severity"]; s != "warning" && s != "critical" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s says nothing to whom it wakes", r.Alert)
			}
			if r.Alert != "StorebeatAgentDown" {
				checkQuery(t, r.Alert, r.Expr)
			}
			for _, kind := range regexp.MustCompile(`--kind ([a-z-]+)`).FindAllStringSubmatch(r.Annotations["description"], -1) {
				if _, ok := core.AboutKind(core.Kind(kind[1])); !ok {
					t.Errorf("%s sends people to look for events of kind %s, which do not exist", r.Alert, kind[1])
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts: the file is not read as it is", len(seen))
	}
}

// The rules do what they are meant to, in the eyes of Prometheus itself, where its tool is there.
func TestAlertRulesWithPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: only the names in the rules were checked")
		return
	}
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", ruleTests}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

func TestDashboard(t *testing.T) {
	content, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title      string
		Templating struct{ List []struct{ Query string } }
		Panels     []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	ids, queries := map[int]bool{}, 0
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q has the id %d of another, or hangs over the edge", p.Title, p.ID)
		}
		ids[p.ID] = true
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries++
			checkQuery(t, p.Title, target.Expr)
		}
	}
	for _, v := range d.Templating.List[1:] {
		checkQuery(t, "a variable", v.Query)
	}
	if queries < 10 {
		t.Errorf("only %d queries: the file is not read as it is", queries)
	}
}

var (
	series  = regexp.MustCompile(`(storebeat_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
)

// checkQuery fails if a query names a metric, a label or a state that does not exist.
func checkQuery(t *testing.T, where, query string) {
	t.Helper()
	found := series.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		t.Errorf("%s: %s asks for no metric", where, query)
	}
	for _, f := range found {
		d, ok := lookUp(f[1])
		if !ok {
			t.Errorf("%s: there is no metric %s", where, f[1])
			continue
		}
		for _, m := range matcher.FindAllStringSubmatch(f[2], -1) {
			if m[1] != "job" && m[1] != "instance" && !slices.Contains(d.Labels, m[1]) {
				t.Errorf("%s: %s has no label %s", where, d.Name, m[1])
			}
			if m[1] == "state" {
				checkStates(t, where, d.Name, m[3])
			}
		}
	}
}

// lookUp finds a metric, also by the names of a histogram's series.
func lookUp(name string) (metrics.Definition, bool) {
	for _, chapter := range metrics.Chapters() {
		for _, d := range chapter.Metrics {
			if d.Name == name {
				return d, true
			}
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, part); ok && d.Name == base && d.Type == metrics.Histogram {
					return d, true
				}
			}
		}
	}
	return metrics.Definition{}, false
}

func checkStates(t *testing.T, where, metric, states string) {
	t.Helper()
	known := map[string][]string{
		"storebeat_datastore_state":  {"available", "failing", "unavailable", "distrusted"},
		"storebeat_machines":         {"running", "frozen", "starting", "stopping"},
		"storebeat_cluster_machines": {"running", "frozen", "starting", "stopping", "stopped", "left off", "waiting", "held", "undetermined", "unknown"},
		"storebeat_machine_trouble":  {"frozen", "waiting", "held", "undetermined", "unknown"},
	}
	for s := partition.Undetermined; s <= partition.Dead; s++ {
		known["storebeat_host_state"] = append(known["storebeat_host_state"], s.String())
	}
	for state := range strings.SplitSeq(states, "|") {
		if !slices.Contains(known[metric], state) {
			t.Errorf("%s: %s has no state %q", where, metric, state)
		}
	}
}
