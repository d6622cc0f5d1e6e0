package qemu

import (
	"testing"
	"time"
)

// heedsAPauseMeanwhile: a user pauses a guest while the agent finds out whether it is to try
// again what failed.
func heedsAPauseMeanwhile(t *testing.T, m *machine) {
	t.Helper()
	m.mu.Lock()
	session := m.session
	m.trouble.tried = time.Time{}
	m.mu.Unlock()
	if err := session.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.retry(t.Context(), session); err != nil {
		t.Error(err)
	}
	if s, err := status(t.Context(), session); err != nil || s != paused {
		t.Errorf("a guest that a user has paused is %s, %v", s, err)
	}
}
