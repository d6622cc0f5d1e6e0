package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Bounds of a record's fields.
const (
	// MaxMembers is how many hosts a cluster can have.
	MaxMembers = 1000
	// MaxDatastores is how many datastores a cluster can have.
	MaxDatastores = 255
	// MaxText is the longest text for people in a record, in bytes.
	MaxText = 200
	// MaxPause is the longest time for which a cluster can be paused at once.
	MaxPause = 7 * 24 * time.Hour
)

// Record is one revision of the cluster record. Lists are never changed in
// place: a record that was handed out stays as it is.
type Record struct {
	Revision   uint64             `json:"revision"` // not 0; each revision has a higher one than the one that it follows
	Level      uint16             `json:"level"`    // the feature level at which everything is written
	By         datastorehb.HostID `json:"by"`       // the master that made the revision
	At         time.Time          `json:"at"`       // by that host's wall clock, in UTC and whole seconds; for people
	Change     string             `json:"change"`   // what was changed; for people
	Timing     datastorehb.Timing `json:"timing"`
	Machines   poweron.Policy     `json:"machines"`   // what a machine gets that is protected without wishes of its own
	Members    []Member           `json:"members"`    // by their ids
	Removed    []Removed          `json:"removed"`    // members that were removed, by their ids
	Datastores []Datastore        `json:"datastores"` // by their UUIDs
	Voters     []uuid.UUID        `json:"voters"`     // the datastores most of which must hold the revision for it to count, ascending
	Pause      *Pause             `json:"pause"`      // nil while the cluster is not paused
}

// Member is one host of the cluster.
type Member struct {
	ID          datastorehb.HostID `json:"id"`
	Name        string             `json:"name"`
	Heartbeat   netip.AddrPort     `json:"heartbeat"`
	Management  netip.AddrPort     `json:"management"`
	Machine     uuid.UUID          `json:"machine,omitzero"` // of the computer that is the member; zero until it was heard
	Since       uint64             `json:"since"`            // the revision with which it joined
	Maintenance *Maintenance       `json:"maintenance"`      // nil while the host is not in maintenance
	Returning   []uuid.UUID        `json:"returning"`        // machines to be brought back after maintenance, ascending; nil for none
}

// Maintenance says that no machine is to be started on a host.
type Maintenance struct {
	Since time.Time `json:"since"` // as Record.At
	Move  bool      `json:"move"`  // the host's machines are moved elsewhere

	// Machines are those that were there when the move began, ascending; nil for none.
	Machines []uuid.UUID `json:"machines"`
}

// Removed is a host that left the cluster. Its id is not given to another one
// while machines are in its name.
type Removed struct {
	ID   datastorehb.HostID `json:"id"`
	Name string             `json:"name"`
	In   uint64             `json:"in"` // the revision that removed it
}

// Datastore is one datastore of the cluster. Where a host mounts it is a matter of
// that host; Path is for those whose own configuration says nothing of it.
type Datastore struct {
	ID              uuid.UUID `json:"id"`
	Name            string    `json:"name"`
	Path            string    `json:"path,omitzero"`              // absolute, "" for none
	Preferred       bool      `json:"preferred,omitzero"`         // ranked before others for heartbeats
	Excluded        bool      `json:"excluded,omitzero"`          // never carries heartbeats
	AcceptNoBarrier bool      `json:"accept_no_barrier,omitzero"` // machines may be protected there though nothing stops late writes (R12)
}

// Pause says that nothing is done about hosts that are lost, for planned work on
// storage or network.
type Pause struct {
	Since time.Time `json:"since"` // as Record.At
	Until time.Time `json:"until"` // the master ends it then, by its own wall clock
	Why   string    `json:"why"`   // for people
}

// Majority returns how many of a record's voters make it count.
func (r *Record) Majority() int { return len(r.Voters)/2 + 1 }

// Member returns the member of that id, nil if there is none.
func (r *Record) Member(id datastorehb.HostID) *Member {
	for i := range r.Members {
		if r.Members[i].ID == id {
			return &r.Members[i]
		}
	}
	return nil
}

