package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	racers      = 16 // goroutines that go for one name
	raceRounds  = 20
	noExclusive = "use a file system with exclusive link(2), such as NFS 4.1 or later or a cluster file system; on this one two hosts could both win a claim"
)

// tally counts how one race for a name went.
type tally struct {
	told   []string // who was told that they won
	winner string   // whose content the name holds
}

// judge says what is wrong with a race; "" when it had exactly one winner. A
// winner who was told that they lost is none: replies get lost, which is why a
// claim is judged by its content (R2).
func (t tally) judge(round int) string {
	switch {
	case len(t.told) > 1:
		return fmt.Sprintf("round %d: %d racers were told that they won: %s", round, len(t.told), strings.Join(t.told, ", "))
	case t.winner == "":
		return fmt.Sprintf("round %d: nobody won", round)
	case len(t.told) == 1 && t.told[0] != t.winner:
		return fmt.Sprintf("round %d: %s was told that it won, and the name holds the record of %s", round, t.told[0], t.winner)
	}
	return ""
}

// racer is one contender: a record, named as its content, in a folder that it
// has opened for itself.
type racer struct {
	name   string
	folder *os.File
}

func newRacer(dir, name string) (racer, error) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
		return racer{}, err
	}
	folder, err := os.Open(dir)
	return racer{name: name, folder: folder}, err
}

// newRacers makes all contenders at once. Those that were made are returned with the
// error, and are the caller's to close.
func newRacers(dir string) (made []racer, err error) {
	all, errs := make([]racer, racers), make([]error, racers)
	var ready sync.WaitGroup
	for i := range all {
		ready.Go(func() { all[i], errs[i] = newRacer(dir, fmt.Sprintf("racer-%d", i)) })
	}
	ready.Wait()
	for _, r := range all {
		if r.folder != nil {
			made = append(made, r)
		}
	}
	return made, errors.Join(errs...)
}

// goFor links the racer's record to the target and reports whether it was told
// that it won.
func (r racer) goFor(target string) (bool, error) {
	fd := int(r.folder.Fd())
	err := unix.Linkat(fd, r.name, fd, target, 0)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("linkat", err)
}

// checkLinkRace has many goroutines, each with the folder opened for itself, go
// for the same name at once, as hosts do for a claim.
func checkLinkRace(p *probe) []Finding {
	const name = "exclusive names"
	began := time.Now()
	all, err := newRacers(p.scratch)
	defer func() {
		for _, r := range all {
			_ = r.folder.Close()
		}
	}()
	if err != nil {
		return p.broken(name, err, noExclusive)
	}
	// Slow storage has time for fewer rounds, but for one at least.
	for round := 0; round < raceRounds && (round == 0 || time.Since(began) < p.opts.Budget); round++ {
		t, err := linkRound(p.scratch, all, fmt.Sprintf("claim-%d", round))
		if err = errors.Join(err, p.ctx.Err()); err != nil {
			return p.broken(name, err, noExclusive)
		}
		if wrong := t.judge(round); wrong != "" {
			return one(name, Unsafe, wrong, noExclusive)
		}
		p.rounds = round + 1
	}
	return one(name, OK, fmt.Sprintf("%d racers, %d rounds in %v: one winner each", racers, p.rounds, time.Since(began).Round(time.Millisecond)), "")
}

// linkRound is one race: all start when the last one is ready.
func linkRound(dir string, all []racer, target string) (t tally, err error) {
	told, errs := make([]bool, len(all)), make([]error, len(all))
	var ready, finished sync.WaitGroup
	ready.Add(len(all))
	for i, r := range all {
		finished.Go(func() {
			ready.Done()
			ready.Wait()
			told[i], errs[i] = r.goFor(target)
		})
	}
	finished.Wait()
	for i, r := range all {
		if told[i] {
			t.told = append(t.told, r.name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return t, err
	}
	content, err := os.ReadFile(filepath.Join(dir, target))
	t.winner = string(content)
	return t, err
}

// writeDurably creates a file and syncs it.
func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// linkScript waits for a line on its input, then tries to win each round and
// prints the rounds that it was told it won.
const linkScript = `read go; i=0; while [ $i -lt $3 ]; do ln "$1/$2" "$1/process-$i" 2>/dev/null && echo $i; i=$((i+1)); done`

// checkProcessRace has two processes go for the same names. They are shells with
// ln, which calls nothing but link(2), so they share no state with this process.
func checkProcessRace(p *probe) []Finding {
	const name = "exclusive names between processes"
	for _, program := range []string{"sh", "ln"} {
		if _, err := exec.LookPath(program); err != nil {
			return one(name, Warning, "not tried: "+program+" is not there", "install "+program)
		}
	}
	tallies, err := processRace(p)
	if err == nil {
		err = p.ctx.Err()
	}
	if err != nil {
		return p.broken(name, err, noExclusive)
	}
	for round, t := range tallies {
		if wrong := t.judge(round); wrong != "" {
			return one(name, Unsafe, wrong, noExclusive)
		}
	}
	return one(name, OK, fmt.Sprintf("2 processes, %d rounds: one winner each", len(tallies)), "")
}

// processRounds is how many names two processes go for: as many as the race before had
// time for.
func (p *probe) processRounds() int { return max(p.rounds, 1) }

func processRace(p *probe) ([]tally, error) {
	contenders := []string{"process-a", "process-b"}
	outputs := make([]bytes.Buffer, len(contenders))
	var starts []io.WriteCloser
	var waits []func() error
	var err error
	for i, own := range contenders {
		var cmd *exec.Cmd
		var start io.WriteCloser
		if cmd, start, err = startContender(p, own, &outputs[i]); err != nil {
			break
		}
		starts, waits = append(starts, start), append(waits, cmd.Wait)
	}
	if err = errors.Join(err, letGo(starts, waits)); err != nil {
		return nil, err
	}
	tallies := make([]tally, p.processRounds())
	for i, own := range contenders {
		noteTold(tallies, own, outputs[i].String())
	}
	return tallies, readWinners(p.scratch, tallies)
}

// startContender starts a shell that waits for a line before it races.
func startContender(p *probe, own string, output io.Writer) (*exec.Cmd, io.WriteCloser, error) {
	if err := os.WriteFile(filepath.Join(p.scratch, own), []byte(own), 0o600); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(p.ctx, "sh", "-c", linkScript, "sh", p.scratch, own, strconv.Itoa(p.processRounds()))
	cmd.Stdout, cmd.WaitDelay = output, time.Second
	start, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, start, cmd.Start()
}

// noteTold notes the rounds that a contender printed.
func noteTold(tallies []tally, own, output string) {
	for word := range strings.FieldsSeq(output) {
		if round, err := strconv.Atoi(word); err == nil && round >= 0 && round < len(tallies) {
			tallies[round].told = append(tallies[round].told, own)
		}
	}
}

// letGo starts the race and waits for its end. The last ln of a loser fails, and
// with it the shell, so an exit code other than 0 means nothing.
func letGo(starts []io.WriteCloser, waits []func() error) (err error) {
	for _, s := range starts {
		_, e := io.WriteString(s, "go\n")
		err = errors.Join(err, e, s.Close())
	}
	for _, wait := range waits {
		var exit *exec.ExitError
		if e := wait(); e != nil && !errors.As(e, &exit) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func readWinners(dir string, tallies []tally) error {
	for round := range tallies {
		content, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("process-%d", round)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		tallies[round].winner = string(content)
	}
	return nil
}
