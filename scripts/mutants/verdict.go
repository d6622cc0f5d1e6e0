package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Verdict is what became of one mutant.
type Verdict struct {
	Mutant  Mutant `json:"-"`
	Name    string
	Title   string
	Rule    string
	Found   *Found   `json:",omitempty"` // by random schedules
	Failing []string `json:",omitempty"` // directed tests that fail, as they should
	Wrong   string   `json:",omitempty"` // why the mutant is not what its patch says
}

// judge applies a mutant to a copy of the tree and looks whether it is caught.
func (r *runner) judge(ctx context.Context, m Mutant) Verdict {
	v := Verdict{Mutant: m, Name: m.Name, Title: m.Title, Rule: m.Rule}
	if err := r.try(ctx, &v); err != nil {
		v.Wrong = err.Error()
	}
	return v
}

func (r *runner) try(ctx context.Context, v *Verdict) error {
	t, err := newTree(r.root, r.folders)
	if err != nil {
		return err
	}
	defer t.remove()
	m := v.Mutant
	if err := t.apply(ctx, m.Patch); err != nil {
		return err
	}
	if err := t.build(ctx); err != nil {
		return err
	}
	progress := func(what string) { r.progress("%s: %s", m.Name, what) }
	if m.Seeds > 0 {
		if v.Found, err = t.search(ctx, r.limited(m.Seeds), progress); err != nil {
			return err
		}
	}
	for _, test := range m.Tests {
		ok, err := t.passes(ctx, test)
		if err != nil {
			return err
		}
		if !ok {
			v.Failing = append(v.Failing, test)
		}
	}
	return v.compare()
}

// compare holds what was found against what the patch says.
func (v *Verdict) compare() error {
	m := v.Mutant
	if m.Survives != "" {
		if v.Found != nil || len(v.Failing) > 0 {
			return fmt.Errorf("it is said to survive, and is caught: say where in its header")
		}
		return nil
	}
	if m.Seeds > 0 && v.Found == nil {
		return fmt.Errorf("it survives the random schedules: the simulator has a hole, or the rule is needless")
	}
	if m.Seeds > 0 && !slices.Contains(m.Invariants, v.Found.Invariant) {
		return fmt.Errorf("it is caught by %s, and not by %s as its header says: %s", v.Found.Invariant, strings.Join(m.Invariants, ", "), v.Found.Violation)
	}
	for _, test := range m.Tests {
		if !slices.Contains(v.Failing, test) {
			return fmt.Errorf("%s passes with it, and should not", test)
		}
	}
	return nil
}

// limited is a number of schedules, or the limit that the user has set.
func (r *runner) limited(seeds int) int {
	if r.limit > 0 {
		return r.limit
	}
	return seeds
}

// sound looks whether the tree as it is passes everything that is run on mutants.
func (r *runner) sound(ctx context.Context, mutants []Mutant) error {
	t, err := newTree(r.root, r.folders)
	if err != nil {
		return err
	}
	defer t.remove()
	if err := t.build(ctx); err != nil {
		return err
	}
	seeds, tests := 0, []string{}
	for _, m := range mutants {
		seeds = max(seeds, min(m.Seeds, r.limited(m.Seeds)))
		tests = append(tests, m.Tests...)
	}
	slices.Sort(tests)
	found, err := t.search(ctx, seeds, func(what string) { r.progress("no mutation: %s", what) })
	if err != nil {
		return err
	}
	if found != nil {
		return fmt.Errorf("without any mutation, the observer objects: %+v", *found)
	}
	for _, test := range slices.Compact(tests) {
		if ok, err := t.passes(ctx, test); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("without any mutation, %s does not pass", test)
		}
	}
	r.progress("no mutation: all %d schedules and %d tests pass", seeds, len(slices.Compact(tests)))
	return nil
}
