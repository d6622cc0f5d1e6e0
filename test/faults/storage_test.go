package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"storebeat/test/faultfs"
	"storebeat/test/lab"
)

// inject disturbs the paths of some hosts to all datastores.
func (r *trial) inject(fault faultfs.Fault, hosts ...*lab.Host) {
	r.Helper()
	for _, h := range hosts {
		for _, d := range r.Datastores {
			r.do(h.Storage(d).Inject(fault))
		}
	}
}

// hold keeps a fault until it has lasted that long.
func (r *trial) hold(since time.Time, length time.Duration) {
	r.Helper()
	r.await(fmt.Sprintf("the fault to last %v", length), func() (bool, string) { return time.Since(since) >= length, "it is shorter" })
}

// hypervisors lists the processes of all machines on all hosts that are on.
func (r *trial) hypervisors() (pids []int) {
	r.Helper()
	for _, h := range r.On() {
		its, err := h.PIDs(lab.Hypervisor, nil)
		r.do(err)
		pids = append(pids, its...)
	}
	return pids
}

// claims is what a thaw may cost a host on a datastore: it wins its next term by
// one link, and may have lost the first to its own earlier attempt.
const claims = 2

// TestStall lets all storage stand still for everybody. The guests are frozen; nobody
// is killed or started again; all go on with their counts; and a thaw costs each
// host one claim on each datastore.
func TestStall(t *testing.T) {
	for _, length := range []time.Duration{5 * time.Second, 30 * time.Second, time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 3)
			want, processes := r.starts(), fmt.Sprint(r.hypervisors())
			began := time.Now()
			r.inject(faultfs.Fault{Kind: faultfs.Hang}, r.Hosts...)
			for _, h := range r.Hosts {
				r.awaitStopped(h)
			}
			r.hold(began, length)
			before := r.counts()
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, r.Hosts...) // by nothing
			r.awaitCounts(1, r.machines...)
			r.expectFewClaims(before)
			r.awaitWhole()
			r.awaitCounts(10, r.machines...)
			r.expectStarts(want)
			r.refuse(restarts...)
			if now := fmt.Sprint(r.hypervisors()); now != processes {
				t.Errorf("the machines' processes were %s and are %s", processes, now)
			}
		})
	}
}

// requests counts what a host has asked of a datastore.
type requests struct {
	host      string
	datastore string
	by        map[faultfs.Op]int
}

func (r *trial) counts() (all []requests) {
	for _, h := range r.On() {
		for _, d := range r.Datastores {
			all = append(all, requests{h.Name, d.Name, h.Storage(d).Counts()})
		}
	}
	return all
}

// expectFewClaims fails the test if a host has made more links on a datastore
// since then than a thaw costs.
func (r *trial) expectFewClaims(before []requests) {
	r.Helper()
	for i, now := range r.counts() {
		spent := map[faultfs.Op]int{}
		for op, n := range now.by {
			if n -= before[i].by[op]; n > 0 {
				spent[op] = n
			}
		}
		r.Logf("until all guests went on %s asked of %s: %v", now.host, now.datastore, spent)
		if spent[faultfs.Link] > claims {
			r.Errorf("%s made %d links on %s to thaw; %d are enough", now.host, spent[faultfs.Link], now.datastore, claims)
		}
	}
}

// darken takes a host's network and all its storage away, and waits until its guard
// has frozen its machines.
func (r *trial) darken(h *lab.Host) {
	r.Helper()
	r.Network.Isolate(h)
	r.inject(faultfs.Fault{Kind: faultfs.Hang}, h)
	r.awaitStopped(h)
}

// expire has the file server take a host's locks away.
func (r *trial) expire(h *lab.Host) {
	for _, d := range r.Datastores {
		h.Storage(d).Revoke()
	}
}

