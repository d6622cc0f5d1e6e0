// Command mutants proves that the observer of test/sim sees. Each patch in
// test/mutants breaks one rule of docs/safety.md. It is applied to a temporary
// copy of the tree, whose simulator then runs random schedules of faults, from
// seed 1 on, until the observer objects, and the directed tests that the patch names.
//
//	go run ./scripts/mutants [--only NAME] [--limit N] [--jobs N] [-o json] [--docs FILE]
//
// Guarantees: it fails if a patch does not apply or compile, if a mutant is not
// caught where its patch says that it is, if one that is said to survive is
// caught, and if the tree as it is does not pass everything that was run
// on a mutant. The same tree gives the same table. What it makes it removes.
//
// Non-guarantees: a rule without a mutant is not looked at. A mutant that is
// caught shows that the observer sees this one break of the rule, no more.
//
// A patch begins with a header of "Key: value" lines; lines that begin with a
// space go on with the value above them.
//
//	Title      what the mutant does, in one sentence
//	Rule       the rules of docs/safety.md that it breaks
//	Trace      the row of the known traces that it follows, if any
//	Seeds      within how many random schedules it is caught; 0: by tests alone
//	Invariant  by which invariants of the observer, separated by blanks
//	Tests      directed tests that fail with it, as patterns for -test.run
//	Survives   "needless" or "hole", and why: nothing catches it
//	Note       whatever else a reader should know
package main
