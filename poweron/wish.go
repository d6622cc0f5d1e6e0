package poweron

import (
	"fmt"
	"math"
	"time"

	"storebeat/datastorehb"
)

// AskStart returns the entry that makes a machine run at its user's request,
// for the claim of the given revision. Other changes of an entry carry Asked
// over: a new policy alone lets no held machine go, and starts none whose policy
// forbids restarts.
func AskStart(e Entry, revision uint64) Entry {
	e.Desired, e.Asked = Running, revision
	return e
}

// Wants reports whether a machine should be running somewhere, by the will of
// its user, its policy and its past. revision is that of the entry; newest is nil
// while the machine never had a generation; over is what Over says about it.
//
// It is no right: MayClaim and the claim come after it. Who starts a machine
// asks again with an entry read after the claim was won (R8).
func Wants(e Entry, revision uint64, newest *Generation, over bool) (wants bool, why string) {
	switch {
	case !e.Protected:
		return false, "the machine is not protected: protect it with `storebeat vm protect`"
	case e.Desired != Running:
		return false, fmt.Sprintf("the user wants it %s: start it with `storebeat vm start %s`", e.Desired, e.Name)
	case newest == nil:
		return true, "the user wants it running, and it never ran"
	case revision < newest.Entry:
		return false, fmt.Sprintf("revision %d of its entry was read, and generation %d was made knowing %d: read the entry again", revision, newest.Number, newest.Entry)
	case newest.Kind == Run && !over:
		return true, fmt.Sprintf("host %d holds it under generation %d", newest.Owner, newest.Number)
	case e.Asked > newest.Entry:
		return true, fmt.Sprintf("the user asked for a start in revision %d of the entry, and generation %d was made knowing %d", e.Asked, newest.Number, newest.Entry)
	}
	return wantsAfter(e, *newest)
}

// wantsAfter is Wants for a generation that is over, when no user asked for a
// start since.
func wantsAfter(e Entry, g Generation) (wants bool, why string) {
	if g.Kind == Run && g.Reason == NotReleased {
		return wantsRestart(e, fmt.Sprintf("host %d was lost", g.Owner))
	}
	switch g.Reason {
	case StoppedByUser:
		return true, "it was stopped by a user, who wants it running again"
	case HandedOver:
		return true, fmt.Sprintf("host %d handed it over", g.Owner)
	case Held:
		if g.Failures == 0 {
			return false, fmt.Sprintf("held (%s): let it go with `storebeat vm start %s`", g.Detail, e.Name)
		}
		return false, fmt.Sprintf("held since failure %d in a row (%s): let it go with `storebeat vm start %s`", g.Failures, g.Detail, e.Name)
	case GuestShutDown:
		if e.Policy.OnGuestShutDown != StartAgain {
			return false, fmt.Sprintf("the guest shut itself down, and its policy says %q: start it with `storebeat vm start %s`", e.Policy.OnGuestShutDown, e.Name)
		}
	}
	return wantsRestart(e, g.Reason.String())
}

// Kept says for which host a machine is kept that has been off since that host
// was shut down, and for how long after it was released; host is 0 if it may start
// anywhere. A machine is kept for no host that its rules have come to exclude, nor
// after a user asked for a start.
//
// It is no right, and nobody's custody: the machine is released, and whoever knows
// better may claim it.
func Kept(e Entry, newest *Generation) (host datastorehb.HostID, long time.Duration) {
	g := newest
	if g == nil || g.Kind != Released || g.Reason != HostShutdown || e.Asked > g.Entry || !e.Rules.Allows(g.Owner) {
		return 0, 0
	}
	switch e.Policy.OnHostShutdown {
	case WaitForReboot:
		return g.Owner, e.Policy.RebootWait
	case LeaveOff:
		return g.Owner, ForGood
	}
	return 0, 0
}

// ForGood is how long a machine is kept whose policy is LeaveOff.
const ForGood time.Duration = math.MaxInt64

func wantsRestart(e Entry, cause string) (wants bool, why string) {
	if !e.Policy.Restart {
		return false, fmt.Sprintf("%s, and its policy says restart = false: start it with `storebeat vm start %s`", cause, e.Name)
	}
	return true, cause + ", and its policy says restart = true"
}
