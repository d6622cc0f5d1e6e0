// Package poweron holds what Storebeat knows about virtual machines: the
// power-on list of each host, the protected list with policies and
// definitions, generations and the right to run, and the planning of restarts.
//
// Guarantees: pure. No clock, random source, file, socket or goroutine; a plan
// depends on its inputs alone, and equal inputs give equal plans.
//
// Non-guarantees: a plan is a wish. Only a won generation under an open term
// entitles to start a machine (docs/safety.md, R3 and R8).
package poweron
