//go:build race

package sim

// schedules is how many random schedules are usual. The race detector makes them nine times
// slower, and a run is a single goroutine: a few show what it can find.
const schedules = 40

// scenarioSeeds is with how many seeds each scenario file is played.
const scenarioSeeds = 2
