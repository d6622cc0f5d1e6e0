// Package check tries out whether a folder can be a datastore, from this one
// host: what `storebeat datastore check PATH` prints.
//
// Guarantees: everything is written inside one scratch folder,
// .storebeat-check-<random>, which is removed whatever the outcome; if the file
// system hangs, as soon as it answers again. The folder .storebeat is never
// touched. Run returns when its context ends, also while the file system hangs.
//
// Non-guarantees: one host can't see what another one sees. That names are
// exclusive and new names visible between hosts, and how the server writes, is
// listed as unseen. A process that is killed leaves its scratch folder behind.
//
// Duties of the caller: give the context a deadline.
package check
