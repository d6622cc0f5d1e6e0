package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/clock"
	"storebeat/agent/config"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/agent/peer"
	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

func newHostToken(a *app) *cobra.Command {
	in := agent.TokenRequest{For: time.Hour}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which a new host joins the cluster",
		Long: `Prints a token for "storebeat join" on a new host. Every member takes it until it runs
out, for any number of hosts.

Until then, whoever has the token and reaches a member on the network is given the
cluster key, and with it can speak as any host, for ever. Carry it as you would carry
the key, and make it for no longer than you need. Nothing is kept of it: it can't be
taken back.`,
		Example: `  storebeat host token
  storebeat host token --for 10m`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out agent.TokenResult
			if err := a.call(cmd.Context(), agent.MethodToken, in, &out); err != nil {
				return err
			}
			return a.print(out, func() error {
				fmt.Fprintf(a.errOut, "note: it is good until %s; on the new host: storebeat join TOKEN\n", out.Until.Local().Format(time.DateTime))
				_, err := fmt.Fprintln(a.out, out.Token)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&in.For, "for", in.For, fmt.Sprintf("how `long` the token is good, up to %v", agent.LongestToken))
	return cmd
}

// joinOptions are the wishes of a host that joins.
type joinOptions struct {
	name       string
	addresses  addressOptions
	datastores []string
	drivers    []string
	replace    bool

	runDirectory, stateDirectory string
}

func newJoin(a *app) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Join a cluster with a token from one of its members",
		Long: `Makes this computer a host of a cluster: a member named in the token has it added to
the cluster record, and gives it the cluster key; configuration and key are written to
the folder of --config. Then start the agent. TOKEN is what "storebeat host token"
prints on any member; with - it is read from standard input.

The name is this computer's host name without its domain, the address that from which
the member is reached, and datastores are where the member has them, unless something
else is given. The program must know the cluster's feature level.

It can be repeated with the same token: what was done already is not done twice.`,
		Example: `  storebeat join storebeat-join-1-…
  storebeat join - --name gamma --address 10.0.0.3 --datastore nfs1=/srv/nfs1`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.joinCluster(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.name, "name", "", "`name` of this host")
	o.addresses.flags(cmd, "`address` of this host for network heartbeats")
	cmd.Flags().StringArrayVar(&o.datastores, "datastore", nil, "where a datastore is mounted here, as `NAME=PATH`; may be repeated")
	driverFlag(cmd, &o.drivers)
	cmd.Flags().StringVar(&o.runDirectory, "run-directory", "", "where the agent has its sockets, if not in the usual `folder`")
	cmd.Flags().StringVar(&o.stateDirectory, "state-directory", "", "where the agent keeps its state, if not in the usual `folder`")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "this computer takes the place of the member of that name, which is off")
	return cmd
}

// joined is what `join` prints with -o json.
type joined struct {
	Cluster string                `json:"cluster"`
	Host    string                `json:"host"`
	ID      datastorehb.HostID    `json:"id"`
	Config  string                `json:"config"`
	Key     string                `json:"key"`
	Notes   []string              `json:"notes"`
	Before  bool                  `json:"before"` // it had joined before
	member  *clusterrecord.Member // nil when nobody was asked
}

func (a *app) joinCluster(ctx context.Context, text string, o joinOptions) error {
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.in, 4096))
		if err != nil {
			return fail(exitUsage, "reading the token: %w", err)
		}
		text = string(raw)
	}
	token, err := peer.ParseToken(text)
	if err != nil {
		return fail(exitUsage, "the token is not valid: %w", err)
	}
	path := absolute(a.config)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return a.joinedBefore(path, &token)
	}
	paths, err := o.paths()
	if err != nil {
		return err
	}
	answer, err := a.askToJoin(ctx, &token, text, o)
	if err != nil {
		return err
	}
	done := joined{Cluster: answer.Cluster, Host: answer.Member.Name, ID: answer.Member.ID, Config: path, member: &answer.Member}
	if err := a.settleIn(&done, answer, o.draft(answer, &token), paths); err != nil {
		return fmt.Errorf("%s is a member of cluster %s now, with id %d, and this computer is not ready yet: %w; repeat the command with the same token", done.Host, done.Cluster, done.ID, err)
	}
	return a.print(done, func() error { return a.tellJoined(done) })
}

