// Package metrics shows how an agent is doing to Prometheus. What is measured
// where it happens (events, heartbeats, claims) is counted at once; everything
// else is taken from the agent's state when it is asked for.
//
// Guarantees: a scrape touches no datastore, and waits no longer than Patience
// for the agent's state; when the state does not come, the last one is shown,
// with its age. Recording never waits. Names and labels stay the same from
// version to version, and docs/metrics.md lists them all.
//
// Duties of the user: labels are names of hosts, datastores and machines from
// the configuration and the datastores, so their number is bounded by these.
package metrics
