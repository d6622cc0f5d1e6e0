// Package check tries out whether a folder can be a datastore, from one host or,
// with peers, from several at once: what `storebeat datastore check PATH` prints.
//
// Guarantees: everything is written inside one scratch folder,
// .storebeat-check-<random>, which is removed whatever the outcome; if the file
// system hangs, as soon as it answers again. The folder .storebeat is never
// touched. Run returns when its context ends, also while the file system hangs.
//
// A peer is told by lines of JSON what to do in that folder (Answer), and touches
// nothing else; no call to it takes for ever.
//
// Non-guarantees: one host can't see what another one sees. Without peers, whether
// names are exclusive and new names visible between hosts is listed as unseen, and
// always how the server writes. A process that is killed leaves its scratch folder
// behind. Times that peers measure are by their own clocks.
//
// Duties of the caller: give the context a deadline, and close the connections to
// peers afterwards.
package check
