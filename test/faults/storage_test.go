package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/test/faultfs"
	"storebeat/test/lab"
)

// inject disturbs the paths of some hosts to all datastores.
func (r *trial) inject(fault faultfs.Fault, hosts ...*lab.Host) {
	r.Helper()
	for _, h := range hosts {
		for _, d := range r.Datastores {
			r.Do(h.Storage(d).Inject(fault))
		}
	}
}

// hold keeps a fault until it has lasted that long.
func (r *trial) hold(since time.Time, length time.Duration) {
	r.Helper()
	r.Await(fmt.Sprintf("the fault to last %v", length), func() (bool, string) { return time.Since(since) >= length, "it is shorter" })
}

// hypervisors lists the processes of all machines on all hosts that are on.
func (r *trial) hypervisors() (pids []int) {
	r.Helper()
	for _, h := range r.On() {
		its, err := h.PIDs(lab.Hypervisor, nil)
		r.Do(err)
		pids = append(pids, its...)
	}
	slices.Sort(pids)
	return pids
}

// expectProcesses fails the test unless the machines' processes are still these.
func (r *trial) expectProcesses(want []int) {
	r.Helper()
	if now := r.hypervisors(); !slices.Equal(now, want) {
		r.Errorf("the machines' processes were %v and are %v", want, now)
	}
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
			want, processes := r.Starts(), r.hypervisors()
			began := time.Now()
			r.inject(faultfs.Fault{Kind: faultfs.Hang}, r.Hosts...)
			for _, h := range r.Hosts {
				r.awaitStopped(h)
			}
			r.hold(began, length)
			before := r.counts()
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, r.Hosts...) // by nothing
			r.AwaitCounts(1, r.Machines...)
			r.expectFewClaims(before)
			r.awaitWhole()
			r.AwaitCounts(10, r.Machines...)
			r.ExpectStarts(want)
			r.refuse(restarts...)
			r.expectProcesses(processes)
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
			want := r.Starts().And(its)
			r.darken(h)
			r.awaitEvent("start-refused", others...)
			r.expire(h)
			r.AwaitStarts(want)
			r.AwaitCounts(20, its...)
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, h) // by nothing
			r.Network.Heal()
			r.awaitGone(h, its...)
			r.awaitWhole()
			r.AwaitCounts(20, r.Machines...)
			r.ExpectStarts(want)
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
	r.AwaitCounts(20, r.Machines...)
}

// TestPathLost takes a host's path to one datastore or to both away, by requests that
// hang or fail, while its network is well. The others hear it and vouch for it, so
// nobody takes its machines; when the path is back all go on.
func TestPathLost(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.Hang, faultfs.Error} {
		for datastores := 1; datastores <= 2; datastores++ {
			t.Run(fmt.Sprintf("%s, %d", kind, datastores), func(t *testing.T) {
				r := newTrial(t, lab.Options{}, 6)
				_, others := r.master()
				h, want, processes := others[0], r.Starts(), r.hypervisors()
				its := r.on(h)
				rest := slices.DeleteFunc(slices.Clone(r.Machines), func(m *lab.Machine) bool { return slices.Contains(its, m) })
				for _, d := range r.Datastores[:datastores] {
					r.Do(h.Storage(d).Inject(faultfs.Fault{Kind: kind}))
				}
				r.awaitEvent(map[faultfs.Kind]core.Kind{faultfs.Hang: "datastore-slow", faultfs.Error: "datastore-unavailable"}[kind], h)
				r.AwaitCounts(90, rest...) // longer than a takeover takes
				r.refuse(restarts...)
				r.inject(faultfs.Fault{Kind: faultfs.Slow}, h) // by nothing
				r.awaitWhole()
				r.AwaitCounts(10, r.Machines...)
				r.ExpectStarts(want)
				r.expectProcesses(processes)
			})
		}
	}
}

