package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Sibling is what another cluster on the same file system keeps of one machine.
type Sibling struct {
	Cluster uuid.UUID
	VM      uuid.UUID
	State   datastorehb.ReadState // Absent: it has, or had, generations and no entry
	Entry   datastorehb.Record    // the newest protected entry, when State is Valid
	Err     error                 // why it could not be read
}

// Siblings reads the newest protected entry of every machine that other clusters
// keep at path. It changes nothing and needs no lock. What can't be read stands in the
// result; an error means that not even the machines could be listed.
func Siblings(path string, cluster uuid.UUID) ([]Sibling, error) {
	names, err := readNames(filepath.Join(path, rootDir))
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for other clusters at %s: %w", path, err)
	}
	var all []Sibling
	for _, name := range names {
		other, err := uuid.Parse(name)
		if err != nil || other == cluster || other.String() != name {
			continue
		}
		found, err := machinesOf(path, other)
		if err != nil {
			return nil, fmt.Errorf("look what cluster %s protects at %s: %w", other, path, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// machinesOf reads the entries of one other cluster.
func machinesOf(path string, cluster uuid.UUID) (all []Sibling, err error) {
	fs, err := openDir(filepath.Join(path, rootDir, cluster.String()))
	if isAbsent(err) {
		return nil, nil // taken away just now
	}
	if err != nil {
		return nil, err
	}
	defer fs.Close()
	s := &Store{path: path, fs: fs, direct: true}
	unknown := error(nil)
	if s.id, err = readIdentity(fs, identityFile); err != nil {
		unknown = fmt.Errorf("its identity can't be read: %w", err)
	}
	vms, err := s.Machines()
	if errors.Is(err, ErrEmptied) {
		return nil, nil // no datastore, or one that is being made
	}
	if err != nil {
		return nil, err
	}
	for _, vm := range vms {
		m := Sibling{Cluster: cluster, VM: vm, State: datastorehb.Unreadable, Err: unknown}
		if unknown == nil {
			m.Entry, m.State, m.Err = s.Newest(datastorehb.EntriesOf(vm))
		}
		all = append(all, m)
	}
	return all, nil
}
