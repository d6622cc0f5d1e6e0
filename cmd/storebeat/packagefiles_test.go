package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"storebeat/agent/config"
)

// scripts/deb calls TestPackageFiles with this flag for what the package has
// besides the program. It is made here because the program itself has no use for
// the libraries that make it.
var packageFiles = flag.String("package-files", "", "make the package's manual pages, completions and example configuration in this folder, and keep them")

// TestPackageFiles makes what a package takes from the commands, and lets the
// programs that are to read it judge it.
func TestPackageFiles(t *testing.T) {
	t.Setenv(configVariable, "")
	folder := *packageFiles
	if folder == "" {
		folder = t.TempDir()
	}
	root := newRoot(&app{})
	writeManualPages(t, root, filepath.Join(folder, "usr/share/man/man8"))
	writeCompletions(t, root, filepath.Join(folder, "usr/share"))
	writeExample(t, filepath.Join(folder, "etc/storebeat/storebeat.hcl.example"))
}

func writeManualPages(t *testing.T, root *cobra.Command, folder string) {
	must(t, os.MkdirAll(folder, 0o755))
	root.Long += "\n\n# EXIT STATUS\n\n```\n" + exitCodes + "```\n"
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var plain func(c *cobra.Command)
	plain = func(c *cobra.Command) {
		c.Long = preformatted(c.Long)
		for _, sub := range c.Commands() {
			plain(sub)
		}
	}
	plain(root)
	made := sourceDate(t)
	must(t, doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "Storebeat " + programVersion(), Manual: "Storebeat", Date: &made}, folder))
	pages, err := filepath.Glob(filepath.Join(folder, "*.8"))
	must(t, err)
	for _, command := range []string{"storebeat", "storebeat-agent", "storebeat-guard", "storebeat-vm-protect", "storebeat-datastore-init"} {
		if !slices.Contains(pages, filepath.Join(folder, command+".8")) {
			t.Errorf("there is no manual page of %s", command)
		}
	}
	if *packageFiles == "" {
		judgeManualPages(t, pages)
	}
}

// preformatted keeps paragraphs that are laid out with spaces as they are, which
// would be run together otherwise.
func preformatted(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if strings.Contains(p, ":   ") && !strings.Contains(p, "```") {
			paragraphs[i] = "```\n" + p + "\n```"
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// sourceDate is when the source was last changed, as far as the build says so:
// the same source gives the same pages.
func sourceDate(t *testing.T) time.Time {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC()
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	must(t, err)
	return time.Unix(seconds, 0).UTC()
}

// judgeManualPages has man read every page, at a width at which nothing breaks.
func judgeManualPages(t *testing.T, pages []string) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Log("not judged by man, which is not installed")
		return
	}
	for _, page := range pages {
		var out, warnings bytes.Buffer
		command := exec.Command("man", "--warnings=all", "--local-file", page)
		command.Env = append(os.Environ(), "MANWIDTH=120", "LC_ALL=C.UTF-8", "MANROFFSEQ=")
		command.Stdout, command.Stderr = &out, &warnings
		if err := command.Run(); err != nil || warnings.Len() > 0 || !strings.Contains(out.String(), "NAME") {
			t.Errorf("man %s: %v\n%s", page, err, warnings.String())
		}
	}
}

func writeCompletions(t *testing.T, root *cobra.Command, share string) {
	for _, shell := range []struct {
		name, file string
		write      func(file string) error
	}{
		{"bash", "bash-completion/completions/storebeat", func(f string) error { return root.GenBashCompletionFileV2(f, true) }},
		{"zsh", "zsh/vendor-completions/_storebeat", root.GenZshCompletionFile},
		{"fish", "fish/vendor_completions.d/storebeat.fish", func(f string) error { return root.GenFishCompletionFile(f, true) }},
	} {
		file := filepath.Join(share, shell.file)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, shell.write(file))
		if _, err := exec.LookPath(shell.name); err != nil {
			t.Logf("not judged by %s, which is not installed", shell.name)
			continue
		}
		if out, err := exec.Command(shell.name, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s -n %s: %v\n%s", shell.name, file, err, out)
		}
	}
}

// The example carries no identity, since two clusters of the same identity would
// take each other's hosts for their own.
const noIdentity = "00000000-0000-0000-0000-000000000000"

// writeExample writes the configuration that a package shows, which is refused
// as it stands and accepted once it has been given identities.
func writeExample(t *testing.T, file string) {
	cluster, datastore := "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
	edited := config.Generate(config.Draft{UUID: uuid.MustParse(cluster),
		Datastores: []config.Datastore{{Name: "first", Path: "/mnt/first", UUID: uuid.MustParse(datastore)}}})
	if _, diags := config.Parse(file, edited); len(diags) > 0 {
		t.Errorf("the example is refused once it is edited:\n%s", config.Describe(diags))
	}
	example := []byte("# An example. \"storebeat init\" writes one with identities of its own, and the cluster key.\n#\n" +
		strings.NewReplacer(cluster, noIdentity, datastore, noIdentity).Replace(string(edited)))
	if cfg, _ := config.Parse(file, example); cfg != nil {
		t.Error("the example is accepted as it stands")
	}
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, example, 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
