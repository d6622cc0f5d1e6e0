package sim

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// seeds says which seeds to run: STOREBEAT_SIM_SEEDS=N runs N of them instead of
// the usual number, STOREBEAT_SIM_SEED=S just one, with its trace.
func seeds(t *testing.T, usual uint64) (first, end uint64) {
	if s := os.Getenv("STOREBEAT_SIM_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, n + 1
	}
	first = 1
	if s := os.Getenv("STOREBEAT_SIM_SEEDS"); s != "" {
		from, count, found := strings.Cut(s, "+")
		if !found {
			from, count = "1", s
		}
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if first, err = strconv.ParseUint(from, 10, 64); err != nil {
			t.Fatal(err)
		}
		return first, first + n
	}
	return first, first + usual
}

// TestRandomSchedules runs schedules of random faults, then heals everything. Over the usual
// number of seeds everything that could meet must have met.
func TestRandomSchedules(t *testing.T) {
	usual := uint64(schedules)
	if testing.Short() {
		usual = 30
	}
	first, end := seeds(t, usual)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var tally Tally
	bad := 0
	Search(ctx, first, end, runtime.GOMAXPROCS(0), func(f Finding) {
		tally.Add(f)
		if len(f.Wrong) == 0 {
			return
		}
		t.Errorf("seed %d: %s", f.Seed, strings.Join(f.Wrong, "\n\t"))
		if bad++; bad == 3 {
			stop()
		}
	})
	if end-first == 1 {
		t.Logf("%s", Find(RandomSetup(first)).Trace)
	}
	t.Logf("%d schedules, %v of virtual time\nfaults: %v\nevents: %v\ncoverage: %v", tally.Schedules, tally.Virtual, tally.Faults, tally.Events, tally.Coverage)
	if missing := tally.Uncovered(); end-first >= 2000 && bad == 0 && len(missing) > 0 {
		t.Errorf("%d schedules never brought about: %q", tally.Schedules, missing)
	}
}
