package repository_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(folder, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestEveryMakeTargetSaysWhatItDoes(t *testing.T) {
	makefile := read(t, "Makefile")
	rule := regexp.MustCompile(`(?m)^([a-z][a-z-]*):([^=].*|)$`)
	phony := strings.Fields(regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(makefile)[1])
	targets := map[string]bool{}
	for _, match := range rule.FindAllStringSubmatch(makefile, -1) {
		targets[match[1]] = true
		if !strings.Contains(match[2], "## ") {
			t.Errorf("target %s has no description; write one after ##", match[1])
		}
	}
	for _, target := range phony {
		if !targets[target] {
			t.Errorf(".PHONY names %s, which is no target", target)
		}
		delete(targets, target)
	}
	for target := range targets {
		t.Errorf("target %s is not in .PHONY", target)
	}
}

func TestMakeHelpListsTheTargets(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("make", "--no-print-directory", "help")
	command.Dir = folder
	command.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, target := range []string{"build", "demo", "test", "check", "race", "fuzz", "bench", "clean", "install-dependencies"} {
		if !regexp.MustCompile(`(?m)^  ` + target + ` +\S`).Match(out) {
			t.Errorf("make help does not describe %s:\n%s", target, out)
		}
	}
}

// scripts lists all shell scripts that are run for themselves.
func scripts(t *testing.T, folder string) []string {
	t.Helper()
	scripts := []string{".ci/run"}
	for _, dir := range []string{"scripts", "scripts/fault"} {
		entries, err := os.ReadDir(filepath.Join(folder, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && filepath.Ext(e.Name()) == "" {
				scripts = append(scripts, filepath.Join(dir, e.Name()))
			}
		}
	}
	return scripts
}

// Nothing in a shell script means something else than it looks like.
func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed")
	}
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("shellcheck", append(scripts(t, folder), "packaging/debian/postinst", "packaging/debian/postrm", "packaging/debian/prerm")...)
	command.Dir = folder
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Scripts stop at the first error, can be run, and parse.
func TestScripts(t *testing.T) {
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts(t, folder) {
		content := read(t, script)
		if !strings.HasPrefix(content, "#!/bin/bash\n") || !strings.Contains(content, "\nset -euo pipefail\n") {
			t.Errorf("%s does not begin with #!/bin/bash and set -euo pipefail", script)
		}
		if info, err := os.Stat(filepath.Join(folder, script)); err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%s can not be run (mode %v, error %v)", script, info.Mode(), err)
		}
		if out, err := exec.Command("bash", "-n", filepath.Join(folder, script)).CombinedOutput(); err != nil {
			t.Errorf("%s does not parse: %v\n%s", script, err, out)
		}
	}
}

// Continuous integration runs what README.md tells people to run.
func TestContinuousIntegrationRunsTheTestCommand(t *testing.T) {
	run := read(t, ".ci/run")
	for _, want := range []string{"\nmake check\n", "\nmake test ", "-race"} {
		if !strings.Contains(run, want) {
			t.Errorf(".ci/run does not contain %q", want)
		}
	}
	folder, _ := root()
	if _, err := os.Stat(filepath.Join(folder, "README.md")); err != nil {
		return
	}
	readme := read(t, "README.md")
	for _, want := range []string{"make demo", "make test"} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.md does not mention %q", want)
		}
	}
}

func TestLicense(t *testing.T) {
	license := read(t, "LICENSE")
	for _, want := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !strings.Contains(license, want) {
			t.Errorf("LICENSE does not contain %q", want)
		}
	}
}
