package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Mutant is one patch with its header.
type Mutant struct {
	Name       string // the name of the file, without ".patch"
	Title      string
	Rule       string
	Trace      string
	Seeds      int
	Invariants []string
	Tests      []string
	Survives   string
	Note       string
	Patch      string // the whole text: git leaves the header alone
}

// patchForm is what a file in test/mutants is called.
var patchForm = regexp.MustCompile(`^(\d\d-[a-z0-9-]+)\.patch$`)

// readMutants reads every patch of a folder, in the order of their names.
func readMutants(folder string) (all []Mutant, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the mutants: %w", err)
	}
	for _, e := range entries {
		form := patchForm.FindStringSubmatch(e.Name())
		if form == nil {
			return nil, fmt.Errorf("%s in %s is no mutant: a name is two digits, words joined by hyphens, and .patch", e.Name(), folder)
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a mutant: %w", err)
		}
		m, err := parseMutant(form[1], string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMutant reads a patch's header and checks that it says what it must.
func parseMutant(name, text string) (Mutant, error) {
	m := Mutant{Name: name, Patch: text}
	header, _, found := strings.Cut(text, "\n--- ")
	if !found {
		return m, fmt.Errorf("there is no diff in it: a line that begins with \"--- \"")
	}
	keys := map[string]string{}
	last := ""
	for line := range strings.Lines(header + "\n") {
		key, value, colon := strings.Cut(line, ":")
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, " ") && last != "":
			keys[last] += " " + strings.TrimSpace(line)
		case !colon || !slices.Contains(headerKeys, key):
			return m, fmt.Errorf("header line %q does not begin with one of %s", strings.TrimSpace(line), strings.Join(headerKeys, ", "))
		default:
			keys[key], last = strings.TrimSpace(value), key
		}
	}
	return m, m.fill(keys)
}

var headerKeys = []string{"Title", "Rule", "Trace", "Seeds", "Invariant", "Tests", "Survives", "Note"}

func (m *Mutant) fill(keys map[string]string) error {
	m.Title, m.Rule, m.Trace, m.Survives, m.Note = keys["Title"], keys["Rule"], keys["Trace"], keys["Survives"], keys["Note"]
	m.Invariants, m.Tests = strings.Fields(keys["Invariant"]), strings.Fields(keys["Tests"])
	if s := keys["Seeds"]; s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fmt.Errorf("header Seeds is %q: give a number of schedules", s)
		}
		m.Seeds = n
	}
	verdict, _, _ := strings.Cut(m.Survives, ":")
	switch {
	case m.Title == "" || m.Rule == "":
		return fmt.Errorf("it must have a Title and a Rule")
	case m.Seeds == 0 && len(m.Tests) == 0:
		return fmt.Errorf("it must say where it is caught: Seeds, Tests or both")
	case strings.Contains(keys["Invariant"]+keys["Tests"], ","):
		return fmt.Errorf("headers Invariant %q and Tests %q: separate names by spaces", keys["Invariant"], keys["Tests"])
	case m.Survives != "" && verdict != "needless" && verdict != "hole":
		return fmt.Errorf("header Survives is %q: begin with \"needless:\" or \"hole:\"", m.Survives)
	case m.Survives == "" && m.Seeds > 0 && len(m.Invariants) == 0:
		return fmt.Errorf("it must name the Invariant by which schedules catch it")
	case m.Seeds == 0 && m.Note == "" && m.Survives == "":
		return fmt.Errorf("it must say in a Note why random schedules do not catch it")
	}
	return nil
}

// changed is the form of the line that names a file which a patch changes.
var changed = regexp.MustCompile(`(?m)^\+\+\+ b/(\S+)$`)

// folders returns the folders that the mutant changes something in.
func (m *Mutant) folders() (folders []string) {
	for _, match := range changed.FindAllStringSubmatch(m.Patch, -1) {
		if folder := "./" + filepath.ToSlash(filepath.Dir(match[1])); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders
}
