package nfslab_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"storebeat/agent/journal"
	"storebeat/test/lab"
	"storebeat/test/nfslab"
)

// TestServerStops has the server stand still for longer than any lease of the
// hosts, though not for as long as it keeps locks, and go on. The machines stand still and go on with their counts; none is
// started again.
func TestServerStops(t *testing.T) {
	r := newTrial(t, nfslab.Options{Lease: 60 * time.Second}, 3)
	want := r.Starts()
	r.stopServer(20 * time.Second)
	for _, m := range r.Machines {
		if silent := r.Watch.Silence(m); silent < 10*time.Second {
			r.Errorf("%s was heard %v ago, though its storage has stood still for 20 s", m.Name, silent)
		}
	}
	r.Do(r.Server.Continue())
	r.AwaitCounts(10, r.Machines...)
	r.awaitWhole()
	r.ExpectStarts(want)
	r.refuse(restarts...)
}

// stopServer has the server stand still for so long.
func (r *trial) stopServer(length time.Duration) {
	r.Helper()
	r.Do(r.Server.Stop())
	began := time.Now()
	r.Await(fmt.Sprintf("the server to have stood still for %v", length), func() (bool, string) { return time.Since(began) > length, "not yet" })
}

// TestServerForgets has the server stand still for longer than it keeps locks, so
// that every host has lost them when it goes on: no request of the machines that
// run succeeds any more. They are started again, each once.
func TestServerForgets(t *testing.T) {
	r := newTrial(t, nfslab.Options{Lease: 10 * time.Second}, 1)
	want := r.Starts().And(r.Machines)
	r.stopServer(25 * time.Second)
	r.Do(r.Server.Continue())
	r.AwaitStarts(want)
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
}

// TestServerRestarts kills the server and starts it again. Clients claim their
// locks again; the machines go on where they were.
func TestServerRestarts(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 3)
	want := r.Starts()
	r.Do(r.Server.Kill())
	r.Do(r.Server.Start())
	r.AwaitCounts(20, r.Machines...)
	r.awaitWhole()
	r.AwaitCounts(50, r.Machines...)
	r.ExpectStarts(want)
	r.refuse(restarts...)
}

// cachedForAnHour are options of a mount with which a client believes for an hour
// what it knows of names and directories, unless it is made to ask the server. The
// default is a minute at most: what waits for a cache is late with that, and never
// comes here.
const cachedForAnHour = "acregmin=3600,acregmax=3600,acdirmin=3600,acdirmax=3600"

// TestCaches moves a machine from host to host: each has looked for the names of
// the next claims in vain shortly before another makes them, and has the directories
// in its cache. Each sees at once what it must, and nobody takes anybody for silent.
// At last a datastore's folder is put in the place of another: every host notices.
func TestCaches(t *testing.T) {
	r := newTrial(t, nfslab.Options{Mount: cachedForAnHour}, 1)
	m := r.Machines[0]
	want := r.Starts()
	for range 4 {
		was, _ := r.Watch.Newest(m)
		want = want.And(r.Machines)
		began := time.Now()
		_, err := r.Hosts[0].Run(r.ctx, fmt.Sprintf("storebeat host maintenance on %s --move", was.Host))
		r.Do(err)
		r.AwaitStarts(want)
		is, _ := r.Watch.Newest(m)
		r.Logf("from %s to %s in %v", was.Host, is.Host, time.Since(began))
		if is.Host == was.Host {
			r.Errorf("it was started on %s again", is.Host)
		}
		_, err = r.Hosts[0].Run(r.ctx, fmt.Sprintf("storebeat host maintenance off %s", was.Host))
		r.Do(err)
	}
	r.awaitWhole()
	r.AwaitCounts(10, m)
	r.ExpectStarts(want)
	r.refuse(append(changes, "term-closed")...)
	r.replace(r.Datastores[1])
	r.AwaitCounts(10, m)
	r.ExpectStarts(want)
}

// replace has a host put a copy of a datastore in its place, and waits until every
// host has noticed. The former one stays, elsewhere, and answers those who have it open.
func (r *trial) replace(d lab.Datastore) {
	r.Helper()
	_, err := r.Hosts[2].Run(r.ctx, fmt.Sprintf("cd /mnt/%s && cp -a .storebeat copy && mv .storebeat former && mv copy .storebeat", d.Name))
	r.Do(err)
	began := time.Now()
	for _, h := range r.Hosts {
		r.Await(h.Name+" to notice that "+d.Name+" was replaced", func() (bool, string) {
			events, err := h.Events(r.ctx)
			return slices.ContainsFunc(events, func(e journal.Entry) bool { return e.Kind == "datastore-distrusted" && e.By == h.ID }), fmt.Sprint(err)
		})
		r.Logf("%s noticed %v after %s was replaced", h.Name, time.Since(began), d.Name)
	}
}
