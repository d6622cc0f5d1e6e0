package check

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"
)

// Peer is another host that takes part in a check: there Answer runs, and talks
// with Run over the connection. Whoever made the connection closes it after Run.
type Peer struct {
	Name string
	Conn io.ReadWriter
}

// maxLine is the longest line that either side takes.
const maxLine = 64 << 10

// request has a peer do something in the scratch folder. It is one line of JSON.
type request struct {
	Do     string `json:"do"`
	Folder string `json:"folder"`         // name of the scratch folder
	Name   string `json:"name,omitempty"` // in it
	Rounds int    `json:"rounds,omitempty"`
	Mark   byte   `json:"mark,omitempty"`
	// How long it may take, so that a peer never works on when nobody listens.
	Within time.Duration `json:"within"`
}

// What a peer can be asked to do.
const (
	doFind   = "find"   // wait until the folder is there
	doRace   = "race"   // go for so many names
	doMiss   = "miss"   // look for a name that is not there
	doAwait  = "await"  // look for it until it is
	doSee    = "see"    // read a slot until it has the mark
	doLock   = "lock"   // take a lock and give it back
	doBurden = "burden" // write much until the time is up
)

// reply is what a peer answers, one line of JSON.
type reply struct {
	Error string        `json:"error,omitempty"`
	Won   []int         `json:"won,omitempty"`  // rounds
	Took  time.Duration `json:"took,omitempty"` // by the peer's clock
	Done  bool          `json:"done,omitempty"` // found, seen or locked
}

// decodeRequest reads one line from whoever makes the check.
func decodeRequest(line []byte) (r request, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("request %.80q of a check: %w; both hosts need a program of this version", line, err)
	}
	switch {
	case filepath.Base(r.Folder) != r.Folder || len(r.Folder) <= len(scratchPrefix) || r.Folder[:len(scratchPrefix)] != scratchPrefix:
		return r, fmt.Errorf("request of a check for folder %q: only scratch folders named %s… are touched", r.Folder, scratchPrefix)
	case r.Name != "" && (filepath.Base(r.Name) != r.Name || r.Name == "." || r.Name == ".."):
		return r, fmt.Errorf("request of a check for name %q, which is no plain name", r.Name)
	case r.Rounds < 0 || r.Rounds > maxRounds:
		return r, fmt.Errorf("request of a check for %d rounds: 0 to %d", r.Rounds, maxRounds)
	case r.Within <= 0 || r.Within > maxWithin:
		return r, fmt.Errorf("request of a check that may take %v: above 0, at most %v", r.Within, maxWithin)
	}
	return r, nil
}

const (
	maxRounds = 1000
	maxWithin = 5 * time.Minute
)

// decodeReply reads one line from a peer.
func decodeReply(line []byte) (r reply, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("it answers %.80q, which is no answer: %w", line, err)
	}
	return r, nil
}

// link is a connection to a peer. A call that was given up ends it: nobody knows
// any more what the next answer is for.
type link struct {
	peer  Peer
	lines chan []byte // closed at its end
	quit  chan struct{}

	mu   sync.Mutex
	dead error
}

func newLink(p Peer) *link {
	l := &link{peer: p, lines: make(chan []byte), quit: make(chan struct{})}
	go func() {
		defer close(l.lines)
		scanner := bufio.NewScanner(p.Conn)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case l.lines <- bytes.Clone(scanner.Bytes()):
			case <-l.quit:
				return
			}
		}
	}()
	return l
}

// call has the peer do something and waits for its answer, for a little longer
// than it may take.
func (l *link) call(ctx context.Context, r request) (reply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil {
		return reply{}, l.dead
	}
	a, err := l.ask(ctx, r)
	if err != nil {
		l.dead = fmt.Errorf("%s: %w", l.peer.Name, err)
		return a, l.dead
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", l.peer.Name, a.Error)
	}
	return a, nil
}

func (l *link) ask(ctx context.Context, r request) (reply, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return reply{}, err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := l.peer.Conn.Write(append(text, '\n'))
		sent <- err
	}()
	limit := time.NewTimer(r.Within + answerTime)
	defer limit.Stop()
	for {
		select {
		case err := <-sent:
			if err != nil {
				return reply{}, fmt.Errorf("it can't be reached: %w", err)
			}
			sent = nil
		case line, more := <-l.lines: // an early one, before it was asked, is taken for the answer
			if !more {
				return reply{}, errors.New("its end of the check is gone; is the program there, and of this version?")
			}
			return decodeReply(line)
		case <-limit.C:
			return reply{}, fmt.Errorf("it has not answered within %v", r.Within+answerTime)
		case <-ctx.Done():
			return reply{}, ctx.Err()
		}
	}
}

// answerTime is for the way there and back, and for making a connection.
const answerTime = 20 * time.Second
