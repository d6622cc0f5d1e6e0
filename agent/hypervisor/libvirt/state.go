package libvirt

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

// state is what libvirt says of a domain.
type state struct {
	word   string // "running", "paused", "shut off", "crashed" …
	reason string // "booted", "user", "destroyed" …; "" if unknown
}

const shutOff, crashed, paused, ioFailure = "shut off", "crashed", "paused", "I/O error"

var (
	// byUser is the state of a domain that a user has paused.
	byUser = state{paused, "user"}
	// forDisk is that of one that libvirt has paused because a request to a disk failed.
	forDisk = state{paused, ioFailure}
)

func (s state) String() string {
	if s.reason == "" {
		return s.word
	}
	return s.word + " (" + s.reason + ")"
}

// active tells whether the domain has a process.
func (s state) active() bool { return s.word != shutOff }

// state asks for one domain.
func (v *virsh) state(ctx context.Context, vm uuid.UUID) (state, error) {
	out, err := v.call(ctx, "domstate", "--reason", vm.String())
	if err != nil {
		return state{}, err
	}
	return parseState(out)
}

// parseState reads "running (booted)".
func parseState(out string) (state, error) {
	word, reason, _ := strings.Cut(strings.TrimSpace(out), " (")
	s := state{word: word, reason: strings.TrimSuffix(reason, ")")}
	if word == "" || strings.Contains(word, "\n") || strings.Contains(reason, "\n") {
		return state{}, fmt.Errorf("virsh domstate: %.80q is no state", out)
	}
	return s, nil
}

// setBack is also the reason for a moment while a domain is set back to a snapshot in which
// it ran: libvirt makes another process then.
const setBack = "from snapshot"

// exits say what the end of a domain means, by the reason that libvirt gives.
var exits = map[string]hypervisor.Exit{
	"shutdown":  {Kind: hypervisor.GuestShutDown, Detail: "the guest switched itself off"},
	"destroyed": {Kind: hypervisor.Destroyed, Detail: "a user of libvirt ended it (virsh destroy)"},
	"migrated":  {Kind: hypervisor.Migrated, Detail: "a user of libvirt migrated it to another host (virsh migrate)"},
	"saved":     {Kind: hypervisor.Destroyed, Detail: "a user of libvirt saved it to a file, which is not used for a start (virsh save, virsh managedsave)"},
	"crashed":   {Kind: hypervisor.Crashed, Detail: "QEMU ended unasked, or the guest panicked"},
	"failed":    {Kind: hypervisor.Crashed, Detail: "QEMU ended unasked"},
	setBack:     {Kind: hypervisor.Destroyed, Detail: "a user of libvirt set it back to a snapshot in which it was off (virsh snapshot-revert)"},
}

// words are the names of states in bulk statistics, by number.
var words = [...]string{"no state", "running", "idle", paused, "in shutdown", shutOff, crashed, "pmsuspended"}

// pauses are libvirt's reasons for state 3, by number.
var pauses = [...]string{"unknown", "user", "migrating", "saving", "dumping", ioFailure, "watchdog", "from snapshot", "shutting down", "creating snapshot", "crashed", "starting up", "post-copy", "post-copy failed", "api error"}

// parseStats reads what `virsh domstats --state` prints, by the name of the domain.
func parseStats(out string) map[string]state {
	all := map[string]state{}
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if quoted, ok := strings.CutPrefix(line, "Domain: '"); ok {
			name = strings.TrimSuffix(quoted, "'")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		number, err := strconv.Atoi(value)
		if name == "" || err != nil || number < 0 {
			continue
		}
		s := all[name]
		switch {
		case key == "state.state" && number < len(words):
			s.word = words[number]
		case key == "state.reason" && s.word == paused && number < len(pauses):
			s.reason = pauses[number]
		}
		all[name] = s
	}
	return all
}

// parseEvent reads a line of `virsh event --event lifecycle`, such as
// "event 'lifecycle' for domain 'web': Stopped Destroyed".
func parseEvent(line string) (name, what, detail string, ok bool) {
	_, rest, found := strings.Cut(line, "event 'lifecycle' for domain ")
	at := strings.LastIndex(rest, ": ")
	if !found || at < 0 {
		return "", "", "", false
	}
	name = strings.Trim(rest[:at], "'")
	what, detail, _ = strings.Cut(strings.TrimSpace(rest[at+2:]), " ")
	return name, what, strings.ToLower(detail), true
}
