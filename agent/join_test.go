package agent

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"storebeat/agent/config"
	"storebeat/agent/peer"
	"storebeat/datastorehb"
)

// joinDesk makes the part of an agent that judges who may join.
func joinDesk(t *testing.T) *Agent {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "storebeat.hcl")
	content := config.Generate(config.Draft{Self: "alpha", RunDirectory: filepath.Join(dir, "run"), StateDirectory: filepath.Join(dir, "state")})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.WriteKey(filepath.Join(dir, "cluster.key"), config.NewKey()); err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load(path)
	if diags.HasErrors() {
		t.Fatal(config.Describe(diags))
	}
	a := &Agent{cfg: cfg, file: cfg, log: hclog.NewNullLogger(), self: datastorehb.Writer{Host: 1}}
	a.live.Store(cfg)
	var err error
	if a.identity, err = peer.NewIdentity(config.Derive(cfg.Key(), config.ForTLS), cfg.Cluster.UUID, 1); err != nil {
		t.Fatal(err)
	}
	a.acting.Store(cfg.Record())
	return a
}

// request is that of a host with a good token, in JSON.
func (a *Agent) request(t *testing.T, change func(*JoinRequest)) []byte {
	t.Helper()
	token, err := a.token(t.Context(), TokenRequest{For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	in := JoinRequest{Token: token.Token, Name: "gamma", Heartbeat: netip.MustParseAddrPort("192.0.2.3:7480"), Management: netip.MustParseAddrPort("192.0.2.3:7481"),
		Machine: uuid.UUID{3}, Levels: datastorehb.KnownLevels()}
	change(&in)
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestCheckJoin(t *testing.T) {
	a, other := joinDesk(t), joinDesk(t)
	if in, err := a.checkJoin(a.request(t, func(*JoinRequest) {})); err != nil || in.Name != "gamma" {
		t.Fatalf("%+v, %v", in, err)
	}
	old, err := a.identity.NewToken(a.tokenKey(), time.Now().Add(-time.Second), []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7481")})
	if err != nil {
		t.Fatal(err)
	}
	for want, body := range map[string][]byte{
		"ran out":                    a.request(t, func(in *JoinRequest) { in.Token = old.String() }),
		"not made with this":         other.request(t, func(*JoinRequest) {}),
		"the token is not valid":     a.request(t, func(in *JoinRequest) { in.Token = "" }),
		"no machine-id":              a.request(t, func(in *JoinRequest) { in.Machine = uuid.Nil }),
		"the cluster is at feature":  a.request(t, func(in *JoinRequest) { in.Levels = datastorehb.Levels{Lowest: 7, Highest: 8} }),
		"the request can't be read":  []byte(`{"token":"","wish":1}`),
		"request can't be read: use": nil,
	} {
		if _, err := a.checkJoin(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	a.acting.Store(nil)
	if _, err := a.token(t.Context(), TokenRequest{For: time.Hour}); err == nil {
		t.Error("a token was made without a cluster record")
	}
}

func TestTokensAreShortLived(t *testing.T) {
	a := joinDesk(t)
	for _, long := range []time.Duration{0, -time.Minute, LongestToken + 1} {
		if _, err := a.token(t.Context(), TokenRequest{For: long}); err == nil {
			t.Errorf("a token for %v was made", long)
		}
	}
	got, err := a.token(t.Context(), TokenRequest{For: time.Minute})
	if err != nil || strings.Contains(got.Token, a.cfg.Cluster.UUID.String()) {
		t.Fatalf("%+v, %v", got, err)
	}
	parsed, err := peer.ParseToken(got.Token)
	if err != nil || len(parsed.Members) != 2 || parsed.Members[0] != a.file.Hosts[0].Management {
		t.Errorf("%+v, %v: the member that makes it is asked first", parsed.Members, err)
	}
}

// FuzzCheckJoin: anybody can send a request.
func FuzzCheckJoin(f *testing.F) {
	f.Add([]byte(`{"token":"storebeat-join-1-AAAA","name":"gamma","heartbeat":"192.0.2.3:7480"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &Agent{cfg: config.Default(), log: hclog.NewNullLogger()}
		if _, err := a.checkJoin(body); err == nil {
			t.Errorf("%q joins without a token", body)
		}
	})
}
