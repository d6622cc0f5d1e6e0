package guard

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// keptFiles are the files that a guard left, with open ends of pipes in the place of sockets.
func keptFiles(t *testing.T, st state, names ...string) map[string]int {
	t.Helper()
	fd, err := writeState(&st)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int{keptState: fd}
	for _, name := range names {
		var ends [2]int
		if err := unix.Pipe(ends[:]); err != nil {
			t.Fatal(err)
		}
		files[name] = ends[0]
		t.Cleanup(func() { _ = unix.Close(ends[1]) })
	}
	return files
}

// isOpen reports whether a descriptor is open.
func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// TestStateIn: what was left is used whole, and only when it is fresh.
func TestStateIn(t *testing.T) {
	at := datastorehb.Instant(time.Hour)
	left := state{Version: stateVersion, At: at, Listener: 70, Lock: 71, Watchdog: 72, Clients: []clientState{{FD: 73}, {FD: 74, Agent: true}}}
	all := []string{keptListener, keptLock, keptWatchdog, clientName(0), clientName(1)}

	files := keptFiles(t, left, all...)
	want := map[string]int{keptListener: files[keptListener], keptLock: files[keptLock], keptWatchdog: files[keptWatchdog], "agent": files[clientName(1)]}
	st, err := stateIn(files, at.Add(keptTime))
	if err != nil {
		t.Fatal(err)
	}
	if st.Listener != want[keptListener] || st.Lock != want[keptLock] || st.Watchdog != want[keptWatchdog] || len(st.Clients) != 2 || st.Clients[1].FD != want["agent"] || !st.Clients[1].Agent {
		t.Errorf("%+v, want the files %v", st, want)
	}

	unfed := left
	unfed.Watchdog, unfed.Clients = -1, slices.Clone(left.Clients)
	files = keptFiles(t, unfed, keptListener, keptLock, clientName(1), "something else")
	other, agent := files["something else"], files[clientName(1)]
	st, err = stateIn(files, at)
	if err != nil || st.Watchdog != -1 || len(st.Clients) != 1 || st.Clients[0].FD != agent || !st.Clients[0].Agent {
		t.Errorf("without a watchdog and one client: %+v, %v", st, err)
	}
	if isOpen(other) {
		t.Error("a file without a place stays open")
	}

	for name, c := range map[string]struct {
		now   datastorehb.Instant
		names []string
		want  string
	}{
		"too old":      {at.Add(keptTime + 1), all, "5s"},
		"later":        {at.Add(-1), all, "old"},
		"no listener":  {at, all[1:], "socket, lock or watchdog"},
		"no lock":      {at, []string{keptListener}, "socket, lock or watchdog"},
		"no watchdog":  {at, []string{keptListener, keptLock}, "socket, lock or watchdog"},
		"nothing else": {at, nil, "socket, lock or watchdog"},
	} {
		if _, err := stateIn(keptFiles(t, left, c.names...), c.now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if _, err := stateIn(map[string]int{}, at); err == nil {
		t.Error("nothing at all was taken")
	}
}

func TestHasRestart(t *testing.T) {
	for jobs, want := range map[string]bool{
		"": false,
		"  17 storebeat-guard.service restart running\n":                                  true,
		"17 storebeat-guard.service stop running\n":                                       false,
		"16 storebeat.service restart running\n17 storebeat-guard.service stop running\n": false,
		"nonsense": false,
	} {
		if got := hasRestart(jobs, "storebeat-guard.service"); got != want {
			t.Errorf("%q: %v", jobs, got)
		}
	}
}

// TestNoManager: a process that no service manager has started looks for none.
func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	_ = os.Unsetenv("NOTIFY_SOCKET")
	if m := FindSystemd(); m != nil {
		t.Errorf("found %+v", m)
	}
}
