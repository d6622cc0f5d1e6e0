package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// These steps are made together with other hosts. Without peers they find nothing.

// hostRounds is how many names hosts go for.
const hostRounds = 40

// me is how this host's record is called in a race; no peer's name begins so.
const me = "this host"

// ask has every peer do something, all at the same time, and does here the same
// by itself meanwhile, if it is to.
func (p *probe) ask(r request, here func() error) (replies []reply, err error) {
	r.Folder = filepath.Base(p.scratch)
	replies, errs := make([]reply, len(p.links)), make([]error, len(p.links)+1)
	var all sync.WaitGroup
	for i, l := range p.links {
		own := r
		if r.Do == doRace || r.Do == doBurden { // each has a file of its own
			own.Name = fmt.Sprintf("%s-%d", r.Do, i)
		}
		all.Go(func() { replies[i], errs[i] = l.call(p.ctx, own) })
	}
	if here != nil {
		errs[len(p.links)] = here()
	}
	all.Wait()
	return replies, errors.Join(errs...)
}

const sameFolder = "mount the same file system there, and see that the program on that host can be started and may write to it"

// checkHosts waits until every peer sees the scratch folder.
func checkHosts(p *probe) []Finding {
	const name = "other hosts"
	if len(p.links) == 0 {
		return nil
	}
	replies, err := p.ask(request{Do: doFind, Within: longestSight}, nil)
	if err != nil {
		p.links = nil
		return p.broken(name, err, sameFolder)
	}
	var names []string
	for i, r := range replies {
		if !r.Done {
			name := p.links[i].peer.Name
			p.links = nil
			return one("other hosts", Unsafe, fmt.Sprintf("%s does not see the scratch folder after %v: what is mounted there is not this datastore", name, longestSight), sameFolder)
		}
		names = append(names, p.links[i].peer.Name)
	}
	return one(name, OK, "take part: "+strings.Join(names, ", "), "")
}

// checkHostRace has all hosts go for the same names, in opposite directions so
// that they meet whoever begins first.
func checkHostRace(p *probe) []Finding {
	const name = "exclusive names between hosts"
	if len(p.links) == 0 {
		return nil
	}
	var own []int
	replies, err := p.ask(request{Do: doRace, Rounds: hostRounds, Within: time.Minute}, func() (err error) {
		own, err = race(p.ctx, p.scratch, me, hostRounds, false)
		return err
	})
	tallies := make([]tally, hostRounds)
	racers := []string{me}
	note := func(name string, won []int) {
		for _, i := range won {
			if i >= 0 && i < len(tallies) {
				tallies[i].told = append(tallies[i].told, name)
			}
		}
	}
	note(me, own)
	for i, r := range replies {
		racer := fmt.Sprintf("%s-%d", doRace, i)
		racers = append(racers, racer)
		note(racer, r.Won)
	}
	for i := range tallies {
		content, readErr := os.ReadFile(filepath.Join(p.scratch, hostRound(i)))
		err = errors.Join(err, readErr)
		tallies[i].winner = string(content)
	}
	if err != nil {
		return p.broken(name, err, noExclusive)
	}
	for round, t := range tallies {
		if wrong := t.judge(round); wrong != "" {
			return one(name, Unsafe, p.named(wrong), noExclusive)
		}
	}
	p.seen.race = true
	return one(name, OK, fmt.Sprintf("%d hosts, %d rounds, one winner each: %s", len(racers), hostRounds, p.named(shares(tallies, racers))), "")
}

// named puts the names of hosts in the place of those of their records.
func (p *probe) named(text string) string {
	for i, l := range p.links {
		text = strings.ReplaceAll(text, fmt.Sprintf("%s-%d", doRace, i), l.peer.Name)
	}
	return text
}

const (
	// longestSight is for how long another host looks for what was made here: a name
	// that was missed may be taken for absent for a minute on NFS, by a program that
	// does not ask the server first.
	longestSight = 75 * time.Second
	// maxNameAge is how long a new name may go unseen without a warning. Names that are
	// seen late cost time, not safety: a claim is won or lost at the server.
	maxNameAge = 3 * time.Second
	sightMend  = "mount with lookupcache=positive,actimeo=1 (NFS) on every host, or use a file system that is up to date on all hosts"
)

// checkSight has the other hosts miss a name, makes it, and measures how long
// they go on missing it when they look as a store does; then the same with what a slot holds.
func checkSight(p *probe) []Finding {
	if len(p.links) == 0 {
		return nil
	}
	return slices.Concat(p.sightOfName(), p.sightOfSlot())
}

func (p *probe) sightOfName() []Finding {
	const name, file = "new names on other hosts", "made-here"
	if _, err := p.ask(request{Do: doMiss, Name: file, Within: time.Minute}, nil); err != nil {
		return p.broken(name, err, sightMend)
	}
	if err := writeDurably(filepath.Join(p.scratch, file), nil); err != nil {
		return p.broken(name, err, sightMend)
	}
	replies, err := p.ask(request{Do: doAwait, Name: file, Within: longestSight}, nil)
	if err != nil {
		return p.broken(name, err, sightMend)
	}
	slowest, who := p.slowest(replies)
	p.seen.names = true
	switch {
	case slowest > longestSight:
		return one(name, Unsafe, fmt.Sprintf("%s has not seen a name that was made here for %v", who, longestSight), sightMend)
	case slowest > maxNameAge:
		return one(name, Warning, fmt.Sprintf("%s saw a name that it had missed before %v late: it sees claims of others so late", who, slowest.Round(time.Millisecond)), sightMend)
	}
	return one(name, OK, fmt.Sprintf("seen after %v, though missed just before", slowest.Round(time.Millisecond)), "")
}

