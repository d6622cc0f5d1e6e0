package check

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// peerAt is another host, which has a folder mounted. What it answers goes through
// change first.
func peerAt(t *testing.T, name, folder string, change func(request, reply) reply) Peer {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines, to := bufio.NewScanner(there), json.NewEncoder(there)
		for lines.Scan() {
			r, err := decodeRequest(lines.Bytes())
			if err != nil {
				t.Error(err)
				return
			}
			a, err := r.carryOut(context.Background(), folder)
			if err != nil {
				a.Error = err.Error()
			}
			if change != nil {
				a = change(r, a)
			}
			if to.Encode(a) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		here.Close()
		there.Close()
		<-done
	})
	return Peer{name, here}
}

func checkWith(t *testing.T, folder string, load bool, peers ...Peer) Report {
	t.Helper()
	r, err := Run(withDeadline(t), folder, Options{Writes: 20, Load: load, Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	expectClean(t, folder)
	return r
}

// found returns the worst finding of a name.
func found(t *testing.T, r Report, name string) (worst Finding) {
	t.Helper()
	at := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Name == name })
	if at < 0 {
		t.Fatalf("nothing was found about %s: %+v", name, r.Findings)
	}
	return r.Findings[at]
}

var withPeers = []string{"other hosts", "exclusive names between hosts", "new names on other hosts", "heartbeats on other hosts", "file locks between hosts"}

func TestPeers(t *testing.T) {
	dir := t.TempDir()
	r := checkWith(t, dir, true, peerAt(t, "beta", dir, nil), peerAt(t, "gamma", dir, nil))
	for _, name := range withPeers {
		if f := found(t, r, name); f.Status != OK || f.Remedy != "" {
			t.Errorf("%+v", f)
		}
	}
	if f := found(t, r, "exclusive names between hosts"); !strings.Contains(f.What, "3 hosts") || !strings.Contains(f.What, "beta won") {
		t.Errorf("%+v", f)
	}
	if r.Loaded == nil || r.Loaded.Writes == 0 {
		t.Errorf("under load: %+v, %+v", r.Loaded, found(t, r, "write latency under load"))
	}
	if len(r.Unseen) != 0 {
		t.Errorf("not seen, though there were peers: %v", r.Unseen)
	}
}

func TestWithoutPeers(t *testing.T) {
	r := checkWith(t, t.TempDir(), false)
	for _, f := range r.Findings {
		if slices.Contains(withPeers, f.Name) || f.Name == "write latency under load" {
			t.Errorf("nobody asked for %+v", f)
		}
	}
	if len(r.Unseen) != 2 || r.Loaded != nil {
		t.Errorf("not seen: %v; under load: %+v", r.Unseen, r.Loaded)
	}
}

// TestFaultyPeers has one thing be wrong with what another host sees.
func TestFaultyPeers(t *testing.T) {
	lie := func(do string, change func(a *reply)) func(request, reply) reply {
		return func(r request, a reply) reply {
			if r.Do == do {
				change(&a)
			}
			return a
		}
	}
	for name, c := range map[string]struct {
		change  func(request, reply) reply
		finding string
		status  Status
		says    string
	}{
		"wins what another has won": {lie(doRace, func(a *reply) {
			a.Won = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 999, -1}
		}),
			"exclusive names between hosts", Unsafe, "beta"},
		"sees names late":  {lie(doAwait, func(a *reply) { a.Took = 21 * time.Second }), "new names on other hosts", Warning, "21s late"},
		"never sees names": {lie(doAwait, func(a *reply) { a.Done = false }), "new names on other hosts", Unsafe, "has not seen"},
		"reads from cache": {lie(doSee, func(a *reply) { a.Took = 3 * time.Second }), "heartbeats on other hosts", Unsafe, "taken for silent"},
		"locks for itself": {lie(doLock, func(a *reply) { a.Done = true }), "file locks between hosts", Unsafe, "beta got a lock"},
		"fails":            {lie(doRace, func(a *reply) { a.Error = "no links here" }), "exclusive names between hosts", Unsafe, "beta: no links here"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := checkWith(t, dir, false, peerAt(t, "beta", dir, c.change))
			f := found(t, r, c.finding)
			if f.Status != c.status || !strings.Contains(f.What, c.says) || f.Remedy == "" {
				t.Errorf("%+v", f)
			}
			for _, f := range r.Findings {
				if f.Name != c.finding && slices.Contains(withPeers, f.Name) && f.Status != OK {
					t.Errorf("besides: %+v", f)
				}
			}
		})
	}
}

