package nfslab_test

import (
	"fmt"
	"strings"
	"testing"

	"storebeat/test/lab"
	"storebeat/test/nfslab"
)

// strike starts a script for operators on a host, and leaves it to itself.
func (r *trial) strike(h *nfslab.Host, words string) {
	r.Helper()
	_, err := h.Run(r.ctx, "rm -f /run/script.*; setsid sh -c '"+nfslab.FaultScripts+"/"+words+" & echo $! >/run/script.pid; wait $!; echo $? >/run/script.status' >/run/script.out 2>&1 </dev/null &")
	r.Do(err)
	const struck, ended = "nft list tables | grep -q storebeat_fault", "test -e /run/script.status"
	r.awaitOn(h, words+" to strike", struck+" || "+ended)
	if _, err := h.Run(r.ctx, ended); err == nil {
		out, _ := h.Run(r.ctx, "cat /run/script.out")
		r.Fatalf("%s did nothing: %s", words, out)
	}
}

// awaitOn waits until a shell script on a host ends well.
func (r *trial) awaitOn(h *nfslab.Host, what, script string) {
	r.Helper()
	r.Await(what, func() (bool, string) {
		out, err := h.Run(r.ctx, script)
		if err != nil {
			said, _ := h.Run(r.ctx, "cat /run/script.out; nft list ruleset; ls -R /run/storebeat-fault")
			out += fmt.Sprintf("%v\n%s", err, said)
		}
		return err == nil, out
	})
}

// nothingLeft is true once a script has left neither a rule nor a timer.
const nothingLeft = `test -z "$(nft list tables)" && test -z "$(find /run/storebeat-fault -mindepth 1 -not -name '*.lock')"`

// TestBlockDatastore has the script for operators take a real NFS server away from a
// host. It lets go by itself when its time is up; killed, by its timer. The guests
// stand still meanwhile, for their disks are there, and go on.
func TestBlockDatastore(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 3)
	victim, _ := r.victim()
	its := r.HeardOn(victim.Name)
	for _, end := range []struct{ name, script string }{{"its time is up", ""}, {"it is killed", "kill -9 $(cat /run/script.pid)"}} {
		r.strike(victim, "block-datastore /mnt/ds1 --for 5")
		r.awaitSilent(its)
		if end.script != "" {
			_, err := victim.Run(r.ctx, end.script)
			r.Do(err)
		}
		r.awaitOn(victim, "the fault to be undone when "+end.name, nothingLeft)
		r.awaitWhole()
		r.AwaitCounts(10, r.Machines...)
		out, err := victim.Run(r.ctx, "cat /run/script.out")
		r.Do(err)
		if !strings.Contains(out, "with all that is mounted from it: /mnt/ds1 /mnt/ds2") || end.script == "" && !strings.Contains(out, "it is undone") {
			r.Errorf("when %s the script said\n%s", end.name, out)
		}
	}
}

// awaitSilent waits until nothing has been heard of machines for two seconds.
func (r *trial) awaitSilent(machines []*lab.Machine) {
	r.Helper()
	for _, m := range machines {
		r.Await(m.Name+" to stand still", func() (bool, string) {
			silent := r.Watch.Silence(m)
			return silent.Seconds() > 2, fmt.Sprintf("it was heard %v ago", silent)
		})
	}
}

// TestBlockByIPv6 does the same to a mount of which the server has an address of
// IPv6: what is mounted by its other address is not hit.
func TestBlockByIPv6(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 3)
	victim, _ := r.victim()
	want := r.Starts()
	const reads = "timeout -s KILL 2 dd if=/mnt/six/probe of=/dev/null bs=4096 count=1 iflag=direct"
	_, err := victim.Run(r.ctx, fmt.Sprintf(`mkdir -p /mnt/six
mount -t nfs4 -o vers=4.2,proto=tcp6,addr=%[1]s,clientaddr=%[2]s [%[1]s]:/ds2 /mnt/six
dd if=/dev/zero of=/mnt/six/probe bs=4096 count=1
`+reads, nfslab.ServerAddress6, victim.Address6()))
	r.Do(err)
	r.strike(victim, "block-datastore /mnt/six --for 10")
	r.awaitOn(victim, "reads by IPv6 to hang", "! "+reads)
	r.AwaitCounts(5, r.Machines...)
	r.awaitOn(victim, "the fault to be undone", nothingLeft)
	r.awaitOn(victim, "reads to succeed", reads)
	out, err := victim.Run(r.ctx, "umount /mnt/six; cat /run/script.out")
	r.Do(err)
	if !strings.Contains(out, "the NFS server "+nfslab.ServerAddress6+", with all that is mounted from it: /mnt/six\n") {
		r.Errorf("the script said\n%s", out)
	}
	r.awaitWhole()
	r.ExpectStarts(want)
	r.refuse(append(changes, restarts...)...)
}