// Datastore returns the datastore with that UUID or name, nil if there is none.
func (r *Record) Datastore(idOrName string) *Datastore {
	for i := range r.Datastores {
		if d := &r.Datastores[i]; d.Name == idOrName || d.ID.String() == idOrName {
			return d
		}
	}
	return nil
}

// Named returns the member with that name or id, nil if there is none.
func (r *Record) Named(nameOrID string) *Member {
	for i := range r.Members {
		if m := &r.Members[i]; m.Name == nameOrID || fmt.Sprint(m.ID) == nameOrID {
			return m
		}
	}
	return nil
}

// Former returns the removed member of that id, nil if there is none.
func (r *Record) Former(id datastorehb.HostID) *Removed {
	for i := range r.Removed {
		if r.Removed[i].ID == id {
			return &r.Removed[i]
		}
	}
	return nil
}

// InMaintenance reports whether a host is in maintenance.
func (r *Record) InMaintenance(id datastorehb.HostID) bool {
	m := r.Member(id)
	return m != nil && m.Maintenance != nil
}

// Moves reports whether the record asks for machines to be moved, away from a host
// in maintenance or back to one that was.
func (r *Record) Moves() bool {
	return slices.ContainsFunc(r.Members, func(m Member) bool {
		return m.Maintenance != nil && m.Maintenance.Move || len(m.Returning) > 0
	})
}

// Next returns what follows r: a copy that may be changed, with the next
// revision. Its voters are the datastores of r but those that are left out.
func (r *Record) Next(number uint64, by datastorehb.HostID, at time.Time, change string, without []uuid.UUID) Record {
	next := *r
	next.Revision, next.By, next.At, next.Change = number, by, at.UTC().Truncate(time.Second), datastorehb.Shorten(change, MaxText)
	next.Members, next.Removed, next.Datastores = slices.Clone(r.Members), slices.Clone(r.Removed), slices.Clone(r.Datastores)
	next.Voters = nil
	for _, d := range r.Datastores {
		if !slices.Contains(without, d.ID) {
			next.Voters = append(next.Voters, d.ID)
		}
	}
	return next
}

// Validate returns every error of the record, joined, or nil.
func (r *Record) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Revision == 0 || r.Level == 0 || r.By == 0 {
		wrong("revision %d, level %d and host id %d must not be 0", r.Revision, r.Level, r.By)
	}
	if r.Level > 255 {
		wrong("level %d is more than 255", r.Level)
	}
	if !wellFormed(r.At) {
		wrong("at %v is not in UTC and whole seconds", r.At)
	}
	if err := text(r.Change); err != nil {
		wrong("change: %w", err)
	}
	if err := r.Timing.Validate(); err != nil {
		wrong("timing: %w", err)
	}
	if err := r.Machines.Validate(); err != nil {
		wrong("machines: %w", err)
	}
	return errors.Join(append(errs, r.validateMembers(), r.validateDatastores(), r.Pause.validate())...)
}

func (r *Record) validateMembers() error {
	if n := len(r.Members); n == 0 || n > MaxMembers {
		return fmt.Errorf("%d members: a cluster has 1 to %d", n, MaxMembers)
	}
	names := map[string]bool{}
	for i := range r.Members {
		m := &r.Members[i]
		switch {
		case m.ID == 0 || i > 0 && m.ID <= r.Members[i-1].ID:
			return fmt.Errorf("members are not in the order of their ids, each once, at id %d", m.ID)
		case names[m.Name]:
			return fmt.Errorf("two members are called %s", m.Name)
		case m.Since == 0 || m.Since > r.Revision:
			return fmt.Errorf("member %s joined with revision %d, and this is %d", m.Name, m.Since, r.Revision)
		case !m.Heartbeat.IsValid() || !m.Management.IsValid():
			return fmt.Errorf("member %s lacks an address", m.Name)
		case !ascending(m.Returning) || m.Maintenance != nil && !ascending(m.Maintenance.Machines):
			return fmt.Errorf("machines to be brought back to %s are not in the order of their UUIDs, each once", m.Name)
		case m.Maintenance != nil && !wellFormed(m.Maintenance.Since):
			return fmt.Errorf("maintenance of %s since %v, which is not in UTC and whole seconds", m.Name, m.Maintenance.Since)
		}
		if err := poweron.CheckName(m.Name); err != nil {
			return fmt.Errorf("name of host %d: %w", m.ID, err)
		}
		names[m.Name] = true
	}
	return r.validateRemoved()
}

