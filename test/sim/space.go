package sim

import "storebeat/datastorehb"

// A full datastore: no file and no directory can be made on it. What is there can
// be written in place (slots, lists), and claims succeed while prepared files
// last (docs/format.md, `ready/`).

const (
	readyAtOpen = 4  // prepared files that an agent makes when it opens a datastore
	readyFull   = 32 // and how many it keeps from its first claim on
	noSpace     = "no space left on device"
)

// fill makes a datastore full, or gives it space again.
func (s *store) fill(full bool) {
	s.w.note(s.name(), "is full: %t", full)
	s.full = full
}

// prepare makes the prepared files of an agent that opens the datastore.
func (a *agent) prepare(s *store) {
	a.ready[s.index] = 0
	if !s.full {
		a.ready[s.index] = readyAtOpen
	}
}

// spend takes a prepared file for a claim, and makes new ones where there is space.
// It says why the claim can't be made, if so. Only a claim of a register's first value needs
// a directory.
func (a *agent) spend(s *store, first bool) (why string) {
	ready := &a.ready[s.index]
	if s.full && (*ready == 0 || first) {
		return noSpace
	}
	if *ready--; !s.full {
		*ready = readyFull
	}
	return ""
}

// needsSpace says why a host's power-on list can't be written, if so.
func (s *store) needsSpace(h datastorehb.HostID) (why string) {
	if s.full && !s.listed[h] {
		return noSpace
	}
	return ""
}
