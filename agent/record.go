package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// wallEvery is how often the core is told the time of day.
const wallEvery = 2 * time.Second

// RecordFile is the name of the file, in the state directory, that keeps the
// revision of the cluster record that this host acted on last.
const RecordFile = "cluster.record"

func (a *Agent) recordFile() string { return filepath.Join(a.cfg.StateDirectory, RecordFile) }

// recallRecord reads the revision that the forerunner acted on. What is damaged
// is left alone: the datastores have it. What only a newer program can read keeps
// this one from starting, since it could not take part.
func (a *Agent) recallRecord() (*cluster.Record, error) {
	payload, err := os.ReadFile(a.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r cluster.Record
	if err == nil {
		r, err = cluster.Decode(payload, datastorehb.KnownLevels())
	}
	switch {
	case errors.Is(err, cluster.ErrNewer):
		return nil, fmt.Errorf("%w: install the version of Storebeat that the other hosts run (%s is how this host knows)", err, a.recordFile())
	case err != nil:
		a.log.Warn("the kept cluster record can't be used; the datastores have it", "file", a.recordFile(), "error", err)
		return nil, nil
	}
	return &r, nil
}

// writeLevel is the feature level at which to write.
func (a *Agent) writeLevel() uint16 { return uint16(a.level.Load()) }

// keepRecord writes the revision that the core acts on.
func (a *Agent) keepRecord(e core.KeepRecord) {
	a.keeping.add("keep the cluster record", func() {
		name := a.recordFile()
		err := os.WriteFile(name+".new", e.Payload, 0o600)
		if err == nil {
			err = os.Rename(name+".new", name)
		}
		if err != nil {
			a.log.Warn("the cluster record can't be kept; the next agent begins with the configuration's timing", "file", name, "error", err)
		}
	})
}

func (d *datastore) readRecord() {
	d.catalogue.add("read cluster record", func() {
		var o core.RecordRead
		o.Span = d.span(func() error {
			rec, state, err := d.store().Newest(datastorehb.ClusterRecords())
			o.State, o.Newer = state, errors.Is(err, datastorehb.ErrFutureVersion)
			if err != nil || state != datastorehb.Valid {
				return err
			}
			r, err := cluster.Decode(rec.Payload, datastorehb.KnownLevels())
			if err == nil && r.Revision != rec.Number {
				err = fmt.Errorf("revision %d of the cluster record says that it is revision %d", rec.Number, r.Revision)
			}
			o.Record, o.Payload, o.Newer = &r, rec.Payload, errors.Is(err, cluster.ErrNewer)
			return corrupt(&o.State, err)
		})
		d.agent.observe(o)
	})
}

func (d *datastore) claimRecord(e core.ClaimRecord) {
	d.catalogue.add("claim cluster record", func() {
		o := core.RecordClaimed{Record: e.Record, Payload: e.Payload}
		o.Span, o.Outcome = d.claim(datastorehb.ClusterRecords(), e.Record.Revision, func() ([]byte, error) { return e.Payload, nil })
		d.agent.observe(o)
	})
}

// tellTime gives the core the time of day until ctx is done.
func (a *Agent) tellTime(ctx context.Context) {
	ticks := time.NewTicker(wallEvery)
	defer ticks.Stop()
	for {
		a.observe(core.WallClock{At: time.Now()})
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// clusterCommand has the master change the cluster record.
func (a *Agent) clusterCommand(ctx context.Context, cmd core.ClusterCommand) (CommandResult, error) {
	cmd.At = time.Now()
	r, err := a.changeByMaster(ctx, cmd)
	return result(r, err, "the master did not answer in time: the change may still be recorded", "look with `storebeat cluster show`, then repeat the command")
}

// electionTime is how long a command waits for a host that answers as the master.
// A master that was removed goes on being taken for it until the others have read so.
const electionTime = 10 * time.Second

// changeByMaster gives a wish to the master, whoever that comes to be. It is given again
// only where nothing was done.
func (a *Agent) changeByMaster(ctx context.Context, cmd core.ClusterCommand) (r core.Reply, err error) {
	for until := time.Now().Add(electionTime); ; {
		v, err := a.viewWithMaster(ctx)
		if err != nil {
			return r, err
		}
		elsewhere := !v.Leading && v.Master != 0
		r = core.Reply{}
		if elsewhere {
			err = a.askWithin(ctx, v.Master, envelope{Cluster: &cmd}, &r)
		} else {
			r, err = a.changeRecord(ctx, cmd)
		}
		if err != nil || !r.NotMaster || v.Cluster.Outcast != "" || time.Now().After(until) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// viewWithMaster returns this host's view once it has a master, or after a few
// seconds without one: one may just have been lost, or removed.
func (a *Agent) viewWithMaster(ctx context.Context) (core.View, error) {
	for until := time.Now().Add(3 * time.Second); ; {
		v, err := a.view(ctx)
		if err != nil || v.Master != 0 || v.Cluster.Outcast != "" || time.Now().After(until) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// changeRecord gives a wish to this host's core and waits for the answer.
func (a *Agent) changeRecord(ctx context.Context, cmd core.ClusterCommand) (core.Reply, error) {
	return a.wish(ctx, func(id uint64) core.Observation {
		cmd.ID = id
		return cmd
	})
}
