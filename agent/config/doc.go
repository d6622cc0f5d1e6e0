// Package config reads, judges, compares and watches the configuration file.
//
// Guarantees: a configuration that comes without an error has been judged as a
// whole: every value is within its bounds, names, ids, identities, addresses and
// paths are unique, and the inequality R9 of docs/safety.md holds. All errors of
// a file are reported at once, each with its place, its value and what to do
// about it. Parse accepts any bytes without panicking and in bounded memory. A
// configuration, once returned, is never changed by this package.
//
// Non-guarantees: Parse looks at the file's text only. Whether a datastore is
// mounted or an address is this host's own is found out by those who use them.
//
// Duties: callers report warnings as well as errors, and carry out only those
// changes of a watched file that Apply calls live.
package config
