// Package cluster holds the cluster record: what is true of the cluster as a
// whole and not of one machine. Members, datastores, timing, what machines get
// by default, maintenance, a pause, the feature level.
//
// Each datastore of the cluster keeps the record's revisions in a register of
// its own (docs/format.md), and a revision counts once most of them hold it
// (Judge). The record is order and not right: no rule of docs/safety.md hangs on
// which revision a host has read, so that hosts may act on different ones, and
// on one that never came to count, without a machine running twice.
//
// Guarantees: everything here is pure. Decode takes any bytes without panicking
// and accepts exactly what Encode returns. Of one number, at most one revision
// counts, and each revision that is made as Judge says contains the last one
// that counts.
//
// Non-guarantees: nothing here reads or writes a datastore. In which order that
// is done is a matter of package core.
package cluster
