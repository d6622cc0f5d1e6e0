//go:build !race

package sim

// schedules is how many random schedules are usual.
const schedules = 2000

// scenarioSeeds is with how many seeds each scenario file is played: all of them take four minutes of
// one processor.
const scenarioSeeds = 50
