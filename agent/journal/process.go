package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// StoreMain is the whole of the store process: it serves the store in dir to
// the agent at the other end of in and out, and returns when in ends, which it
// does when the agent closes it or is gone.
func StoreMain(dir string, in io.Reader, out io.Writer) error {
	yield()
	return serveStore(dir, whenEnded(in, endTime, func() { os.Exit(1) }), out)
}

// endTime is how long the store may take to close once the agent is gone. On a
// disk that is full or hangs Badger may never finish; nobody waits for it then.
const endTime = 10 * time.Second

// whenEnded returns what in says, and calls end some time after in has ended,
// whether or not anybody was reading just then.
func whenEnded(in io.Reader, after time.Duration, end func()) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		time.AfterFunc(after, end)
		w.CloseWithError(err) // nil: the end
	}()
	return r
}

// yield makes the process one that stands back: the agent and the machines come
// first, and the kernel may kill it before anything else. Signals meant for the
// agent must not keep it from writing the agent's last events.
func yield() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(32 << 20)
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
}

func serveStore(dir string, in io.Reader, out io.Writer) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	var first request
	if err := requests.Decode(&first); err != nil || first.Open == nil {
		return fmt.Errorf("the first request does not open the store (%v): this command is for the agent only", err)
	}
	s, movedAside, err := openStore(dir, *first.Open)
	if err != nil {
		return replies.Encode(reply{Trouble: troubleOf(err), Reason: oneLine(err), MovedAside: movedAside})
	}
	newest, err := s.read(query{Filter: Filter{Limit: first.Open.Newest}, Before: math.MaxUint64})
	if err := replies.Encode(answer(s, newest, err, movedAside)); err != nil {
		return errors.Join(err, s.close())
	}
	for {
		var r request
		if err := requests.Decode(&r); err != nil {
			return s.close()
		}
		reply := s.serve(r)
		err := replies.Encode(reply)
		if reply.Trouble == gone {
			return err // closing would write what nobody can read
		}
		if err != nil {
			return errors.Join(err, s.close())
		}
	}
}

func (s *store) serve(r request) reply {
	if r.List != nil {
		entries, err := s.read(*r.List)
		return answer(s, entries, err, "")
	}
	return answer(s, nil, s.write(r.Append), "")
}

func answer(s *store, entries []Entry, err error, movedAside string) reply {
	r := reply{Entries: entries, Last: s.last, MovedAside: movedAside, Trouble: troubleOf(err)}
	if err != nil {
		r.Reason = oneLine(err)
	}
	return r
}
