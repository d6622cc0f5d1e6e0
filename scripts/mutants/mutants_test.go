package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = `Title: a claim is believed
  though it is late
Rule: R2
Seeds: 300
Invariant: R3 I1
Tests: TestOne TestTwo/sub

--- a/agent/core/claim.go
+++ b/agent/core/claim.go
@@ -1 +1 @@
-a
+b
--- a/datastorehb/watch.go
+++ b/datastorehb/watch.go
@@ -1 +1 @@
-a
+b
`

func TestParseMutant(t *testing.T) {
	m, err := parseMutant("01-late", example)
	if err != nil {
		t.Fatal(err)
	}
	want := Mutant{Name: "01-late", Title: "a claim is believed though it is late", Rule: "R2", Seeds: 300,
		Invariants: []string{"R3", "I1"}, Tests: []string{"TestOne", "TestTwo/sub"}, Patch: example}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"./agent/core", "./datastorehb"}, m.folders()); diff != "" {
		t.Error(diff)
	}
}

func TestBadHeadersAreRefused(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"Title:", "Titel:", "Titel"},
		{"Rule: R2\n", "", "Title and a Rule"},
		{"Seeds: 300", "Seeds: many", "many"},
		{"Invariant: R3 I1\n", "", "Invariant"},
		{"Seeds: 300\n", "", "Note why"},
		{"Rule: R2", "Rule: R2\nSurvives: perhaps", "perhaps"},
		{"TestOne TestTwo", "TestOne, TestTwo", "spaces"},
		{"\n--- a", "\n-- a", "no diff"},
	} {
		_, err := parseMutant("01-late", strings.ReplaceAll(example, test.from, test.to))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q in place of %q: %v", test.to, test.from, err)
		}
	}
}

func TestFirstObjection(t *testing.T) {
	const out = "=== RUN   TestRandomSchedules\n" +
		"    chaos_test.go:57: seed 12:    46.692753 R7: host 1 closes term 2\n\tanother\n" +
		"    chaos_test.go:57: seed 14: rest: not at rest\n"
	got, _ := firstObjection(strings.NewReader(out))
	want := &Found{Seed: 12, Invariant: "R7", Violation: "46.692753 R7: host 1 closes term 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, tail := firstObjection(strings.NewReader("--- PASS\nPASS\n")); got != nil || tail != "--- PASS\nPASS" {
		t.Errorf("%+v, %q", got, tail)
	}
	for violation, want := range map[string]string{"I6: 3 × election at rest": "I6", "rest: it did not last": "rest", "headway: h1": "headway", "no name": "rest"} {
		if got := invariantOf(violation); got != want {
			t.Errorf("%q is of %s, want %s", violation, got, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	base := Mutant{Seeds: 10, Invariants: []string{"R7"}, Tests: []string{"TestOne"}}
	survivor := Mutant{Seeds: 10, Survives: "needless: because"}
	found := &Found{Seed: 3, Invariant: "R7"}
	for _, test := range []struct {
		name    string
		mutant  Mutant
		found   *Found
		failing []string
		want    string
	}{
		{"caught", base, found, []string{"TestOne"}, ""},
		{"survives the schedules", base, nil, []string{"TestOne"}, "survives"},
		{"survives the test", base, found, nil, "TestOne passes"},
		{"caught by another", base, &Found{Seed: 3, Invariant: "I6"}, []string{"TestOne"}, "I6"},
		{"survives as it should", survivor, nil, nil, ""},
		{"is caught and should not", survivor, found, nil, "said to survive"},
	} {
		v := Verdict{Mutant: test.mutant, Found: test.found, Failing: test.failing}
		err := v.compare()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestMarkdown(t *testing.T) {
	got := markdown([]Verdict{
		{Name: "01-a", Title: "does a", Rule: "R1", Found: &Found{Seed: 7, Invariant: "I1"}, Failing: []string{"TestA", "TestB"}},
		{Name: "02-b", Title: "does b", Rule: "R2", Mutant: Mutant{Survives: "needless: c"}},
	})
	want := "| mutant | what it does | rule | seed | invariant | directed tests |\n| --- | --- | --- | --- | --- | --- |\n" +
		"| `01-a` | does a | R1 | 7 | I1 | TestA<br>TestB |\n| `02-b` | does b | R2 | survives | needless | – |\n\n- `02-b`: needless: c\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEveryMutantAppliesAndCompiles keeps the patches in step with the source. That each is
// caught shows "make mutants", which takes minutes. What a patch changes is checked as
// the compiler does, and not compiled, to be quick.
func TestEveryMutantAppliesAndCompiles(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root, err := findRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := readMutants(filepath.Join(root, "test/mutants"))
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 18 {
		t.Errorf("there are %d mutants, and should be 18 at least", len(mutants))
	}
	c := newChecker(t, root)
	for _, m := range mutants {
		if err := c.mutant(m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// checker checks the types of mutated packages against their imports as they are.
type checker struct {
	t       *testing.T
	root    string
	files   *token.FileSet
	imports types.Importer
}

func newChecker(t *testing.T, root string) *checker {
	list, err := command(t.Context(), root, "go", "list", "-trimpath", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", simulator)
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(list) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	files := token.NewFileSet()
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	return &checker{t, root, files, importer.ForCompiler(files, "gc", open)}
}

// mutant applies a mutant to a copy of the folders that it changes and checks them.
func (c *checker) mutant(m Mutant) error {
	copied, err := newTree(c.root, m.folders())
	if err != nil {
		return err
	}
	defer copied.remove()
	if err := copied.apply(c.t.Context(), m.Patch); err != nil {
		return err
	}
	for _, folder := range m.folders() {
		if err := c.folder(filepath.Join(copied.folder, folder), "storebeat/"+filepath.Clean(folder)); err != nil {
			return fmt.Errorf("the mutant does not compile: %w", err)
		}
	}
	return nil
}

func (c *checker) folder(folder, path string) error {
	p, err := build.ImportDir(folder, 0)
	if err != nil {
		return err
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(c.files, filepath.Join(folder, name), nil, 0)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	_, err = (&types.Config{Importer: c.imports}).Check(path, c.files, files, nil)
	return err
}
