package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Each change below is made on a copy of the newest revision. It returns what it
// did in words, "" when the record has it already: whoever lost the reply repeats
// the change, and two who ask for the same get the same.

// MaxHostID is the highest id that a member can have.
const MaxHostID datastorehb.HostID = 1000

// AddMember takes a host in. Without an id it gets the lowest one that no host
// ever had. An id that was removed is taken again only when it is asked for, and
// never while taken reports that machines are in its name.
func (r *Record) AddMember(m Member, taken func(datastorehb.HostID) bool) (what string, err error) {
	if have := r.Named(m.Name); have != nil {
		return r.addAgain(have, &m)
	}
	if m.ID == 0 {
		if m.ID, err = r.freeID(taken); err != nil {
			return "", err
		}
	}
	switch {
	case m.ID > MaxHostID:
		return "", fmt.Errorf("host id %d: choose 1 to %d", m.ID, MaxHostID)
	case r.Member(m.ID) != nil:
		return "", fmt.Errorf("host id %d is that of %s: choose another, or none", m.ID, r.Member(m.ID).Name)
	case taken(m.ID):
		return "", fmt.Errorf("machines are in the name of host id %d still: choose another, or none", m.ID)
	}
	if err := r.ownAddresses(&m); err != nil {
		return "", err
	}
	m.Since = r.Revision
	r.Removed = slices.DeleteFunc(r.Removed, func(o Removed) bool { return o.ID == m.ID })
	r.Members = append(r.Members, m)
	slices.SortFunc(r.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return fmt.Sprintf("%s joined with id %d", m.Name, m.ID), nil
}

// addAgain is about a name that a member has: the same host asks once more, a
// member whose computer was not known tells it, or it is a mistake.
func (r *Record) addAgain(have, m *Member) (what string, err error) {
	sameComputer := m.Machine == uuid.Nil || have.Machine == uuid.Nil || m.Machine == have.Machine
	switch {
	case m.ID != 0 && m.ID != have.ID:
		return "", fmt.Errorf("%s is a member with id %d: leave the id out", have.Name, have.ID)
	case m.Heartbeat != have.Heartbeat || m.Management != have.Management:
		return "", fmt.Errorf("%s is a member at %v and %v: choose another name, or change its addresses with `storebeat host set %s`", have.Name, have.Heartbeat, have.Management, have.Name)
	case !sameComputer:
		return "", fmt.Errorf("%s is a member, and another computer (machine-id %s): choose another name, or say that this one takes its place with --replace", have.Name, have.Machine)
	case have.Machine != uuid.Nil || m.Machine == uuid.Nil:
		return "", nil
	}
	have.Machine = m.Machine
	return fmt.Sprintf("%s is the computer with machine-id %s", have.Name, m.Machine), nil
}

// ReplaceMember has another computer take the place of a member. Without a
// machine-id it is the one that is heard next under that host id.
func (r *Record) ReplaceMember(m Member) (what string, err error) {
	have := r.Named(m.Name)
	switch {
	case have == nil:
		return "", fmt.Errorf("the cluster has no member %q whose place could be taken: `storebeat host list` shows all", m.Name)
	case have.Machine == m.Machine && (!m.Heartbeat.IsValid() || m.Heartbeat == have.Heartbeat && m.Management == have.Management):
		return "", nil
	}
	have.Machine = m.Machine
	if m.Heartbeat.IsValid() {
		if err := r.ownAddresses(&Member{ID: have.ID, Heartbeat: m.Heartbeat, Management: m.Management}); err != nil {
			return "", err
		}
		have.Heartbeat, have.Management = m.Heartbeat, m.Management
	}
	return fmt.Sprintf("another computer takes the place of %s", have.Name), nil
}

// SetMember renames a member, or changes its addresses. What is empty stays as it is.
func (r *Record) SetMember(nameOrID string, to Member) (what string, err error) {
	m := r.Named(nameOrID)
	if m == nil && to.Name != "" && r.Named(to.Name) != nil {
		return "", nil // it was renamed already
	}
	if m == nil {
		return "", fmt.Errorf("the cluster has no member %q: `storebeat host list` shows all", nameOrID)
	}
	before := *m
	m.Name = cmp.Or(to.Name, m.Name)
	if to.Heartbeat.IsValid() {
		m.Heartbeat = to.Heartbeat
	}
	if to.Management.IsValid() {
		m.Management = to.Management
	}
	switch err := r.ownAddresses(m); {
	case err != nil:
		return "", err
	case m.Name != before.Name:
		return fmt.Sprintf("%s is called %s", before.Name, m.Name), nil
	case m.Heartbeat != before.Heartbeat || m.Management != before.Management:
		return fmt.Sprintf("%s is at %v and %v", m.Name, m.Heartbeat, m.Management), nil
	}
	return "", nil
}

// ownAddresses refuses a member's address that another one has.
func (r *Record) ownAddresses(m *Member) error {
	for i := range r.Members {
		o := &r.Members[i]
		for _, a := range []netip.AddrPort{m.Heartbeat, m.Management} {
			if o.ID != m.ID && (a == m.Heartbeat && a == o.Heartbeat || a == m.Management && a == o.Management) {
				return fmt.Errorf("%v is the address of %s: give each host its own", a, o.Name)
			}
		}
	}
	return nil
}

// RemoveMember takes a host out. That nothing is in its name any more is for the
// caller to know.
func (r *Record) RemoveMember(nameOrID string) (what string, err error) {
	m := r.Named(nameOrID)
	if m == nil {
		if slices.ContainsFunc(r.Removed, func(o Removed) bool { return o.Name == nameOrID || fmt.Sprint(o.ID) == nameOrID }) {
			return "", nil
		}
		return "", fmt.Errorf("the cluster has no member %q: `storebeat host list` shows all", nameOrID)
	}
	if len(r.Members) == 1 {
		return "", fmt.Errorf("%s is the only member: a cluster has at least one", m.Name)
	}
	gone := Removed{ID: m.ID, Name: m.Name, In: r.Revision}
	r.Members = slices.DeleteFunc(r.Members, func(o Member) bool { return o.ID == gone.ID })
	r.Removed = append(r.Removed, gone)
	slices.SortFunc(r.Removed, func(a, b Removed) int { return cmp.Compare(a.ID, b.ID) })
	return fmt.Sprintf("%s (id %d) was removed", gone.Name, gone.ID), nil
}

// freeID returns the lowest id that no host ever had, or else the lowest one that
// is free now.
func (r *Record) freeID(taken func(datastorehb.HostID) bool) (datastorehb.HostID, error) {
	again := datastorehb.HostID(0)
	for id := datastorehb.HostID(1); id <= MaxHostID; id++ {
		switch {
		case r.Member(id) != nil || taken(id):
		case r.Former(id) == nil:
			return id, nil
		case again == 0:
			again = id
		}
	}
	if again == 0 {
		return 0, fmt.Errorf("all host ids up to %d are taken", MaxHostID)
	}
	return again, nil
}

// AddDatastore takes a datastore in. It votes from the next revision on.
func (r *Record) AddDatastore(d Datastore) (what string, err error) {
	byID, byName := r.Datastore(d.ID.String()), r.Datastore(d.Name)
	switch {
	case byID != nil && byID.Name == d.Name:
		return "", nil
	case byID != nil:
		return "", fmt.Errorf("datastore %s belongs to the cluster already, as %s", d.ID, byID.Name)
	case byName != nil:
		return "", fmt.Errorf("datastore %s is another one (%s): choose another name", d.Name, byName.ID)
	}
	r.Datastores = append(r.Datastores, d)
	slices.SortFunc(r.Datastores, func(a, b Datastore) int { return compareUUID(a.ID, b.ID) })
	return fmt.Sprintf("datastore %s was added", d.Name), nil
}

// RemoveDatastore takes a datastore out. That no machine is homed there is for
// the caller to know. It votes on this revision still, and on none after it.
func (r *Record) RemoveDatastore(idOrName string) (what string, err error) {
	d := r.Datastore(idOrName)
	if d == nil {
		return "", nil
	}
	if len(r.Datastores) == 1 {
		return "", fmt.Errorf("%s is the only datastore: a cluster has at least one", d.Name)
	}
	gone := *d
	r.Datastores = slices.DeleteFunc(r.Datastores, func(o Datastore) bool { return o.ID == gone.ID })
	return fmt.Sprintf("datastore %s was removed", gone.Name), nil
}
