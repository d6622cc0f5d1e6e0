package e2e

import (
	"syscall"
	"testing"
	"time"

	"storebeat/agent/demo/cluster"
	"storebeat/test/stuck"
)

// TestProgramHangsInTheKernel has a program of the host hang on storage that is
// none of Storebeat's, so that nobody can look at it. Agents and guards that look
// for machines meanwhile are held up by nothing.
func TestProgramHangsInTheKernel(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "relaxed", Datastores: 1})
	l.protect(3, "process")
	storage := stuck.New(t)
	storage.Process()
	storage.Hang()
	h := l.owner(l.machines[0])
	before, runs, from := l.view(), l.runs(), time.Now()
	h.KillAgent()
	l.do(h.Start())
	l.awaitAnswer(h)
	l.awaitEvent(h, from, "machine-adopted")
	l.awaitSettled()
	l.awaitTicks(relaxedLease, l.machines...)
	for _, h := range l.Hosts {
		l.refuse(h, from, disturbances...)
	}
	l.expectGenerations(before, runs)
	l.signalGuard(h, syscall.SIGKILL)
	h.KillAgent()
	l.do(h.Start())
	l.awaitSettled()
	l.awaitTicks(3, l.machines...)
	l.expectRuns(runs)
	l.add(cluster.NewMachine("late", l.Datastores[0], "process")) // a start looks for processes of its machine
	l.awaitSettled()
}
