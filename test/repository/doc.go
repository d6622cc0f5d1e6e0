// Package repository checks the rules that hold for the repository as a whole:
// which folder may import which, what a pure package must not do, and that
// packages, documents, fuzz targets and scripts are in order.
//
// Guarantees: the rules of docs/architecture.md that a program can check are
// checked, on the source alone, in a second or so.
//
// Non-guarantees: the checks read syntax. They stop mistakes, not intent: a
// clock that reaches a pure package as a function value is not seen.
//
// Duties: a rule that changes is changed in docs/architecture.md as well.
package repository
