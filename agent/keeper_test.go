package agent

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// What does not go away by itself is logged once, and once more when it has been away.
func TestTellsOnceUntilItWasAway(t *testing.T) {
	var log bytes.Buffer
	ms := &machines{agent: &Agent{log: hclog.New(&hclog.LoggerOptions{Output: &log})}}
	tidying := ms.tidying(nil)
	round := func(troubles, logged int) {
		t.Helper()
		tidying.round()
		for range troubles {
			tidying.tell("can't", "web", errors.New("no"))
		}
		if got := strings.Count(log.String(), "can't"); got != logged {
			t.Errorf("it was logged %d times, want %d", got, logged)
		}
	}
	round(2, 1)
	round(1, 1)
	round(0, 1)
	round(1, 2)
	if len(tidying.told) != 1 {
		t.Errorf("it remembers %v", tidying.told)
	}
}
