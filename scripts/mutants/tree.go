package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// simulator is the package whose tests judge a mutant.
const simulator = "./test/sim"

// tree is a temporary copy of what the simulator is built from.
type tree struct{ folder string }

// sources lists the folders, from the root of the repository, that the
// simulator and its tests are built from.
func sources(ctx context.Context, root string) (folders []string, err error) {
	const own = `{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}`
	out, err := command(ctx, root, "go", "list", "-deps", "-test", "-f", own, simulator)
	if err != nil {
		return nil, fmt.Errorf("listing what the simulator is built from: %w", err)
	}
	seen := map[string]bool{}
	for _, folder := range strings.Fields(out) {
		folder, err := filepath.Rel(root, folder)
		if err != nil {
			return nil, fmt.Errorf("listing what the simulator is built from: %w", err)
		}
		if !seen[folder] {
			folders = append(folders, folder)
		}
		seen[folder] = true
	}
	return folders, nil
}

// newTree copies the files of the folders, and their test data, to a temporary place.
func newTree(root string, folders []string) (t tree, err error) {
	folder, err := os.MkdirTemp("", "storebeat-mutant-")
	if err != nil {
		return tree{}, fmt.Errorf("making a place for a copy: %w", err)
	}
	t = tree{folder}
	for _, f := range folders {
		err = errors.Join(err, t.copyFiles(root, f), t.copyAll(root, filepath.Join(f, "testdata")))
	}
	err = errors.Join(err, t.copyAll(root, "test/scenarios"), t.copyFile(root, "go.mod"), t.copyFile(root, "go.sum"))
	if err != nil {
		t.remove()
		return tree{}, fmt.Errorf("copying the tree: %w", err)
	}
	return t, nil
}

func (t tree) remove() { _ = os.RemoveAll(t.folder) }

// copyFiles copies the files that lie in a folder, and none of those below it.
func (t tree) copyFiles(root, folder string) error {
	entries, err := os.ReadDir(filepath.Join(root, folder))
	for _, e := range entries {
		if e.Type().IsRegular() {
			err = errors.Join(err, t.copyFile(root, filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// copyAll copies a folder with everything below it, if it is there.
func (t tree) copyAll(root, folder string) error {
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		return errors.Join(err, t.copyFile(root, name))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (t tree) copyFile(root, name string) error {
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return err
	}
	to := filepath.Join(t.folder, name)
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, content, 0o600))
}

// apply applies a patch. A hunk whose context is not there is an error.
func (t tree) apply(ctx context.Context, patch string) error {
	file := filepath.Join(t.folder, "mutant.patch")
	if err := os.WriteFile(file, []byte(patch), 0o600); err != nil {
		return fmt.Errorf("writing the patch: %w", err)
	}
	if _, err := command(ctx, t.folder, "git", "apply", file); err != nil {
		return fmt.Errorf("the patch does not apply; make it anew against the present source: %w", err)
	}
	return nil
}

// build builds the simulator's tests.
func (t tree) build(ctx context.Context) error {
	if _, err := command(ctx, t.folder, "go", "test", "-trimpath", "-c", "-o", t.binary(), simulator); err != nil {
		return fmt.Errorf("the mutant does not compile: %w", err)
	}
	return nil
}

func (t tree) binary() string { return filepath.Join(t.folder, "sim.test") }

// command runs a program in a folder and returns what it prints. In an error
// stands what it said.
func command(ctx context.Context, folder, name string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, name, arguments...)
	c.Dir = folder
	// A copy may lie within somebody's repository, which is none of git's business here.
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_CEILING_DIRECTORIES="+filepath.Dir(folder))
	var complaint strings.Builder
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}
