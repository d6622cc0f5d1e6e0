// Package core is the whole of one host's decisions: it composes datastorehb,
// partition and poweron into a single state machine,
//
//	Step(now, observation) → effects.
//
// The agent, the simulator and `storebeat simulate` carry the effects out and
// bring their results back as observations.
//
// Guarantees: pure and deterministic. No clock, random source, file, socket,
// logger or goroutine; the same observations at the same instants give the same
// effects. Step never blocks. A result may come late, come twice, or never.
//
// Duties of the shell: carry out effects in the order in which they are
// returned, per datastore and purpose one at a time; report every result with
// the instants at which the operation was issued and had returned; never carry
// out the effects in an After list unless the write they hang on completed.
//
// Non-guarantees: nothing is retried by the shell. Core decides on retries.
package core