// TestRestoredDatastore deletes what Storebeat keeps on a datastore and restores it from
// a copy. Machines there stand still; they go on once the agents are started again, as
// docs/operations.md says. Those on the other datastore notice nothing.
func TestRestoredDatastore(t *testing.T) {
	r := newTrial(t, lab.Options{}, 4)
	sick, well := r.Datastores[0], r.homedOn(r.Datastores[1])
	folder, copied := filepath.Join(sick.Dir, ".storebeat"), filepath.Join(r.Dir, "copy")
	want := r.Starts()
	r.Do(exec.Command("cp", "-a", folder, copied).Run())
	r.Await("the folder to be deleted", func() (bool, string) {
		err := os.RemoveAll(folder)
		return err == nil, fmt.Sprint(err) // somebody may be making files there
	})
	for _, m := range r.homedOn(sick) {
		r.Await(m.Name+" to stand still", func() (bool, string) { return r.Watch.Silence(m) > 2*time.Second, "it counts" })
	}
	r.AwaitCounts(40, well...)
	r.Do(os.RemoveAll(folder))
	r.Do(os.Rename(copied, folder))
	for _, h := range r.Hosts {
		r.awaitEvent("datastore-distrusted", h)
	}
	r.AwaitCounts(40, well...)
	r.refuse(restarts...)
	r.ExpectStarts(want)
	for _, h := range r.Hosts {
		r.Do(h.StopAgent(r.ctx))
	}
	for _, h := range r.Hosts {
		r.Do(h.StartAgent())
	}
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	for _, m := range well {
		if _, runs := r.Watch.Newest(m); runs != want[m] {
			t.Errorf("%s was started %d times, not %d times", m.Name, runs, want[m])
		}
	}
}

// TestFullLocalStore fills up the disk of the master's journal. It leads on: it sees a
// host lost and has its machines started, once; nothing of its own is frozen.
func TestFullLocalStore(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	for _, h := range r.Hosts {
		r.Do(h.StopAgent(r.ctx))
		_, err := r.shell(h, "mount -t tmpfs -o size=64m none /var/lib/storebeat")
		r.Do(err)
		r.Do(h.StartAgent())
	}
	r.awaitWhole()
	r.began = time.Now()
	h, others := r.master()
	if _, err := r.shell(h, "dd if=/dev/zero of=/var/lib/storebeat/filler bs=4k"); err == nil {
		t.Error("its disk does not get full")
	}
	want := r.Starts().And(r.on(others[0]))
	r.Do(others[0].PowerOff())
	r.awaitEvent("term-closed", h)
	r.awaitEvent("start-ordered", h)
	r.AwaitStarts(want)
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.refuse("lease-lapsed", "machines-frozen", "guard-gone")
	_, err := r.shell(h, "rm /var/lib/storebeat/filler")
	r.Do(err)
	r.Do(h.KillAgent(r.ctx))
	r.Do(h.StartAgent())
	r.Do(others[0].PowerOn())
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
}

// TestLostReplies has requests of everybody succeed and be reported as failed, and then
// switches a host off. Links decide who has won, by what is there and not by what was
// reported; of names it is the same. What is not known to be durable counts for nothing:
// while syncs fail nobody starts anything. Guests' own writes and locks go on, so that
// they can be the judge.
func TestLostReplies(t *testing.T) {
	for _, c := range []struct {
		name  string
		ops   []faultfs.Op
		moves bool // while it lasts
	}{
		{"links", []faultfs.Op{faultfs.Link}, true},
		{"names", []faultfs.Op{faultfs.Create, faultfs.Rename, faultfs.Unlink, faultfs.Mkdir, faultfs.Rmdir}, true},
		{"syncs", []faultfs.Op{faultfs.Fsync, faultfs.FsyncDir}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 3)
			_, others := r.master()
			before, its := r.Starts(), r.on(others[0])
			r.inject(faultfs.Fault{Kind: faultfs.LostReply, Ops: c.ops}, r.Hosts...)
			r.Do(others[0].PowerOff())
			if c.moves {
				r.AwaitStarts(before.And(its))
			} else {
				r.awaitEvent("host-dead", r.On()...)
				r.AwaitCounts(40, slices.DeleteFunc(slices.Clone(r.Machines), func(m *lab.Machine) bool { return slices.Contains(its, m) })...)
				r.ExpectStarts(before)
			}
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, r.On()...) // by nothing
			r.AwaitStarts(before.And(its))
			r.awaitWhole()
			r.AwaitCounts(10, r.Machines...)
			r.ExpectStarts(before.And(its))
		})
	}
}

