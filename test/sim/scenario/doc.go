// Package scenario reads scenario files: text in which an operator describes a
// cluster, what befalls it and when, and what must become of its machines. The
// language is that of docs/scenarios.md. Package sim plays what is read here.
//
// Guarantees: any bytes give a scenario or errors, each with the line and column
// of the word that is wrong; nothing else is looked at, and nothing is kept
// between two files. What Parse returns without an error can be played: every name is
// declared, every number in its bounds.
//
// The forms of lines are a table (forms.go); the parser knows no word that is
// not in it, and the page is checked against it.
package scenario
