package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/core/cluster"
	"storebeat/agent/peer"
	"storebeat/datastorehb"
)

// LongestToken is how long a token is good for at most.
const LongestToken = 24 * time.Hour

// TokenRequest asks for a token to join the cluster with.
type TokenRequest struct {
	For time.Duration `json:"for"`
}

// TokenResult is a token, in the form in which it is carried.
type TokenResult struct {
	Token string    `json:"token"`
	Until time.Time `json:"until"`
}

// JoinRequest is what a host that joins tells a member. It bears repetition.
type JoinRequest struct {
	Token      string             `json:"token"`
	Name       string             `json:"name"`
	Heartbeat  netip.AddrPort     `json:"heartbeat"`
	Management netip.AddrPort     `json:"management"`
	Machine    uuid.UUID          `json:"machine"` // the computer's machine-id
	Levels     datastorehb.Levels `json:"levels"`  // that its program knows
	Replace    bool               `json:"replace"` // it takes the place of the member of that name
}

// JoinAnswer is what a host needs to take part.
type JoinAnswer struct {
	Cluster    string          `json:"cluster"` // its name
	Key        string          `json:"key"`     // the cluster key, in hexadecimal digits
	Member     cluster.Member  `json:"member"`
	Datastores []JoinDatastore `json:"datastores"`
	Record     []byte          `json:"record"` // the revision of the cluster record that goes, encoded
	Text       string          `json:"text"`   // what was done
}

// JoinDatastore is a datastore, with the path where the answering member has it.
type JoinDatastore struct {
	Name            string    `json:"name"`
	UUID            uuid.UUID `json:"uuid"`
	Path            string    `json:"path"`
	AcceptNoBarrier bool      `json:"accept_no_barrier"`
}

func (a *Agent) tokenKey() [32]byte { return config.Derive(a.cfg.Key(), config.ForTokens) }

// token makes a token. Nothing of it is kept: any member can check it by the key.
func (a *Agent) token(_ context.Context, in TokenRequest) (TokenResult, error) {
	if in.For <= 0 || in.For > LongestToken {
		return TokenResult{}, control.Errorf(control.Invalid, "a token for %v can't be had: choose up to %v", in.For, LongestToken)
	}
	if a.acting.Load() == nil {
		return TokenResult{}, control.Errorf(control.Unavailable, "there is no cluster record yet that a host could be added to").WithRemedy("wait until `storebeat cluster show` shows one")
	}
	own, ok := a.member(a.self.Host)
	if !ok {
		return TokenResult{}, control.Errorf(control.Refused, "this host is no member of the cluster: make the token on one")
	}
	members := []netip.AddrPort{own.Management}
	for _, m := range a.members() {
		if m.ID != own.ID {
			members = append(members, m.Management)
		}
	}
	t, err := a.identity.NewToken(a.tokenKey(), time.Now().Add(in.For), members)
	if err != nil {
		return TokenResult{}, err
	}
	return TokenResult{t.String(), t.Until}, nil
}

// join takes a host in that shows a token, and gives it the cluster key. A host
// that asks again, since it never had the answer, gets the same.
func (a *Agent) join(ctx context.Context, body []byte) ([]byte, error) {
	in, err := a.checkJoin(body)
	if err != nil {
		a.log.Warn("a host that wants to join was refused", "error", err)
		return nil, err
	}
	m := cluster.Member{Name: in.Name, Heartbeat: in.Heartbeat, Management: in.Management, Machine: in.Machine}
	done, err := a.clusterCommand(ctx, core.ClusterCommand{Verb: core.ClusterHostAdd, Member: &m, Replace: in.Replace})
	if err != nil {
		return nil, err
	}
	member, err := a.awaitMember(ctx, in)
	if err != nil {
		return nil, err
	}
	a.log.Info("a host has joined by a token", "host", member.Name, "id", member.ID, "machine", member.Machine)
	key := a.cfg.Key()
	acting := a.acting.Load()
	answer := JoinAnswer{Cluster: a.cfg.Cluster.Name, Key: hex.EncodeToString(key[:]), Member: member, Text: done.Text}
	if answer.Record, err = cluster.Encode(acting); err != nil {
		return nil, err
	}
	for _, d := range acting.Datastores {
		s, _ := a.settingsOf(d.ID)
		answer.Datastores = append(answer.Datastores, JoinDatastore{Name: d.Name, UUID: d.ID, Path: s.Path, AcceptNoBarrier: s.AcceptNoBarrier})
	}
	return json.Marshal(answer)
}

// checkJoin asks for a good token before it looks at anything else.
func (a *Agent) checkJoin(body []byte) (in JoinRequest, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return in, errors.New("the request can't be read: use the version of Storebeat that the cluster runs")
	}
	t, err := peer.ParseToken(in.Token)
	if err != nil {
		return in, fmt.Errorf("the token is not valid: %w", err)
	}
	if err := t.Check(a.tokenKey(), time.Now()); err != nil {
		return in, err
	}
	r := a.acting.Load()
	switch {
	case t.Cluster != a.cfg.Cluster.UUID:
		return in, errors.New("the token is for another cluster")
	case r == nil:
		return in, errors.New("there is no cluster record yet that a host could be added to: wait until `storebeat cluster show` shows one")
	case in.Machine == uuid.Nil:
		return in, errors.New("the host gave no machine-id")
	case !in.Levels.Know(r.Level):
		return in, fmt.Errorf("the cluster is at feature level %d, and the program of %s knows %s: install the version that the other hosts run", r.Level, in.Name, in.Levels)
	}
	return in, nil
}

// awaitMember waits until this host acts on a revision that has the new member.
func (a *Agent) awaitMember(ctx context.Context, in JoinRequest) (cluster.Member, error) {
	for {
		all := a.members()
		if at := slices.IndexFunc(all, func(m cluster.Member) bool { return m.Name == in.Name && m.Machine == in.Machine }); at >= 0 {
			return all[at], nil
		}
		select {
		case <-ctx.Done():
			return cluster.Member{}, fmt.Errorf("%s was added, and this host has not read it in time: join again with the same token", in.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