func (r *Record) validateRemoved() error {
	if !slices.IsSortedFunc(r.Removed, func(a, b Removed) int { return cmp.Compare(a.ID, b.ID) }) {
		return errors.New("removed members are not in the order of their ids")
	}
	for i, m := range r.Removed {
		switch err := poweron.CheckName(m.Name); {
		case m.ID == 0 || i > 0 && r.Removed[i-1].ID == m.ID || r.Member(m.ID) != nil:
			return fmt.Errorf("host id %d was removed twice, or is a member again", m.ID)
		case m.In == 0 || m.In > r.Revision:
			return fmt.Errorf("member %s was removed with revision %d, and this is %d", m.Name, m.In, r.Revision)
		case err != nil:
			return fmt.Errorf("name of the removed host %d: %w", m.ID, err)
		}
	}
	return nil
}

func (r *Record) validateDatastores() error {
	if n := len(r.Datastores); n == 0 || n > MaxDatastores {
		return fmt.Errorf("%d datastores: a cluster has 1 to %d", n, MaxDatastores)
	}
	names := map[string]bool{}
	for i, d := range r.Datastores {
		switch {
		case d.ID == uuid.Nil || i > 0 && compareUUID(r.Datastores[i-1].ID, d.ID) >= 0:
			return fmt.Errorf("datastores are not in the order of their UUIDs, each once, at %s", d.ID)
		case names[d.Name]:
			return fmt.Errorf("two datastores are called %s", d.Name)
		case d.Preferred && d.Excluded:
			return fmt.Errorf("datastore %s is both preferred and excluded", d.Name)
		case d.Path != "" && (!path.IsAbs(d.Path) || path.Clean(d.Path) != d.Path || text(d.Path) != nil):
			return fmt.Errorf("path %.80q of datastore %s: it must be absolute, without . and .., of at most %d bytes", d.Path, d.Name, MaxText)
		}
		if err := poweron.CheckName(d.Name); err != nil {
			return fmt.Errorf("name of datastore %s: %w", d.ID, err)
		}
		names[d.Name] = true
	}
	if n := len(r.Voters); n == 0 || n > MaxDatastores+1 {
		return fmt.Errorf("%d voters: there are 1 to %d", n, MaxDatastores+1)
	}
	if !ascending(r.Voters) {
		return errors.New("voters are not in the order of their UUIDs, each once")
	}
	return nil
}

// ascending reports whether UUIDs stand in their order, each once. A list that is
// not nil is not empty, so that there is one form of none.
func ascending(ids []uuid.UUID) bool {
	for i, id := range ids {
		if id == uuid.Nil || i > 0 && compareUUID(ids[i-1], id) >= 0 {
			return false
		}
	}
	return ids == nil || len(ids) > 0
}

func (p *Pause) validate() error {
	if p == nil {
		return nil
	}
	switch long := p.Until.Sub(p.Since); {
	case !wellFormed(p.Since) || !wellFormed(p.Until):
		return fmt.Errorf("pause from %v to %v is not in UTC and whole seconds", p.Since, p.Until)
	case long <= 0 || long > MaxPause:
		return fmt.Errorf("pause of %v: give it from 1s to %v", long, MaxPause)
	}
	return text(p.Why)
}

// wellFormed reports whether an instant has one form only.
func wellFormed(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 1 && t.Year() <= 9999
}

func text(s string) error {
	if len(s) > MaxText || !utf8.ValidString(s) {
		return fmt.Errorf("%.80q is not UTF-8 of at most %d bytes", s, MaxText)
	}
	return nil
}

func compareUUID(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }
