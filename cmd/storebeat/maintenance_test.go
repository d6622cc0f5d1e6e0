package main

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
)

// A host is empty only by the word of a master that has read where every machine is: neither
// another host's view nor that of a master which has just been elected will do.
func TestMaintenanceBelievesTheMasterAlone(t *testing.T) {
	host := []core.HostView{{ID: 2, Name: "beta"}}
	there := []core.MachineView{{Name: "web", State: "running", Host: 2, Protected: true, Desired: "running"}}
	read, unread := []core.DatastoreView{{Name: "ds1", State: "available", Scanned: true}}, []core.DatastoreView{{Name: "ds1", State: "available"}}
	views := []core.View{
		{Hosts: host, Datastores: read},
		{Hosts: host, Datastores: unread, Leading: true},
		{Hosts: host, Datastores: read, Machines: there, Leading: true},
		{Hosts: host, Datastores: read, Leading: true},
	}
	var asked atomic.Int64
	a := &app{socket: serveViews(t, views, &asked), timeout: time.Minute, out: &lockedBuffer{}, errOut: &lockedBuffer{}}
	if err := a.followMoves(t.Context(), "beta", staying); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); int(n) != len(views) {
		t.Errorf("it was said to be empty after %d looks, and is after %d", n, len(views))
	}
}

// Which machines come back is not known before such a master has said so.
func TestReturnBelievesTheMasterAlone(t *testing.T) {
	r := &returning{}
	h := core.HostView{ID: 2, Name: "beta", Returning: []uuid.UUID{uuid.New()}}
	if left := r.left(cluster{}, &h); len(left) > 0 || r.machines != nil {
		t.Errorf("without a master %v is left of %v", left, r.machines)
	}
}

// serveViews is an agent that shows one view after the other, and the last one from then on.
func serveViews(t *testing.T, views []core.View, asked *atomic.Int64) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := control.NewMux()
	control.Handle(m, agent.MethodView, func(context.Context, agent.ViewRequest) (core.View, error) {
		return views[min(int(asked.Add(1)), len(views))-1], nil
	})
	socket = filepath.Join(dir, "s")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Serve(ctx, m) }()
	t.Cleanup(func() { cancel(); <-done })
	return socket
}
