package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

func TestSiblings(t *testing.T) {
	f := newFixture(t)
	other := uuid.UUID{9}
	id, err := Init(f.path, other, "beta", 8)
	must(t, err)
	mine, theirs := f.open(1), f.openAs(Expect{Cluster: other, Datastore: id.Datastore, Writer: writer(1), LockDir: t.TempDir()})
	vm, unread, never := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
	entry := func(s *Store, reg datastorehb.Register, number uint64, payload string) {
		t.Helper()
		r, err := s.Claim(datastorehb.Record{Register: reg, Number: number, Nonce: uuid.New(), Writer: writer(1), Payload: []byte(payload)})
		if err != nil || r.Outcome != datastorehb.ClaimWon {
			t.Fatal(r, err)
		}
	}
	entry(mine, datastorehb.EntriesOf(vm), 1, "of this cluster")
	entry(theirs, datastorehb.EntriesOf(vm), 1, "first")
	entry(theirs, datastorehb.EntriesOf(vm), 2, "second")
	entry(theirs, datastorehb.EntriesOf(unread), 1, "damaged")
	entry(theirs, datastorehb.GenerationsOf(never), 1, "generation")
	damaged := filepath.Join(f.path, rootDir, other.String(), recordName(datastorehb.EntriesOf(unread), 1))
	must(t, os.WriteFile(damaged, []byte("nothing"), 0o600))
	must(t, os.Mkdir(filepath.Join(f.path, rootDir, uuid.NewString()), 0o700)) // the remains of a third cluster

	all, err := Siblings(f.path, testCluster)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if s := all[0]; s.Cluster != other || s.VM != vm || s.State != datastorehb.Valid || string(s.Entry.Payload) != "second" {
		t.Errorf("%+v", s)
	}
	if s := all[1]; s.VM != unread || s.State != datastorehb.Corrupt || !errors.Is(s.Err, datastorehb.ErrDamaged) {
		t.Errorf("%+v", s)
	}
	if s := all[2]; s.VM != never || s.State != datastorehb.Absent {
		t.Errorf("%+v", s)
	}

	must(t, os.WriteFile(filepath.Join(f.path, rootDir, other.String(), identityFile), []byte("nothing"), 0o600))
	all, err = Siblings(f.path, testCluster)
	if err != nil || len(all) != 3 || all[0].State != datastorehb.Unreadable || all[0].Err == nil {
		t.Errorf("with a damaged identity: %+v, %v", all, err)
	}
	if all, err := Siblings(t.TempDir(), testCluster); err != nil || len(all) != 0 {
		t.Errorf("where nothing is: %v, %v", all, err)
	}
}