// TestBadWrites spoils every write of one host to one datastore: torn in the middle, so
// that its slot can't be read, or carried out and reported as failed. The others hear the
// host and vouch for it; no machine is started again, and all go on with their counts.
func TestBadWrites(t *testing.T) {
	for _, fault := range []faultfs.Fault{{Kind: faultfs.Torn, Bytes: 100}, {Kind: faultfs.LostReply, Ops: []faultfs.Op{faultfs.Write}}} {
		t.Run(string(fault.Kind), func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 6)
			want, processes := r.Starts(), r.hypervisors()
			_, others := r.master()
			h, sick := others[0], r.Datastores[0]
			r.Do(h.Storage(sick).Inject(fault))
			r.awaitEvent("datastore-failing", h)
			r.AwaitCounts(90, r.homedOn(r.Datastores[1])...) // longer than a takeover takes
			r.refuse(restarts...)
			h.Storage(sick).Heal()
			r.awaitWhole()
			r.AwaitCounts(10, r.Machines...)
			r.ExpectStarts(want)
			r.expectProcesses(processes)
		})
	}
}

// TestLyingPath has one host's writes be acknowledged and never carried out, and
// takes its network away: by what it wrote it has proof of life, and by what the
// others read it is dead. It reads its own slots and finds out.
func TestLyingPath(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	master, others := r.master()
	h := others[0]
	its := r.on(h)
	want := r.Starts().And(its)
	r.inject(faultfs.Fault{Kind: faultfs.Lying}, h)
	r.Network.Isolate(h)
	r.awaitEvent("datastore-distrusted", h)
	r.awaitStopped(h)
	r.awaitEvent("start-refused", master, others[1])
	r.expire(h)
	r.AwaitStarts(want)
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
}

// TestFullDatastore fills a datastore up. Machines there run on; those of a host
// that is lost are started elsewhere all the same.
func TestFullDatastore(t *testing.T) {
	r := newTrial(t, lab.Options{Size: "16m"}, 3)
	for _, d := range r.Datastores {
		r.Do(fill(filepath.Join(d.Dir, "filler")))
	}
	want := r.Starts()
	r.AwaitCounts(90, r.Machines...)
	r.refuse(restarts...)
	r.ExpectStarts(want)
	_, others := r.master()
	want = want.And(r.on(others[0]))
	r.Do(others[0].PowerOff())
	r.AwaitStarts(want)
	for _, d := range r.Datastores {
		r.Do(os.Remove(filepath.Join(d.Dir, "filler")))
	}
	r.Do(others[0].PowerOn())
	r.awaitWhole()
	r.ExpectStarts(want)
}

// TestStorageErrors has every write to all datastores fail for everybody. The guests
// stand still; when the storage is well again they go on with their counts.
func TestStorageErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			r := newTrial(t, lab.Options{}, 3)
			want := r.Starts()
			began := time.Now()
			r.inject(faultfs.Fault{Kind: faultfs.Error, Errno: errno, Ops: []faultfs.Op{faultfs.Write}}, r.Hosts...)
			r.hold(began, 15*time.Second)
			for _, m := range r.Machines {
				if silent := r.Watch.Silence(m); silent < 5*time.Second {
					r.Errorf("%s was heard %v ago, though its writes fail", m.Name, silent)
				}
			}
			r.inject(faultfs.Fault{Kind: faultfs.Slow}, r.Hosts...) // by nothing
			r.AwaitCounts(10, r.Machines...)
			r.awaitWhole()
			r.ExpectStarts(want)
			r.refuse(restarts...)
		})
	}
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

// TestSlowPath slows every request of one host down: a little, which nobody minds, and
// then so much that its heartbeats come late. The others hear it and vouch for it; its
// guests, whose writes are slow too, count on.
func TestSlowPath(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h, want, processes := others[0], r.Starts(), r.hypervisors()
	its := r.on(h)
	rest := slices.DeleteFunc(slices.Clone(r.Machines), func(m *lab.Machine) bool { return slices.Contains(its, m) })
	for _, delay := range []time.Duration{50 * time.Millisecond, 1500 * time.Millisecond} {
		r.inject(faultfs.Fault{Kind: faultfs.Slow, Delay: delay}, h)
		if delay > time.Second {
			r.awaitEvent("datastore-slow", h)
		}
		r.AwaitCounts(90, rest...) // longer than a takeover takes
		r.AwaitCounts(2, its...)
		r.refuse(restarts...)
	}
	r.inject(faultfs.Fault{Kind: faultfs.Slow}, h) // by nothing
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
	r.expectProcesses(processes)
}
