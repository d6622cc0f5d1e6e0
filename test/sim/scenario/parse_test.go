package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// cluster is what most scenarios of these tests begin with.
const cluster = `datastore ds1, ds2
host h1..h3
machine vm1..vm4 home ds1, ds2 on h1, h2
`

func parse(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettings(t *testing.T) {
	s := parse(t, `# A comment.
title "Words: and, a # in quotes"  # and one behind
expect at end: cluster at rest
timing interval 1s lease 5s freeze 500ms takeover 6s
machine db home fast on b memory 8GiB priority 1 isolation shut-down restart no attempts 0 limit 3 window 1h stop-time 3m guest-shut-down start-again host-shutdown wait reboot-wait 2m
machine old home slow, fast stopped
datastore slow device array1 type nfs4 barrier lock
datastore fast excluded
host a datastores slow
host b memory 128GiB clock -1.5%
address gateway, 10.0.0.1
end at 2m
convergence within 90s
master b
`)
	drift := -0.015
	policy := poweron.DefaultPolicy()
	own := poweron.Policy{Priority: 1, Isolation: poweron.ShutDown, Limit: 3, Window: time.Hour, StopTime: 3 * time.Minute, OnGuestShutDown: poweron.StartAgain, OnHostShutdown: poweron.WaitForReboot, RebootWait: 2 * time.Minute}
	want := &Scenario{
		File: "f", Title: "Words: and, a # in quotes", Timing: datastorehb.Timing{Interval: time.Second, Lease: 5 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 6 * time.Second},
		Addresses:  []string{"gateway", "10.0.0.1"},
		Datastores: []DatastoreSpec{{Name: "slow", Device: "array1", Type: "nfs4", Barrier: datastorehb.BarrierLock}, {Name: "fast", Excluded: true}},
		Hosts:      []HostSpec{{Name: "a", Memory: 64 << 30, Datastores: []string{"slow"}}, {Name: "b", Memory: 128 << 30, Datastores: []string{"slow", "fast"}, Drift: &drift}},
		Machines:   []MachineSpec{{Name: "db", Home: "fast", Host: "b", Memory: 8 << 30, Policy: own}, {Name: "old", Home: "slow", Memory: 1 << 30, Policy: policy, Stopped: true}},
		Master:     "b", End: 2 * time.Minute, Settle: 90 * time.Second,
	}
	s.Expected = nil
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPhrases(t *testing.T) {
	s := parse(t, cluster+`
at 1s..3s: hang ds1 on h1 and h2 for 5s
when event term-closed about h2: power on h2
500ms after vm1 is not frozen on h1: cut master from others
expect within 3s after event term-closed at most 2 times by h1: all machines are away at most 1s
expect never from 3s to 4s: vm1..vm3 run on h1 or h3
`)
	e := s.Events[0]
	if e.When.Time != (Span{time.Second, 3 * time.Second}) || e.Do.Form != Hang || !cmp.Equal(e.Do.Names("HOSTS"), []string{"h1", "h2"}) {
		t.Errorf("%+v", e)
	}
	if c := s.Events[1].When.Condition; s.Events[1].When.Form != When || c.Form != EventSeen || c.Word("KIND") != "term-closed" || c.Has("HOSTS") {
		t.Errorf("%+v", s.Events[1])
	}
	if e := s.Events[2]; e.When.Form != After || !e.When.Condition.Has("not") || e.Do.Names("NODES")[0] != Others || e.Text != "500ms after vm1 is not frozen on h1: cut master from others" {
		t.Errorf("%+v", e)
	}
	x := s.Expected[0]
	if n, _ := x.After.Count("COUNT"); n != (Count{0, 2}) || x.When.Form != ExpectWithin || len(x.What.Names("MACHINES")) != 4 {
		t.Errorf("%+v", x)
	}
	if x := s.Expected[1]; x.When.Form != ExpectNever || len(x.What.Names("MACHINES")) != 3 || !cmp.Equal(x.What.Names("HOSTS"), []string{"h1", "h3"}) {
		t.Errorf("%+v", x)
	}
	if s.End != 28*time.Second {
		t.Errorf("it ends at %v", s.End)
	}
}

// TestMistakes holds what people are told, word for word.
func TestMistakes(t *testing.T) {
	const end = "expect at end: cluster at rest\n"
	tests := []struct{ line, want string }{
		{`tilte "x"`, `4:1: unknown word "tilte"; did you mean "title"?`},
		{`title x`, `4:7: "x" stands where there should be a text in double quotes`},
		{`title "x`, `4:7: the quote is not closed: end it with '"' on the same line`},
		{"title \"x\"\ntitle \"y\"", `5:1: this stands in line 4 already: take one of them out`},
		{`host h4 memory 5x`, `4:16: "5x" is not an amount of memory such as 2GiB`},
		{`host h2`, `4:6: "h2" is declared already: choose another name`},
		{`host others`, `4:6: "others" has a meaning of its own: choose another name`},
		{`host h9..h4`, `4:6: "h9..h4" is no range of names: write one such as h1..h4, with at most 500`},
		{`machine vm9 home ds3`, `4:18: unknown word "ds3"; did you mean "ds1"?`},
		{`machine vm9 home ds1 priority 6`, `4:31: "6" is not a number from 1 to 5`},
		{`machine vm9 on h1`, `4:13: unknown word "on"; write "home"`},
		{`timing interval 1s lease 4s freeze 500ms takeover 4s`, `4:1: takeover 4s is less than lease 4s + freeze 500ms + margin 180ms (2 % of takeover + 100ms): a machine could run twice; raise takeover to at least 4.694s`},
		{`end at 1s`, `5:1: 2s lies after the end, which is at 1s`},
		{`at 0s: powr off h2`, `4:8: unknown word "powr"; did you mean "power"?`},
		{`at 0s: power of h2`, `4:14: unknown word "of"; did you mean "off"?`},
		{`at 0s: power off h4`, `4:18: unknown word "h4"; did you mean "h1"?`},
		{`at 0s: power off storage`, `4:18: there is no "storage": where it stands there should be a host, such as h1`},
		{`at 0s: power off h2 fro 5s`, `4:21: unknown word "fro"; did you mean "for"?`},
		{`at 0s: power off h2 for ever`, `4:25: "ever" is no time: write one such as 500ms, 1.5s, 2m or, for one that each seed draws, 3s..6s; at most 24h0m0s`},
		{`at 1s-3s: power off h1`, `4:4: "1s-3s" is no time: write one such as 500ms, 1.5s, 2m or, for one that each seed draws, 3s..6s; at most 24h0m0s`},
		{`at 1s power off h1`, `4:7: "power" stands where there should be ":"`},
		{`wen vm1 runs: power off h1`, `4:1: unknown word "wen"; did you mean "when"?`},
		{`when event term-close: power off h1`, `4:12: unknown word "term-close"; did you mean "term-closed"?`},
		{`expect by 6s: vm2 runs on h1 or`, `4:32: the end of the line stands where there should be a host`},
		{`expect by 6s: h1 is ded`, `4:21: unknown word "ded"; did you mean "dead"?`},
		{`expect by 6s`, `4:13: the end of the line stands where there should be ":"`},
		{`expect at end: vm1 started at most`, `4:35: the end of the line stands where there should be a number`},
		{"at 0s: power off h\x00", `4:19: "\x00" is no character that a scenario may hold: write plain UTF-8 text`},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			_, err := Parse("f", []byte(cluster+test.line+"\n"+strings.Replace(end, "at end", "at 2s", 1)))
			if err == nil {
				t.Fatal("no error")
			}
			if first, _, _ := strings.Cut(err.Error(), "\n"); first != "f:"+test.want {
				t.Errorf("\n got %s\nwant f:%s", first, test.want)
			}
		})
	}
}

