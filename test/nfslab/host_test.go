package nfslab_test

import (
	"testing"
	"time"

	"storebeat/test/nfslab"
)

// TestHostDies cuts a host's power. Its machine starts elsewhere, once. The host
// comes back and takes nothing with it.
func TestHostDies(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 1)
	hostDies(r, func(*nfslab.Host, []*nfslab.Host) {})
}

// TestLongLockLease is the same with locks that the server keeps for much
// longer than a takeover takes: the program says that it waits for them.
func TestLongLockLease(t *testing.T) {
	r := newTrial(t, nfslab.Options{Lease: 30 * time.Second}, 3)
	hostDies(r, func(victim *nfslab.Host, others []*nfslab.Host) {
		r.awaitSays(r.HeardOn(victim.Name)[0], "locked by another process", others...)
	})
}

func hostDies(r *trial, meanwhile func(victim *nfslab.Host, others []*nfslab.Host)) {
	r.Helper()
	victim, others := r.victim()
	its := r.HeardOn(victim.Name)
	want := r.Starts().And(its)
	began := time.Now()
	r.Do(victim.PowerOff())
	meanwhile(victim, others)
	r.AwaitStarts(want)
	newest, _ := r.Watch.Newest(its[0])
	r.Logf("%s booted on %s %v after the power of %s was cut", its[0].Name, newest.Host, newest.At.Sub(began), victim.Name)
	r.Do(victim.PowerOn(r.ctx))
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
}

// TestLinkCut cuts a host's cable, which takes its network and its storage away:
// it lives on with its machines frozen, each with a write under way that a hard
// mount tries for ever. Others start the machines. Then the cable is mended:
// nothing there goes on, no late write reaches a disk, and the old instances are
// put down.
func TestLinkCut(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 3)
	victim, _ := r.victim()
	its := r.HeardOn(victim.Name)
	want := r.Starts().And(its)
	r.Do(victim.LinkDown())
	r.AwaitStarts(want)
	r.AwaitCounts(20, its...)
	r.Do(victim.LinkUp())
	r.awaitWhole()
	r.AwaitCounts(30, r.Machines...)
	r.ExpectStarts(want)
}

// killAgentAndGuard kills both with one call, so that neither has time for anything.
const killAgentAndGuard = `for p in $(pidof storebeat); do
	case "$(tr '\0' ' ' < /proc/$p/cmdline)" in "storebeat agent "*|*"storebeat guard "*) both="$both $p";; esac
done
kill -9 $both`

// TestWatchdog kills a host's agent and guard, so that nobody is left there who
// could freeze its machines. Its watchdog resets it before anybody else may start
// them.
func TestWatchdog(t *testing.T) {
	r := newTrial(t, nfslab.Options{Settings: "guard {\n  watchdog = \"/dev/watchdog\"\n}\n"}, 3)
	victim, _ := r.victim()
	before := r.Starts()
	want := before.And(r.HeardOn(victim.Name))
	reset, err := victim.Reset()
	r.Do(err)
	began := time.Now()
	_, err = victim.Run(r.ctx, killAgentAndGuard)
	r.Do(err)
	r.Await(victim.Name+" to reset itself", func() (bool, string) {
		select {
		case <-reset:
			return true, ""
		default:
			return false, "it has not"
		}
	})
	r.Logf("%s reset itself after %v", victim.Name, time.Since(began))
	r.ExpectStarts(before)
	r.Do(victim.PowerOff())
	r.AwaitStarts(want)
	r.Do(victim.PowerOn(r.ctx))
	r.awaitWhole()
	r.ExpectStarts(want)
}
