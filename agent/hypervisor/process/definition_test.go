package process

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/leader"
)

func TestValidate(t *testing.T) {
	tests := map[string]struct{ definition, want string }{
		"good":            {`{"command": ["a"], "env": {"A_1": "{{name}}"}, "dir": "x", "output": "{{datastore}}/y"}`, ""},
		"empty":           {``, "JSON"},
		"no command":      {`{}`, "command is empty"},
		"empty program":   {`{"command": [""]}`, "command is empty"},
		"not strings":     {`{"command": "a"}`, "must be a list"},
		"unknown field":   {`{"command": ["a"], "user": "root"}`, "user"},
		"placeholder":     {`{"command": ["a", "{{host}}"]}`, "command[1]"},
		"zero byte":       {`{"command": ["a\u0000b"]}`, "zero byte"},
		"variable":        {`{"command": ["a"], "env": {"a.b": ""}}`, "a.b"},
		"our variable":    {`{"command": ["a"], "env": {"STOREBEAT_MACHINE": ""}}`, "STOREBEAT_MACHINE"},
		"dir outside":     {`{"command": ["a"], "dir": "/"}`, "dir"},
		"output outside":  {`{"command": ["a"], "output": "../x"}`, "output"},
		"several at once": {`{"command": ["{{x}}"], "dir": "/"}`, "dir"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := New().Validate(hypervisor.Spec{Name: "name", DatastorePath: "/ds", Definition: []byte(test.definition)})
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not mention %q", err, test.want)
			}
		})
	}
}

func TestPlaceholders(t *testing.T) {
	spec := hypervisor.Spec{VM: uuid.Nil, Name: "web", Generation: 9, DatastorePath: "/ds"}
	got, err := decode([]byte(`{"command": ["{{name}}", "{{generation}}"], "env": {"B": "{{vm}}", "A": "x"}, "dir": "d", "output": "{{datastore}}/o"}`), spec)
	if err != nil {
		t.Fatal(err)
	}
	want := plan{
		argv: []string{"web", "9"}, env: []string{"A=x", "B=" + uuid.Nil.String()}, dir: "/ds/d", output: "/ds/o",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(plan{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"command": ["a", "{{name}}"], "env": {"A": "b"}, "dir": "x", "output": "y"}`))
	f.Add([]byte(`{"command": ["{{"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, definition []byte) {
		p, err := decode(definition, hypervisor.Spec{DatastorePath: "/ds", Name: "n"})
		if err == nil && len(p.argv) == 0 {
			t.Errorf("%q gives no command", definition)
		}
	})
}

// What the machine's own environment says outweighs the agent's, whichever of
// two equal names its program would take.
func TestEnvironmentAndOutput(t *testing.T) {
	t.Setenv("COLOUR", "agent's")
	t.Setenv(hypervisor.EnvMachine, "not this one")
	spec := hypervisortest.NewSpec(t)
	spec.Definition = define(t, Definition{
		Command: []string{"/bin/sh", "-c", `echo "$COLOUR $0 $PWD $STOREBEAT_MACHINE" > out.tmp; mv out.tmp out; echo said`, "{{name}}"},
		Env:     map[string]string{"COLOUR": "red"}, Dir: "{{datastore}}", Output: "log",
	})
	m, err := New().Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Ended(t, m, hypervisor.GuestShutDown)
	want := map[string]string{
		"out": "red web " + spec.DatastorePath + " " + spec.Marker().String() + "\n",
		"log": "said\n",
	}
	for name, text := range want {
		if got := readFile(t, spec, name); got != text {
			t.Errorf("%s holds %q, want %q", name, got, text)
		}
	}
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		ending leader.Ending
		asked  bool
		want   hypervisor.ExitKind
	}{
		"status 0":            {leader.Ending{Known: true}, false, hypervisor.GuestShutDown},
		"status 1":            {leader.Ending{Known: true, Code: 1}, true, hypervisor.Crashed},
		"SIGTERM, asked":      {leader.Ending{Known: true, Code: -1, Signal: 15}, true, hypervisor.GuestShutDown},
		"SIGTERM, not asked":  {leader.Ending{Known: true, Code: -1, Signal: 15}, false, hypervisor.Crashed},
		"SIGKILL, asked":      {leader.Ending{Known: true, Code: -1, Signal: 9}, true, hypervisor.Crashed},
		"nobody knows":        {leader.Ending{}, false, hypervisor.Crashed},
		"nobody knows, asked": {leader.Ending{}, true, hypervisor.Crashed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &machine{exit: "/nonexistent"}
			m.asked.Store(test.asked)
			if got := m.judge(test.ending); got.Kind != test.want {
				t.Errorf("judged %v, want %v", got, test.want)
			}
		})
	}
}
