package repository

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module, the first part of its packages' paths.
const module = "storebeat"

// File is one Go file, parsed.
type File struct {
	Path    string // from the root of the repository, with slashes
	Test    bool
	Syntax  *ast.File
	Imports map[string]string // the name by which the file knows a package → its path

	set *token.FileSet
}

// Dir returns the folder of the file, from the root of the repository.
func (f *File) Dir() string { return folderOf(f.Path) }

// Place returns where a node stands, in the form that editors jump to.
func (f *File) Place(n ast.Node) string {
	p := f.set.Position(n.Pos())
	return fmt.Sprintf("%s:%d", f.Path, p.Line)
}

// Root finds the root of the repository from the folder of a test.
func Root() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", fmt.Errorf("finding the repository: no go.mod above the working directory; run the test from inside the checkout")
		}
		folder = parent
	}
}

// Sources parses all Go files of the repository.
func Sources(root string) ([]*File, error) {
	var files []*File
	err := walk(root, func(path string) error {
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parse(root, path)
		files = append(files, f)
		return err
	})
	return files, err
}

// walk visits the files of the repository, leaving out what is not source.
func walk(root string, visit func(path string) error) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(filepath.ToSlash(relative), entry.Name())
		}
		return visit(filepath.ToSlash(relative))
	})
}

func skipFolder(path, name string) error {
	hidden := strings.HasPrefix(name, ".") && name != "." && name != ".ci"
	if hidden || slices.Contains([]string{"testdata", "bin", "dist"}, name) && path != "." {
		return fs.SkipDir
	}
	return nil
}

func parse(root, path string) (*File, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, filepath.Join(root, path), nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	f := &File{Path: path, Test: strings.HasSuffix(path, "_test.go"), Syntax: syntax, Imports: map[string]string{}, set: set}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("parsing %s: import %s: %w", path, spec.Path.Value, err)
		}
		f.Imports[importName(spec, imported)] = imported
	}
	return f, nil
}

// importName guesses the name of a package from its path, as people do: the
// last element that is not a version.
func importName(spec *ast.ImportSpec, path string) string {
	if spec.Name != nil && spec.Name.Name != "_" && spec.Name.Name != "." {
		return spec.Name.Name
	}
	elements := strings.Split(path, "/")
	name := elements[len(elements)-1]
	if len(elements) > 1 && len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = elements[len(elements)-2]
	}
	return name
}

// Under reports whether a folder is the given one or lies below it.
func Under(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// folderOf returns the part of a path before its last slash.
func folderOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}
