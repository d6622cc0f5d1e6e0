package sim

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
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

// TestRandomSchedules runs schedules of random faults, then heals everything.
func TestRandomSchedules(t *testing.T) {
	first, end := seeds(t, 150)
	if testing.Short() {
		end = min(end, first+30)
	}
	var virtual time.Duration
	done, counts, bad := map[string]int{}, map[string]int{}, 0
	for seed := first; seed < end && bad < 3; seed++ {
		s := RandomSetup(seed)
		s.Quiet = true
		w, x, wrong := Find(s, 2*time.Minute, time.Minute)
		virtual += w.Now()
		for k, n := range x.Done {
			done[k] += n
		}
		for k, n := range w.counts {
			counts[k] += n
		}
		if len(wrong) == 0 {
			continue
		}
		bad++
		t.Errorf("seed %d: %s", seed, strings.Join(wrong, "\n\t"))
		if end-first == 1 {
			s.Quiet = false
			w, _, _ := Find(s, 2*time.Minute, time.Minute)
			t.Logf("%s", w.Trace())
		}
	}
	t.Logf("%v of virtual time\nfaults: %v\nevents: %v", virtual, done, counts)
}
