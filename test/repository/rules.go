package repository

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// layers says for a folder, and all below it, what must never be imported. The
// table is the one of docs/architecture.md.
var layers = []struct {
	folder string
	never  []string
}{
	{"datastorehb", []string{"partition", "poweron", "agent", "cmd", "test", "scripts"}},
	{"partition", []string{"poweron", "agent", "cmd", "test", "scripts"}},
	{"poweron", []string{"agent", "cmd", "test", "scripts"}},
	{"agent", []string{"cmd", "test", "scripts"}},
	{"scripts", []string{"cmd"}},
	// The guard touches no storage and must come up when nothing else does.
	{"agent/guard", []string{"datastorehb/store", "agent/journal", "agent/network", "agent/peer", "agent/config"}},
	{"agent/freeze", []string{"datastorehb/store", "agent/journal", "agent/network", "agent/peer", "agent/config"}},
}

// Layering lists the imports that break the table. Tests of a folder obey it,
// too, except that they may use what stands under test.
func Layering(files []*File) (broken []string) {
	for _, f := range files {
		for _, path := range f.Imports {
			inside, ok := strings.CutPrefix(path, module+"/")
			if !ok || f.Test && Under(inside, "test") {
				continue
			}
			for _, layer := range layers {
				for _, never := range layer.never {
					if Under(f.Dir(), layer.folder) && Under(inside, never) && !Under(inside, layer.folder) {
						broken = append(broken, fmt.Sprintf("%s imports %s: nothing in %s may know %s", f.Path, inside, layer.folder, never))
					}
				}
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// shipped is the part of folder test that the program contains: "storebeat simulate" plays
// scenarios with the simulator of the tests.
const shipped = "test/sim"

// Shipped lists what would bring more of the tests than that into the program, or
// package testing, whose flags would become the program's.
func Shipped(files []*File) (broken []string) {
	for _, f := range files {
		if f.Test {
			continue
		}
		for _, path := range f.Imports {
			inside := strings.TrimPrefix(path, module+"/")
			if Under(f.Dir(), "cmd") && Under(inside, "test") && !Under(inside, shipped) {
				broken = append(broken, fmt.Sprintf("%s imports %s: of the tests, the program contains only %s", f.Path, inside, shipped))
			}
			if Under(f.Dir(), shipped) && Under(path, "testing") {
				broken = append(broken, fmt.Sprintf("%s imports %s: the program contains %s, and needs no testing", f.Path, path, shipped))
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// Pure reports whether the package in a folder belongs to the pure core.
func Pure(folder string) bool {
	return folder == "datastorehb" || Under(folder, "partition") || Under(folder, "poweron") || Under(folder, "agent/core")
}

// impureImports reach clocks, randomness, files, sockets or goroutines.
var impureImports = []string{
	"os", "io/fs", "io/ioutil", "net", "syscall", "plugin", "runtime", "testing",
	"log", "math/rand", "crypto/rand", "context", "sync", "embed", "path/filepath",
	"golang.org/x/sys", "golang.org/x/sync", "golang.org/x/net", "github.com/hashicorp/go-hclog",
	"github.com/dgraph-io", "github.com/fsnotify", "github.com/pkg/xattr", "github.com/google/renameio", "github.com/prometheus-community/pro-bing",
}

// pureExceptions stand below an impure import and are pure all the same.
var pureExceptions = []string{"net/netip"}

// impureCalls are functions of packages that are pure otherwise.
var impureCalls = map[string][]string{
	"time":                   {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"fmt":                    {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"github.com/google/uuid": {"New", "NewString", "NewRandom", "NewRandomFromReader", "NewUUID", "NewV6", "NewV7", "NewDCEGroup", "NewDCEPerson", "NewDCESecurity"},
}

// Impurities lists what a pure package does that it must not.
func Impurities(files []*File) (broken []string) {
	for _, f := range files {
		if f.Test || !Pure(f.Dir()) {
			continue
		}
		for _, path := range f.Imports {
			if impure(path) {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s is pure, so let the shell do it and pass the result in", f.Path, path, f.Dir()))
			}
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if what := impurity(f, n); what != "" {
				broken = append(broken, fmt.Sprintf("%s: %s: %s is pure, so let the shell do it and pass the result in", f.Place(n), what, f.Dir()))
			}
			return true
		})
	}
	slices.Sort(broken)
	return broken
}

func impure(path string) bool {
	if slices.Contains(pureExceptions, path) {
		return false
	}
	return slices.ContainsFunc(impureImports, func(p string) bool { return Under(path, p) })
}

// impurity names what is impure about one node of the syntax, or returns "".
func impurity(f *File, n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "starts a goroutine"
	case *ast.SelectStmt:
		return "selects on channels"
	case *ast.ChanType:
		return "uses a channel"
	case *ast.SelectorExpr:
		if path, name := f.selected(n); slices.Contains(impureCalls[path], name) {
			return "uses " + path + "." + name
		}
	}
	return ""
}

// selected returns the package and the name of an expression such as time.Now.
func (f *File) selected(s *ast.SelectorExpr) (path, name string) {
	if id, ok := s.X.(*ast.Ident); ok {
		return f.Imports[id.Name], s.Sel.Name
	}
	return "", ""
}

// Sleeps lists the tests that wait by sleeping. In a bubble of virtual time that
// is right, and so it is between two looks at a condition, in a loop; elsewhere
// it makes tests slow and then, on a slow machine, wrong.
func Sleeps(files []*File) (broken []string) {
	for _, f := range files {
		if f.Test && f.Imports["synctest"] != "testing/synctest" {
			for _, d := range f.Syntax.Decls {
				if function, ok := d.(*ast.FuncDecl); ok && f.takesTest(function) {
					broken = append(broken, f.sleeps(function)...)
				}
			}
		}
	}
	return broken
}

// takesTest reports whether a function is a test or helps one. What takes no
// test, such as the body of a child process, does not wait for a condition.
func (f *File) takesTest(function *ast.FuncDecl) bool {
	found := false
	ast.Inspect(function.Type.Params, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			path, _ := f.selected(s)
			found = found || path == "testing"
		}
		return true
	})
	return found
}

func (f *File) sleeps(within ast.Node) (broken []string) {
	ast.Inspect(within, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt:
			return false // range loops have no condition, so these are looked into
		case *ast.FuncLit:
			return !isCondition(n) // its caller polls it
		case *ast.SelectorExpr:
			if path, name := f.selected(n); path == "time" && name == "Sleep" {
				broken = append(broken, f.Place(n)+": sleeps to wait; poll for the condition, with a generous limit")
			}
		}
		return true
	})
	return broken
}

// isCondition reports whether a function can only be meant to be asked again and
// again: it takes nothing and says yes or no.
func isCondition(f *ast.FuncLit) bool {
	results := f.Type.Results
	return f.Type.Params.NumFields() == 0 && results.NumFields() == 1 && isNamed(results.List[0].Type, "bool")
}

// Uncommented lists the packages without a package comment, and comments that
// do not begin as godoc expects.
func Uncommented(files []*File) (broken []string) {
	commented := map[string]bool{}
	for _, f := range files {
		if f.Test {
			continue
		}
		commented[f.Dir()] = commented[f.Dir()] || f.Syntax.Doc != nil
		if f.Syntax.Doc == nil {
			continue
		}
		begin := "Package " + f.Syntax.Name.Name + " "
		if f.Syntax.Name.Name == "main" {
			begin = "Command "
		}
		if !strings.HasPrefix(f.Syntax.Doc.Text(), begin) {
			broken = append(broken, fmt.Sprintf("%s: the package comment does not begin with %q", f.Path, begin))
		}
	}
	for folder, ok := range commented {
		if !ok {
			broken = append(broken, folder+": no package comment; write one in doc.go with guarantees, non-guarantees and duties")
		}
	}
	slices.Sort(broken)
	return broken
}

// emptyNames say nothing about what a package holds.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "base", "lib"}

// EmptyNames lists packages and folders whose name says nothing.
func EmptyNames(files []*File) (broken []string) {
	for _, f := range files {
		names := append(strings.Split(f.Dir(), "/"), strings.TrimSuffix(f.Syntax.Name.Name, "_test"))
		for _, name := range names {
			if slices.Contains(emptyNames, name) {
				broken = append(broken, fmt.Sprintf("%s: the name %q says nothing; name the package after the thing it holds", f.Path, name))
				break
			}
		}
	}
	return broken
}