// sightOfSlot writes a slot as a heartbeat is written, and has it read as one.
func (p *probe) sightOfSlot() []Finding {
	const name, file = "heartbeats on other hosts", "beat"
	const remedy = "use a file system whose direct reads come from the server or disk: NFS 4.1 or later, or a cluster file system"
	buf, release, err := alignedSlot()
	if err != nil {
		return p.broken(name, err, remedy)
	}
	defer release()
	f, _, err := openDurable(filepath.Join(p.scratch, file))
	if err != nil {
		return p.broken(name, err, remedy)
	}
	defer f.Close()
	var slowest time.Duration
	for mark := byte(1); mark <= 5; mark++ {
		for i := range buf {
			buf[i] = mark
		}
		if _, err := f.WriteAt(buf, 0); err != nil {
			return p.broken(name, err, remedy)
		}
		replies, err := p.ask(request{Do: doSee, Name: file, Mark: mark, Within: longestSight}, nil)
		if err != nil {
			return p.broken(name, err, remedy)
		}
		took, who := p.slowest(replies)
		if took > p.opts.Timing.Interval {
			return one(name, Unsafe, fmt.Sprintf("%s has not read what was written here for %v: live hosts would be taken for silent", who, took.Round(time.Millisecond)), remedy)
		}
		slowest = max(slowest, took)
	}
	return one(name, OK, fmt.Sprintf("read at most %v after they were written", slowest.Round(time.Millisecond)), "")
}

// slowest returns which peer took the longest, and how long; more than there was
// time for if it never came to an end.
func (p *probe) slowest(replies []reply) (took time.Duration, who string) {
	for i, r := range replies {
		if !r.Done {
			r.Took = longestSight + 1
		}
		if took = max(took, r.Took); took == r.Took {
			who = p.links[i].peer.Name
		}
	}
	return took, who
}

// checkHostLocks holds a lock here that no other host may get.
func checkHostLocks(p *probe) []Finding {
	const name, file = "file locks between hosts", "lock-of-hosts"
	const remedy = "image locks need them: mount with working locks (NFS 4.1 or later, local_lock=none) on every host"
	if len(p.links) == 0 {
		return nil
	}
	path := filepath.Join(p.scratch, file)
	if err := writeDurably(path, []byte("lock")); err != nil {
		return p.broken(name, err, remedy)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return p.broken(name, err, remedy)
	}
	defer f.Close()
	for _, held := range []bool{true, false} {
		lock := unix.F_WRLCK
		if !held {
			lock = unix.F_UNLCK
		}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: int16(lock), Len: 1})
		for i := 0; err == nil && i < len(p.links); i++ { // one after the other, or they keep each other out
			var r reply
			r, err = p.links[i].call(p.ctx, request{Do: doLock, Folder: filepath.Base(p.scratch), Name: file, Within: time.Minute})
			if err == nil && r.Done == held {
				p.lockFault = fmt.Sprintf("%s got a lock that is held here: %t; it was held here: %t", p.links[i].peer.Name, r.Done, held)
				return one(name, Unsafe, p.lockFault, remedy)
			}
		}
		if err != nil {
			p.lockFault = err.Error()
			return p.broken(name, err, remedy)
		}
	}
	return one(name, OK, "a lock that is held here keeps other hosts out, until it is given up", "")
}

// checkLoad measures the latency again while this host, and every peer, write in
// bulk.
func checkLoad(p *probe) []Finding {
	const name = "write latency under load"
	if !p.opts.Load {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.root, &st); err != nil {
		return p.broken(name, os.NewSyscallError("statfs", err), "see whether the mount is alive")
	}
	if room := st.Bavail * uint64(max(st.Bsize, 0)); room < uint64(2*burdenBlock*burdenBlocks*(len(p.links)+1)) {
		return one(name, Warning, "not tried: there is too little room to write in bulk", "free some, or leave --load out")
	}
	l, err := p.latencyUnderLoad()
	if err != nil {
		return p.broken(name, err, "see whether the disk behind the mount is healthy")
	}
	p.loaded = &l
	findings := judgeLatency(l, p.opts.Timing)
	for i := range findings {
		findings[i].Name = name
	}
	return findings
}

func (p *probe) latencyUnderLoad() (l Latency, err error) {
	ctx, stop := context.WithTimeout(p.ctx, p.opts.Budget+loadBegins)
	defer stop()
	burdened := make(chan error, 1)
	go func() { burdened <- burden(ctx, filepath.Join(p.scratch, doBurden)) }()
	_, err = p.ask(request{Do: doBurden, Within: p.opts.Budget + loadBegins}, func() error {
		select {
		case <-p.ctx.Done():
		case <-time.After(loadBegins):
		}
		l, err = measureLatency(p, "loaded-slot")
		stop()
		return err
	})
	return l, errors.Join(err, <-burdened)
}

// loadBegins is how long the load has to come up.
const loadBegins = time.Second