// TestPeerElsewhere has another folder mounted on the other host.
func TestPeerElsewhere(t *testing.T) {
	elsewhere := func(r request, _ reply) reply { return reply{Done: false} } // as after a long search
	dir := t.TempDir()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close() })
	go func() {
		defer there.Close()
		lines := bufio.NewScanner(there)
		for lines.Scan() {
			r, _ := decodeRequest(lines.Bytes())
			if json.NewEncoder(there).Encode(elsewhere(r, reply{})) != nil {
				return
			}
		}
	}()
	r := checkWith(t, dir, false, Peer{"beta", here})
	if f := found(t, r, "other hosts"); f.Status != Unsafe || !strings.Contains(f.What, "not this datastore") {
		t.Errorf("%+v", f)
	}
	if len(r.Unseen) != 2 {
		t.Errorf("not seen: %v", r.Unseen)
	}
}

// TestPeerGone ends the other side at once, as a program does that is not there.
func TestPeerGone(t *testing.T) {
	here, there := net.Pipe()
	there.Close()
	r := checkWith(t, t.TempDir(), false, Peer{"beta", here})
	if f := found(t, r, "other hosts"); f.Status != Unsafe || !strings.Contains(f.What, "beta: it") {
		t.Errorf("%+v", f)
	}
}

// TestPeerHangs has the other side take a request and never answer: the check
// ends with its context, and says where it was.
func TestPeerHangs(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = bufio.NewReader(there).ReadString('\n')
		cancel()
	}()
	dir := t.TempDir()
	r, err := Run(ctx, dir, Options{Writes: 5, Peers: []Peer{{"beta", here}}})
	if err == nil || r.Complete {
		t.Errorf("it came to an end: %v %+v", err, r)
	}
	expectClean(t, dir)
}

func TestAnswer(t *testing.T) {
	dir := t.TempDir()
	scratch := filepath.Join(dir, scratchPrefix+"1")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		`{"do":"find","folder":".storebeat-check-1","within":1000000000}`:                      `"done":true`,
		`{"do":"find","folder":"../etc","within":1000000000}`:                                  "only scratch folders",
		`{"do":"find","folder":".storebeat","within":1000000000}`:                              "only scratch folders",
		`{"do":"miss","folder":".storebeat-check-1","name":"../../x","within":1000000000}`:     "no plain name",
		`{"do":"race","folder":".storebeat-check-1","name":"a","rounds":1e6,"within":1000000}`: "rounds",
		`{"do":"find","folder":".storebeat-check-1"}`:                                          "may take 0s",
		`{"do":"format","folder":".storebeat-check-1","within":1000000000}`:                    "does not know",
		`nonsense`: "of this version",
	} {
		var out strings.Builder
		if err := Answer(t.Context(), dir, strings.NewReader(text+"\n"), &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), says) {
			t.Errorf("%s: %s", text, out.String())
		}
	}
	if err := Answer(t.Context(), filepath.Join(dir, "none"), strings.NewReader(""), &strings.Builder{}); err == nil {
		t.Error("it takes part without a folder")
	}
}

// A look that is slow finds what is there; one that begins late and misses it says how late.
func TestUntilMeasuresWhatWasMissed(t *testing.T) {
	for name, c := range map[string]struct {
		looks []bool
		want  time.Duration
	}{
		"found by a slow look": {[]bool{true}, 0},
		"missed once":          {[]bool{false, true}, 0},
		"missed for long":      {[]bool{false, false, true}, 5*time.Second + 2*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				look := 0
				got, err := until(t.Context(), func() (bool, error) {
					time.Sleep(5 * time.Second) // virtual
					look++
					return c.looks[look-1], nil
				})
				if err != nil || !got.Done || got.Took != c.want {
					t.Errorf("%+v, %v; want %v", got, err, c.want)
				}
			})
		})
	}
}

// FuzzRequest has a host be asked for anything: it never leaves scratch folders.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"do":"see","folder":".storebeat-check-1","name":"beat","mark":3,"within":1000000000}`))
	f.Add([]byte(`{"folder":".storebeat-check-/../..","name":"..","within":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			return
		}
		if at := filepath.Join("/ds", r.Folder, r.Name); !strings.HasPrefix(at, "/ds/"+scratchPrefix) {
			t.Errorf("%q leads to %s", line, at)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"won":[1,2],"took":5,"done":true}`))
	f.Fuzz(func(_ *testing.T, line []byte) { _, _ = decodeReply(line) })
}