// joinedBefore is about a computer that has a configuration already.
func (a *app) joinedBefore(path string, t *peer.Token) error {
	cfg, diags := config.Load(path)
	if diags.HasErrors() {
		return fmt.Errorf("%s exists already, and is not sound: %w; repair it, or remove it and join again", path, badConfig(diags))
	}
	if cfg.Cluster.UUID != t.Cluster {
		return fail(exitRefused, "%s exists already, and is for cluster %s (%s): nothing was done; remove it first if this computer shall leave that cluster", path, cfg.Cluster.Name, cfg.Cluster.UUID)
	}
	hostname, _ := os.Hostname()
	self, err := cfg.FindSelf("", hostname)
	if err != nil {
		return &failure{exitRefused, err}
	}
	done := joined{Cluster: cfg.Cluster.Name, Host: self.Name, ID: self.ID, Config: path, Key: cfg.Cluster.KeyFile, Before: true}
	return a.print(done, func() error { return a.tellJoined(done) })
}

// paths are those that were given, by the datastore's name.
func (o *joinOptions) paths() (map[string]string, error) {
	paths := map[string]string{}
	for _, s := range o.datastores {
		name, path, ok := strings.Cut(s, "=")
		if !ok || !filepath.IsAbs(path) {
			return nil, fail(exitUsage, "--datastore %q is not NAME=PATH with an absolute path: write it as in --datastore nfs1=/mnt/nfs1", s)
		}
		paths[name] = filepath.Clean(path)
	}
	return paths, nil
}

// askToJoin asks a member to take this computer in.
func (a *app) askToJoin(ctx context.Context, t *peer.Token, text string, o joinOptions) (*agent.JoinAnswer, error) {
	machine, err := clock.MachineID()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, 30*time.Second))
	defer cancel()
	j, err := peer.DialJoin(ctx, t)
	if err != nil {
		return nil, fail(exitUnavailable, "%w; is the way to the members' management addresses free?", err)
	}
	defer j.Close()
	in := agent.JoinRequest{Token: strings.TrimSpace(text), Name: o.name, Machine: machine, Levels: datastorehb.KnownLevels(), Replace: o.replace}
	if in.Name == "" {
		full, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("finding this computer's name: %w; give one with --name", err)
		}
		in.Name, _, _ = strings.Cut(full, ".")
	}
	if o.addresses.heartbeat == "" {
		o.addresses.heartbeat = j.Local().String()
	}
	var m clusterrecord.Member
	if err := o.addresses.fill(&m); err != nil {
		return nil, err
	}
	in.Heartbeat, in.Management = m.Heartbeat, m.Management
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	raw, err := j.Ask(ctx, body)
	if said, ok := errors.AsType[*peer.RemoteError](err); ok {
		return nil, fail(exitRefused, "%s", said.Message)
	}
	if err != nil {
		return nil, fail(exitUnavailable, "%w; this host may have been added: repeat the command with the same token", err)
	}
	answer := &agent.JoinAnswer{}
	if err := json.Unmarshal(raw, answer); err != nil {
		return nil, fmt.Errorf("the member's answer can't be read: %w; use the version of Storebeat that the cluster runs, and repeat the command", err)
	}
	return answer, nil
}

