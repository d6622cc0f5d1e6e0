// Package hypervisortest checks that a driver keeps the promises of package
// hypervisor, with real machines.
//
// Duties: the test binary's TestMain calls DieAsAgent first, so that the suite
// can start a machine from an agent that is then killed.
package hypervisortest