// TestDarkHost takes a host's network and storage away. It lives on with its
// machines frozen, each with a write under way. The others take the machines over
// as soon as the file server gives the locks up. Then the paths return: nothing
// there thaws, no late write reaches a disk, and the old instances are put down.
func TestDarkHost(t *testing.T) {
	for _, who := range []string{"subordinate", "master"} {
		t.Run(who, func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 3)
			h, others := r.master()
			if who == "subordinate" {
				h, others = others[0], []*lab.Host{h, others[1]}
			}
			its := r.on(h)
			want := r.starts().and(its)
			r.darken(h)
			r.awaitEvent("start-refused", others...)
			r.expire(h)
			r.awaitStarts(want)
			r.awaitCounts(20, its...)
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, h) // by nothing
			r.Network.Heal()
			r.awaitGone(h, its...)
			r.awaitWhole()
			r.awaitCounts(20, r.machines...)
			r.expectStarts(want)
		})
	}
}

// TestDarkHostBackInTime gives the paths back while the file server still keeps
// the locks: whoever wins, each machine runs once.
func TestDarkHostBackInTime(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h := others[0]
	r.darken(h)
	r.inject(faultfs.Fault{Kind: faultfs.Slow}, h) // by nothing
	r.Network.Heal()
	r.awaitWhole()
	r.awaitCounts(20, r.machines...)
}

// TestLostReplies has every link and every write of a slot succeed and be reported
// as failed, for everybody, and then switches a host off.
func TestLostReplies(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	want := r.starts().and(r.on(others[0]))
	r.inject(faultfs.Fault{Kind: faultfs.LostReply, Ops: []faultfs.Op{faultfs.Link}}, r.Hosts...)
	r.do(others[0].PowerOff())
	r.awaitStarts(want)
	r.inject(faultfs.Fault{Kind: faultfs.Slow}, r.On()...) // by nothing
	r.awaitWhole()
	r.expectStarts(want)
}

// TestTornWrites tears every write of one host to one datastore. Its slot can't be
// read then, so the others vouch for it; no machine is started again.
func TestTornWrites(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	want := r.starts()
	_, others := r.master()
	h, sick := others[0], r.Datastores[0]
	r.do(h.Storage(sick).Inject(faultfs.Fault{Kind: faultfs.Torn, Bytes: 100}))
	r.awaitCounts(90, r.homedOn(r.Datastores[1])...)
	r.refuse(restarts...)
	h.Storage(sick).Heal()
	r.expectStarts(want)
}

// TestLyingPath has one host's writes be acknowledged and never carried out, and
// takes its network away: by what it wrote it has proof of life, and by what the
// others read it is dead. It reads its own slots and finds out.
func TestLyingPath(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	master, others := r.master()
	h := others[0]
	its := r.on(h)
	want := r.starts().and(its)
	r.inject(faultfs.Fault{Kind: faultfs.Lying}, h)
	r.Network.Isolate(h)
	r.awaitEvent("datastore-distrusted", h)
	r.awaitStopped(h)
	r.awaitEvent("start-refused", master, others[1])
	r.expire(h)
	r.awaitStarts(want)
	r.awaitCounts(20, r.machines...)
	r.expectStarts(want)
}

// TestFullDatastore fills a datastore up. Machines there run on; those of a host
// that is lost are started elsewhere all the same.
func TestFullDatastore(t *testing.T) {
	r := newTrial(t, lab.Options{Size: "16m"}, 3)
	for _, d := range r.Datastores {
		r.do(fill(filepath.Join(d.Dir, "filler")))
	}
	want := r.starts()
	r.awaitCounts(90, r.machines...)
	r.refuse(restarts...)
	r.expectStarts(want)
	_, others := r.master()
	want = want.and(r.on(others[0]))
	r.do(others[0].PowerOff())
	r.awaitStarts(want)
	for _, d := range r.Datastores {
		r.do(os.Remove(filepath.Join(d.Dir, "filler")))
	}
	r.do(others[0].PowerOn())
	r.awaitWhole()
	r.expectStarts(want)
}

// fill writes until nothing more fits.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
