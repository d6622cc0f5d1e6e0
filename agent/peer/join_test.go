package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

var (
	tokenKey = [32]byte{9}
	today    = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
)

func token(t testing.TB, id *Identity, members ...netip.AddrPort) Token {
	t.Helper()
	tok, err := id.NewToken(tokenKey, today, members)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTokenIsReadAsItWasMade(t *testing.T) {
	id := identity(t, key, cluster, 2)
	made := token(t, id, netip.MustParseAddrPort("192.0.2.1:7481"), netip.MustParseAddrPort("[2001:db8::1]:7481"))
	read, err := ParseToken(" " + made.String() + "\n")
	if err != nil || read.String() != made.String() || !read.Until.Equal(today) || read.Cluster != cluster || len(read.Members) != 2 {
		t.Fatalf("%+v, %v", read, err)
	}
	if err := read.Check(tokenKey, today.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := read.Check(tokenKey, today); err == nil || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("a token that ran out: %v", err)
	}
	if err := read.Check([32]byte{8}, today.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "cluster's key") {
		t.Errorf("a token of another cluster's key: %v", err)
	}
	read.Until = today.Add(time.Hour)
	if read.Check(tokenKey, today) == nil {
		t.Error("a token whose end was put off is taken")
	}
	many := make([]netip.AddrPort, 3*MaxTokenMembers)
	for i := range many {
		many[i] = netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:65535")
	}
	if long := token(t, id, many...); len(long.Members) != MaxTokenMembers || len(long.String()) > maxToken {
		t.Errorf("%d members, %d bytes", len(long.Members), len(long.String()))
	}
}

func TestTokenThatWasNotCopiedExactly(t *testing.T) {
	made := token(t, identity(t, key, cluster, 2), netip.MustParseAddrPort("192.0.2.1:7481"))
	text := made.String()
	for what, wrong := range map[string]string{
		"do not begin": "", "is too long": text + strings.Repeat("A", maxToken), "in full": text[:len(text)-3], "exactly": strings.Replace(text, text[30:31], "_", 1), "does not begin": "x" + text,
	} {
		if _, err := ParseToken(wrong); err == nil {
			t.Errorf("%s: taken", what)
		} else if strings.Contains(err.Error(), text[20:60]) {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
}

// joinTimes counts how often the handler was asked.
type joinTimes struct {
	mu sync.Mutex
	n  int
}

func (j *joinTimes) join(_ context.Context, body []byte) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n++
	if string(body) == "refuse" {
		return nil, errors.New("the token ran out")
	}
	return append([]byte("welcome "), body...), nil
}

func TestJoin(t *testing.T) {
	var j joinTimes
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{Join: j.join}, echo)
	tok := token(t, identity(t, key, cluster, 3), netip.MustParseAddrPort("127.0.0.1:1"), address) // the first does not answer
	ask := func(body string) (string, error) {
		c, err := DialJoin(within(t, patience), &tok)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if !c.Local().IsLoopback() {
			t.Errorf("the own address is %v", c.Local())
		}
		reply, err := c.Ask(within(t, patience), []byte(body))
		return string(reply), err
	}
	for range 2 { // the reply was lost the first time
		if reply, err := ask("gamma"); err != nil || reply != "welcome gamma" {
			t.Fatalf("%q, %v", reply, err)
		}
	}
	_, err := ask("refuse")
	if said, ok := errors.AsType[*RemoteError](err); !ok || said.Message != "the token ran out" {
		t.Errorf("refused: %v", err)
	}
	if _, err := ask(strings.Repeat("x", MaxJoin+1)); err == nil {
		t.Error("a request of any size is sent")
	}
	if j.n != 3 {
		t.Errorf("asked %d times", j.n)
	}
}

// TestJoinAsksTheRightCluster: what answers at the address has the key of another
// cluster, or none, and must not be believed.
func TestJoinAsksTheRightCluster(t *testing.T) {
	var j joinTimes
	for what, other := range map[string]*Identity{
		"another key":     identity(t, [32]byte{7}, cluster, 2),
		"another cluster": identity(t, key, uuid.UUID{1}, 2),
	} {
		address := serve(t, other, ServerOptions{Join: j.join}, echo)
		tok := token(t, identity(t, key, cluster, 3), address)
		if c, err := DialJoin(within(t, patience), &tok); err == nil {
			c.Close()
			t.Errorf("%s: believed", what)
		}
	}
	if j.n > 0 {
		t.Error("somebody was asked")
	}
}

// TestJoiningHostGetsNowhereElse: without a certificate there is one path.
func TestJoiningHostGetsNowhereElse(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{Join: new(joinTimes).join}, echo)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: joinName(cluster)}}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{messagePath: 404, alivePath: 404, joinPath: 200, "/": 404} {
		request, err := http.NewRequestWithContext(within(t, patience), http.MethodPost, "https://"+address.String()+path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, answer.StatusCode, want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	id, err := NewIdentity(key, cluster, 2)
	if err != nil {
		f.Fatal(err)
	}
	for _, addresses := range []string{"192.0.2.1:7481", "[2001:db8::1%eth0]:1"} {
		made := token(f, id, netip.MustParseAddrPort(addresses))
		f.Add(made.String())
	}
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		if made, err := ParseToken(text); err == nil && made.String() != strings.TrimSpace(text) {
			t.Fatalf("%q was read as %q", text, made.String())
		}
	})
}
