package repository

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"strings"
)

// SeedlessFuzzTargets lists the fuzz targets that have no seed: neither one that
// they add themselves or let a function add, nor one in testdata.
func SeedlessFuzzTargets(root string, files []*File) (broken []string) {
	for _, f := range files {
		for _, declaration := range f.Syntax.Decls {
			target, ok := declaration.(*ast.FuncDecl)
			if !ok || !f.Test || target.Recv != nil || !strings.HasPrefix(target.Name.Name, "Fuzz") {
				continue
			}
			folder := filepath.Join(f.Dir(), "testdata", "fuzz", target.Name.Name)
			if seeds, _ := os.ReadDir(filepath.Join(root, folder)); len(seeds) == 0 && !addsSeeds(target) {
				broken = append(broken, fmt.Sprintf("%s: %s has no seeds: call f.Add, or commit some in %s", f.Place(target), target.Name.Name, folder))
			}
		}
	}
	return broken
}

// addsSeeds reports whether a target calls Add on its parameter, or hands the
// parameter to another function.
func addsSeeds(target *ast.FuncDecl) bool {
	parameters := target.Type.Params.List
	if len(parameters) != 1 || len(parameters[0].Names) != 1 {
		return true // no fuzz target after all
	}
	f, found := parameters[0].Names[0].Name, false
	ast.Inspect(target.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Add" {
			found = found || isNamed(s.X, f)
		}
		for _, argument := range call.Args {
			found = found || isNamed(argument, f)
		}
		return true
	})
	return found
}

func isNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