func TestEveryLineHasItsError(t *testing.T) {
	_, err := Parse("f", []byte(cluster+"at 0s: powr off h2\nexpect by 6s: vm2 rnus\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", cluster, "host h1\nexpect at end: cluster at rest", "datastore ds1\nexpect at end: cluster at rest"} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "f:1:1: the scenario ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestPageShowsEveryForm keeps docs/scenarios.md complete: whoever reads it knows
// every word.
func TestPageShowsEveryForm(t *testing.T) {
	content, err := os.ReadFile("../../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, forms := range [][]*Form{Settings, Moments, Expecting, Actions, Conditions} {
		for _, f := range forms {
			if row := "| `" + strings.ReplaceAll(f.Syntax, "|", `\|`) + "` | " + f.Means + " |"; !strings.Contains(page, row) {
				t.Errorf("docs/scenarios.md lacks\n%s", row)
			}
		}
	}
	for name, s := range slots {
		if name != "WORD" && name != "WORD2" && !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/scenarios.md does not say what %s is: %s", name, s.Holds)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../scenarios/*.scenario")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("at 0s..: power off h1..h\nexpect"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Parse("f", content)
		if (s == nil) == (err == nil) {
			t.Fatal(s, err)
		}
		if err == nil && (len(s.Hosts) == 0 || len(s.Expected) == 0 || s.End <= 0) {
			t.Errorf("%+v makes no sense", s)
		}
	})
}