// settleIn writes key, cluster record and configuration, the configuration last: while it is not
// there, joining can be repeated.
func (a *app) settleIn(done *joined, answer *agent.JoinAnswer, draft config.Draft, paths map[string]string) error {
	for _, d := range answer.Datastores {
		path, given := paths[d.Name]
		if delete(paths, d.Name); !given {
			path = d.Path
		}
		if path == "" {
			return fail(exitUsage, "the member does not know where datastore %s is mounted: say so with --datastore %s=PATH", d.Name, d.Name)
		}
		draft.Datastores = append(draft.Datastores, config.Datastore{Name: d.Name, UUID: d.UUID, Path: path, AcceptNoBarrier: d.AcceptNoBarrier})
		if why := notThere(path, draft.UUID, d.UUID); why != "" {
			done.Notes = append(done.Notes, fmt.Sprintf("datastore %s: %s", d.Name, why))
		}
	}
	for name := range paths {
		return fail(exitUsage, "the cluster has no datastore %q that --datastore speaks of: add it with `storebeat datastore add` once this host has joined", name)
	}
	content := config.Generate(draft)
	cfg, diags := config.Parse(done.Config, content)
	if diags.HasErrors() {
		return badConfig(diags)
	}
	folder := filepath.Dir(done.Config)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	done.Key = filepath.Join(folder, config.Default().Cluster.KeyFile)
	if err := writeGivenKey(done.Key, answer.Key); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDirectory, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.StateDirectory, agent.RecordFile), answer.Record, 0o600); err != nil {
		return fmt.Errorf("writing the cluster record: %w", err)
	}
	return writeNew(done.Config, content)
}

// draft is the configuration but for its datastores.
func (o *joinOptions) draft(answer *agent.JoinAnswer, t *peer.Token) config.Draft {
	m := &answer.Member
	return config.Draft{Cluster: answer.Cluster, UUID: t.Cluster, Self: m.Name, RunDirectory: o.runDirectory, StateDirectory: o.stateDirectory, Drivers: o.drivers,
		Hosts: []config.Host{{Name: m.Name, ID: m.ID, Heartbeat: m.Heartbeat, Management: m.Management}}}
}

// notThere says why a path does not lead to the datastore, "" if it does.
func notThere(path string, cluster, datastore uuid.UUID) string {
	id, err := store.Identify(path, cluster)
	if err != nil {
		return err.Error()
	}
	if id.Datastore != datastore {
		return fmt.Sprintf("%s holds datastore %s (%q): mount the right one there", path, id.Datastore, id.Name)
	}
	return ""
}

// writeGivenKey writes the cluster key; the same one may be there already, from a
// join that did not come to its end.
func writeGivenKey(path, digits string) error {
	var key config.Key
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != len(key) {
		return errors.New("the member's answer holds no key: use the version of Storebeat that the cluster runs")
	}
	copy(key[:], raw)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return config.WriteKey(path, key)
	}
	have, err := config.ReadKey(path)
	if err != nil {
		return fmt.Errorf("%w; if it is left over from a join that was cut short, remove %s", err, path)
	}
	if have != key {
		return fmt.Errorf("%s is the key of another cluster: remove it first if this computer shall leave that one", path)
	}
	return nil
}

func (a *app) tellJoined(d joined) error {
	if d.Before {
		fmt.Fprintf(a.out, "This computer has joined cluster %s already, as %s (id %d): %s says so. Nothing was done.\n", d.Cluster, d.Host, d.ID, d.Config)
	} else {
		fmt.Fprintf(a.out, "This computer has joined cluster %s as %s (id %d), at %v.\nWrote %s\nWrote %s\n", d.Cluster, d.Host, d.ID, d.member.Heartbeat, d.Key, d.Config)
	}
	if len(d.Notes) > 0 {
		fmt.Fprintf(a.out, "\nNot ready yet; the agent goes on trying:\n  %s\n", strings.Join(d.Notes, "\n  "))
	}
	option := ""
	if d.Config != config.DefaultPath {
		option = " --config " + d.Config
	}
	start := "storebeat agent" + option
	if _, err := os.Stat(unitFile); err == nil && option == "" {
		start = "systemctl start storebeat"
	}
	_, err := fmt.Fprintf(a.out, "\nNext:\n  1. Start the agent:       %s\n  2. See that all is well:  storebeat status%s\n", start, option)
	return err
}
