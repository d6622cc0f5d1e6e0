package core_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/go/packages"

	"storebeat/agent/core"
	"storebeat/partition"
)

var update = flag.Bool("update", false, "rewrite docs/events.md")

const page = "../../docs/events.md"

// Whoever journals a kind, or looks for one, finds it in the table.
func TestEveryKindIsInTheTable(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedExportFile | packages.NeedFiles | packages.NeedCompiledGoFiles},
		"storebeat/agent/...", "storebeat/cmd/...", "storebeat/test/...")
	if err != nil {
		t.Fatal(err)
	}
	if packages.PrintErrors(loaded) > 0 {
		t.Fatal("the program does not build")
	}
	found := 0
	for _, p := range loaded {
		for e, value := range p.TypesInfo.Types {
			if value.Type == nil || value.Type.String() != "storebeat/agent/core.Kind" {
				continue
			}
			place := p.Fset.Position(e.Pos())
			call, converts := e.(*ast.CallExpr)
			switch {
			case value.Value != nil:
				found++
				k := core.Kind(constant.StringVal(value.Value))
				if _, ok := core.AboutKind(k); !ok && k != "" {
					t.Errorf("%s: kind %q has no row in the table of agent/core/kinds.go: say what it means and what to do", place, k)
				}
			case converts && p.PkgPath == "storebeat/agent/core" && p.TypesInfo.Types[call.Fun].IsType() && filepath.Base(place.Filename) != "kinds.go":
				t.Errorf("%s: a kind is put together here; do it in kinds.go, where the test below can hold it against the table", place)
			}
		}
	}
	if found < len(core.Kinds())/2 {
		t.Fatalf("only %d kinds were found in the code: this test does not see them any more", found)
	}
}

// The kinds that are put together from other names are in the table, too.
func TestEveryComposedKindIsInTheTable(t *testing.T) {
	var composed []string
	for s := partition.Undetermined; s <= partition.Dead; s++ {
		composed = append(composed, "host-"+s.String())
	}
	for _, v := range []core.Verb{core.Protect, core.Unprotect, core.Start, core.Stop} {
		composed = append(composed, "user-"+string(v))
	}
	for _, k := range composed {
		if _, ok := core.AboutKind(core.Kind(k)); !ok {
			t.Errorf("kind %q has no row in the table of kinds.go", k)
		}
	}
}

func TestTheTableIsWhole(t *testing.T) {
	seen := map[core.Kind]bool{}
	for _, a := range core.Kinds() {
		if seen[a.Kind] {
			t.Errorf("%s stands in the table twice", a.Kind)
		}
		seen[a.Kind] = true
		if !a.Severity.AtLeast(core.Info) || !strings.HasSuffix(a.Meaning, ".") || a.Remedy != "" && !strings.HasSuffix(a.Remedy, ".") {
			t.Errorf("%s: severity %q, meaning %q, remedy %q: a severity that exists, and whole sentences, are wanted", a.Kind, a.Severity, a.Meaning, a.Remedy)
		}
		if a.Severity == core.Error && a.Remedy == "" {
			t.Errorf("%s is an error, and nobody is told what to do", a.Kind)
		}
	}
}

func TestSeveritiesAreOrdered(t *testing.T) {
	for i, s := range core.Severities {
		for j, other := range core.Severities {
			if s.AtLeast(other) != (i >= j) {
				t.Errorf("%s at least %s: %t", s, other, s.AtLeast(other))
			}
		}
	}
	if core.Severity("bogus").AtLeast(core.Info) {
		t.Error("what is no severity is at least info")
	}
}

// TestPage keeps docs/events.md in step with the table.
func TestPage(t *testing.T) {
	want := writePage()
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/events.md is out of step (-table +page): run go test ./agent/core -run TestPage -update\n%s", diff)
	}
}

const pageHead = `# Events

Everything that happens to hosts, datastores and machines, and everything that is decided about them, is an event
in the journal of the host where it arose: ` + "`storebeat events`" + ` shows them, ` + "`storebeat explain`" + ` puts them together,
and [operations.md](operations.md#watch-it) says how to be told of them. This page is generated from the
table in the code (` + "`go test ./agent/core -run TestPage -update`" + `);
` + "`storebeat explain event KIND`" + ` shows the same.

A kind keeps its name from version to version. Each has one severity:

| severity | means | in the log |
| --- | --- | --- |
| ` + "`info`" + ` | the ordinary course of things | info |
| ` + "`notice`" + ` | a change that is as it should be | info |
| ` + "`warning`" + ` | out of order, and being dealt with or not hurting yet | warn |
| ` + "`error`" + ` | something was lost, or stays lost until somebody acts | error |

Most events are recorded by one host alone. Those marked *shared* may be recorded by several for one incident: each
host that judges another, or takes part in an election. A notification of a shared event comes from the master only.
`

func writePage() []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	for _, chapter := range core.Chapters() {
		fmt.Fprintf(&b, "\n## %s\n\n| kind | severity | meaning | what to do |\n| --- | --- | --- | --- |\n", chapter.Title)
		for _, a := range chapter.Kinds {
			shared := ""
			if a.Shared {
				shared = ", *shared*"
			}
			remedy := a.Remedy
			if remedy == "" {
				remedy = "–"
			}
			fmt.Fprintf(&b, "| `%s` | %s%s | %s | %s |\n", a.Kind, a.Severity, shared, a.Meaning, remedy)
		}
	}
	return b.Bytes()
}
