package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// client returns the way to this host's agent: the socket given, or the one of
// the configuration. A computer without a configuration may still have an agent
// where one is by default.
func (a *app) client() (*control.Client, error) {
	if a.socket != "" {
		return control.NewClient(a.socket), nil
	}
	cfg, err := a.readConfig()
	if err == nil {
		return control.NewClient(cfg.ControlSocket), nil
	}
	if _, missing := os.Stat(a.config); errors.Is(missing, fs.ErrNotExist) && a.config == config.DefaultPath {
		return nil, control.Errorf(control.NotRunning, "there is no configuration %s that says where the agent is", a.config).
			WithRemedy("name one with --config, or the agent's socket with --socket; \"storebeat init\" begins a new cluster")
	}
	return nil, err
}

// call runs one method of the agent.
func (a *app) call(ctx context.Context, method string, in, out any) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := a.withTimeout(ctx)
	defer cancel()
	return client.Call(ctx, method, in, out)
}

// cluster is a view with what is looked up in it.
type cluster struct{ core.View }

// view asks for the master's view, or with local for this host's own.
func (a *app) view(ctx context.Context, local bool) (cluster, error) {
	var c cluster
	err := a.call(ctx, agent.MethodView, agent.ViewRequest{Local: local}, &c.View)
	return c, err
}

func (c cluster) host(name string) (core.HostView, error) {
	var names []string
	for _, h := range c.Hosts {
		if h.Name == name || fmt.Sprint(h.ID) == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return core.HostView{}, notFound("host", name, names, "storebeat host list")
}

func (c cluster) datastore(name string) (core.DatastoreView, error) {
	var names []string
	for _, d := range c.Datastores {
		if d.Name == name || d.ID.String() == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return core.DatastoreView{}, notFound("datastore", name, names, "storebeat datastore list")
}

// machine prefers the protected one of several machines with one name.
func (c cluster) machine(name string) (core.MachineView, error) {
	var found *core.MachineView
	var names []string
	for i := range c.Machines {
		m := &c.Machines[i]
		if m.VM.String() == name {
			return *m, nil
		}
		if m.Name == name && (found == nil || m.Protected) {
			found = m
		}
		names = append(names, m.Name)
	}
	if found == nil {
		return core.MachineView{}, notFound("machine", name, names, "storebeat vm list --all")
	}
	return *found, nil
}

func (c cluster) hostName(id datastorehb.HostID) string {
	for _, h := range c.Hosts {
		if h.ID == id {
			return h.Name
		}
	}
	return fmt.Sprintf("host %d", id)
}

func (c cluster) machineName(id uuid.UUID) string {
	for _, m := range c.Machines {
		if m.VM == id && m.Name != "" {
			return m.Name
		}
	}
	return id.String()
}

// notFound names what there is, if it fits into a line, or else what is spelled alike.
func notFound(what, name string, names []string, list string) error {
	remedy := fmt.Sprintf("see `%s`", list)
	if near := nearest(name, names); near != "" {
		remedy = fmt.Sprintf("do you mean %s? All are shown by `%s`", near, list)
	}
	if len(names) > 0 && len(names) <= 6 {
		remedy = "known are " + strings.Join(names, ", ")
	}
	if len(names) == 1 {
		remedy = "the only one is " + names[0]
	}
	return control.Errorf(control.NotFound, "there is no %s %q", what, name).WithRemedy("%s", remedy)
}

// nearest returns the name that is spelled most like the one given, or nothing if
// none differs in less than three letters.
func nearest(name string, names []string) (best string) {
	least := 3
	for _, other := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(other)); d < least {
			best, least = other, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or change that make a of b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
