package check

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

// Answer takes part in a check that another host makes: it does in the datastore
// at path what the lines from in ask for, and answers each with a line to out. It
// ends with in. It writes into the other host's scratch folder only, and leaves it
// to that host to remove it.
func Answer(ctx context.Context, path string, in io.Reader, out io.Writer) error {
	if _, err := inspectFolder(path); err != nil {
		return err
	}
	lines, to := bufio.NewScanner(in), json.NewEncoder(out)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		r, err := decodeRequest(lines.Bytes())
		var a reply
		if err == nil {
			a, err = r.carryOut(ctx, path)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := to.Encode(a); err != nil {
			return fmt.Errorf("answering a check: %w", err)
		}
	}
	return lines.Err()
}

func (r request) carryOut(ctx context.Context, path string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Within)
	defer cancel()
	folder := filepath.Join(path, r.Folder)
	at := filepath.Join(folder, r.Name)
	switch r.Do {
	case doFind:
		return until(ctx, func() (bool, error) { return exists(folder) })
	case doRace:
		won, err := race(ctx, folder, r.Name, r.Rounds, true)
		return reply{Won: won}, err
	case doMiss: // in both ways, so that the client remembers both
		there, err := exists(at)
		there2, err2 := isListed(folder, r.Name)
		return reply{Done: !there && !there2}, errors.Join(err, err2)
	case doAwait:
		return until(ctx, func() (bool, error) { return isListed(folder, r.Name) })
	case doSee:
		return until(ctx, func() (bool, error) { return hasMark(at, r.Mark) })
	case doLock:
		return tryLock(at)
	case doBurden:
		return reply{}, burden(ctx, at)
	}
	return reply{}, fmt.Errorf("a check asks for %q, which this version does not know", r.Do)
}

// until looks again and again. That it is never there is no error. What it took is known
// by the last look that missed it, at its begin: a look that takes its time is slow, and
// does not miss what is there.
func until(ctx context.Context, there func() (bool, error)) (reply, error) {
	began, missed := time.Now(), time.Duration(0)
	for {
		at := time.Since(began)
		done, err := there()
		if done || err != nil {
			return reply{Done: done, Took: missed}, err
		}
		missed = at
		select {
		case <-ctx.Done():
			return reply{Took: missed}, nil
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isListed looks for a name as a store looks for the next value of a register.
func isListed(folder, name string) (bool, error) {
	names, err := store.List(folder)
	return slices.Contains(names, name), err
}

// racePace is between two names of a race, so that hosts which begin at slightly
// different times are still at it together.
const racePace = 2 * time.Millisecond

// race goes for names one after the other, with a record named like its owner. Two
// that go backwards and forwards meet.
func race(ctx context.Context, folder, own string, rounds int, backwards bool) (won []int, err error) {
	r, err := newRacer(folder, own)
	if err != nil {
		return nil, err
	}
	defer r.folder.Close()
	for i := range rounds {
		if backwards {
			i = rounds - 1 - i
		}
		first, err := r.goFor(hostRound(i))
		if err := errors.Join(err, ctx.Err()); err != nil {
			return won, err
		}
		if first {
			won = append(won, i)
		}
		time.Sleep(racePace)
	}
	return won, nil
}

func hostRound(i int) string { return fmt.Sprintf("hosts-%d", i) }

// openSlot opens a file of one slot past the page cache, if the file system does that.
func openSlot(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Open(path)
	}
	return f, err
}

// hasMark reads a slot as heartbeats are read.
func hasMark(path string, mark byte) (bool, error) {
	buf, release, err := alignedSlot()
	if err != nil {
		return false, err
	}
	defer release()
	f, err := openSlot(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if _, err := f.ReadAt(buf, 0); err != nil {
		return false, err
	}
	return bytes.Count(buf, []byte{mark}) == datastorehb.SlotSize, nil
}

// tryLock takes an image's kind of lock, and gives it back at once.
func tryLock(path string) (reply, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return reply{}, err
	}
	defer f.Close()
	err = setLock(f, unix.F_OFD_SETLK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return reply{}, nil
	}
	return reply{Done: err == nil}, err
}

// What a bulk writer writes: blocks, one after the other, over a file that is small
// enough to do no harm.
const (
	burdenBlock  = 1 << 20
	burdenBlocks = 64
)

// burden writes as fast as it can until the context ends, as a machine does that
// copies its disk.
func burden(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	block := bytes.Repeat([]byte("storebeat"), burdenBlock/9+1)[:burdenBlock]
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := f.WriteAt(block, int64(i%burdenBlocks)*burdenBlock); err != nil {
			return err
		}
		if i%8 == 7 { // what lies in memory burdens nobody
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// shares says how many rounds each has won, in words.
func shares(tallies []tally, all []string) string {
	var words []string
	for _, name := range all {
		n := 0
		for _, t := range tallies {
			if t.winner == name {
				n++
			}
		}
		words = append(words, fmt.Sprintf("%s won %d", name, n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
