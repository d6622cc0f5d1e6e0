// Package poweron holds what Storebeat knows about virtual machines: the
// power-on list of each host, the protected list with policies and
// definitions, generations and the right to run, and the planning of restarts.
//
// Guarantees: pure. No clock, random source, file, socket or goroutine; a plan
// depends on its inputs alone, and equal inputs give equal plans. Decoders
// accept any bytes without panicking and allocate no more than a small multiple
// of what they are given; what they accept has one encoding, which is that.
//
// Non-guarantees: a plan is a wish. Only a won generation under an open term
// entitles to start a machine (docs/safety.md, R3 and R8). Damage that leaves a
// valid value behind is found by the checksum of the record or file around it,
// not here.
//
// Duties of the caller: compare machine and number of a decoded generation, and
// the machine of a decoded entry, with the record that carried them; ask Over
// only with records that were read, never with a guess; read the entry once more
// and ask Wants after a claim was won, before the start.
package poweron
