package poweron

import (
	"fmt"
	"time"
)

// Action is what the holder of a machine does after the machine failed.
type Action uint8

const (
	// RestartHere means that the holder starts the machine again, under the generation it holds.
	RestartHere Action = 1
	// Move means that the holder releases the machine, and the master places it anew.
	Move Action = 2
	// Hold means that the holder releases the machine as Held: it stays off until a user lets it go.
	Hold Action = 3
)

// String returns the action's name.
func (a Action) String() string {
	switch a {
	case RestartHere:
		return "restart here"
	case Move:
		return "move"
	case Hold:
		return "hold"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Response is the answer to a failure of a machine.
type Response struct {
	Action   Action
	Reason   ReleaseReason // for the release, when Action is Move or Hold
	Failures uint32        // in a row, this one included
	Delay    time.Duration // before the restart, when Action is RestartHere
	Why      string
}

// Crash decides what follows when a machine ended unasked after it ran for
// ranFor, with failures in a row before that. Every group of Attempts restarts on
// the spot is followed by one move, until the limit is reached. A run longer
// than the policy's window sets the failures back first.
func Crash(p Policy, failures uint32, ranFor time.Duration) Response {
	failures = failuresAfter(p, failures, ranFor)
	ran := ranFor.Round(time.Second)
	switch {
	case !p.Restart:
		return Response{Action: Hold, Reason: Held, Failures: failures,
			Why: fmt.Sprintf("crashed after %v, and its policy says restart = false", ran)}
	case reached(p, failures):
		return Response{Action: Hold, Reason: Held, Failures: failures,
			Why: fmt.Sprintf("crashed after %v: failure %d in a row, and the limit is %d", ran, failures, p.Limit)}
	case movesOn(p, failures):
		return Response{Action: Move, Reason: Crashed, Failures: failures,
			Why: fmt.Sprintf("crashed after %v: failure %d in a row, and a move follows %d restarts on the spot", ran, failures, p.Attempts)}
	}
	d := RestartDelay(failures)
	return Response{Action: RestartHere, Failures: failures, Delay: d,
		Why: fmt.Sprintf("crashed after %v: failure %d in a row, restart on the spot in %v", ran, failures, d)}
}

// StartFailure decides what follows when a machine could not be started: it
// moves, and is held when the limit is reached. It is not for starts that were
// only refused for now, such as by the image lock of a lost host (R12): those are
// tried again under the same generation and are no failures of the machine.
func StartFailure(p Policy, failures uint32) Response {
	failures = oneMore(failures)
	if reached(p, failures) {
		return Response{Action: Hold, Reason: Held, Failures: failures,
			Why: fmt.Sprintf("could not be started: failure %d in a row, and the limit is %d", failures, p.Limit)}
	}
	return Response{Action: Move, Reason: StartFailed, Failures: failures,
		Why: fmt.Sprintf("could not be started: failure %d in a row, of %d allowed", failures, p.Limit)}
}

func failuresAfter(p Policy, failures uint32, ranFor time.Duration) uint32 {
	if ranFor > p.Window {
		failures = 0
	}
	return oneMore(failures)
}

func oneMore(failures uint32) uint32 { return max(failures, failures+1) }

func reached(p Policy, failures uint32) bool { return uint64(failures) >= uint64(max(p.Limit, 1)) }

func movesOn(p Policy, failures uint32) bool {
	return uint64(failures)%(uint64(max(p.Attempts, 0))+1) == 0
}

// RestartDelay returns how long a machine is left alone after so many failures in
// a row, on the spot or before it starts elsewhere: 1 s, then three times as long
// each time, at most two minutes. With the default limit it is held after two
// minutes of pauses, and not within seconds because of what may pass by itself.
func RestartDelay(failures uint32) time.Duration {
	return growing(uint64(failures), time.Second, 3, 2*time.Minute)
}

// Pause returns how long a machine is left alone after its holder gave it up
// because of a failure. A user who asks for a start cuts it short.
func Pause(e Entry, g Generation) time.Duration {
	if g.Kind != Released || g.Reason != Crashed && g.Reason != StartFailed || e.Asked > g.Entry {
		return 0
	}
	return RestartDelay(g.Failures)
}

// Delay returns how long a machine that waits for a place is left alone before
// it is planned again, after so many plans that had none for it. It grows to half
// a minute and never ends. A change in the cluster may cut it short.
func Delay(attempt int) time.Duration {
	return growing(uint64(max(attempt, 0)), 500*time.Millisecond, 2, 30*time.Second)
}

// growing returns 0 for n = 0, first for n = 1, and then so many times as much
// for each further n, at most most.
func growing(n uint64, first, times, most time.Duration) time.Duration {
	if n == 0 {
		return 0
	}
	for d := first; d < most; d *= times {
		if n--; n == 0 {
			return d
		}
	}
	return most
}
