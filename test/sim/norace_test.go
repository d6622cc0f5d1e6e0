//go:build !race

package sim

// schedules is how many random schedules are usual.
const schedules = 2000
