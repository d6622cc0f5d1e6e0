package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/datastorehb"
)

func TestInit(t *testing.T) {
	f := newFixture(t)
	id, err := Identify(f.path, testCluster)
	if diff := cmp.Diff(f.id, id); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	info, err := os.Stat(filepath.Join(f.dir(), regionFile))
	if err != nil || info.Size() != 9*datastorehb.SlotSize {
		t.Fatalf("the region has %d bytes, %v", info.Size(), err)
	}
	before, err := os.ReadFile(filepath.Join(f.dir(), identityFile))
	must(t, err)
	if _, err := Init(f.path, testCluster, "beta", 8); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), `"alpha"`) {
		t.Errorf("a second Init: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(f.dir(), identityFile))
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error("a second Init changed the identity")
	}
	other, err := Init(f.path, uuid.UUID{9}, "alpha", 0)
	if err != nil || other.Capacity != datastorehb.DefaultCapacity || other.Datastore == f.id.Datastore {
		t.Errorf("another cluster beside it: %+v, %v", other, err)
	}
	f.open(8)
	if _, err := Open(f.path, f.expect(9)); err == nil {
		t.Error("a host without a slot opened the datastore")
	}
}

func TestInitRefusals(t *testing.T) {
	f := newFixture(t)
	must(t, os.Remove(filepath.Join(f.dir(), identityFile)))
	if _, err := Init(f.path, testCluster, "alpha", 8); !errors.Is(err, ErrExists) || !errors.Is(err, ErrEmptied) {
		t.Errorf("over the remains of a datastore: %v", err)
	}
	if _, err := Init(t.TempDir(), testCluster, "", 8); err == nil {
		t.Error("without a name")
	}
	if _, err := Init(t.TempDir(), testCluster, "alpha", datastorehb.MaxCapacity+1); err == nil {
		t.Error("with too many hosts")
	}
	if _, err := Init(filepath.Join(t.TempDir(), "none"), testCluster, "alpha", 8); err == nil {
		t.Error("nowhere")
	}
}

// TestInitFailsAtEveryStep lets each operation of Init fail. Afterwards, the
// datastore is there in full, or a second Init makes it.
func TestInitFailsAtEveryStep(t *testing.T) {
	everyFault(t, func(t *testing.T, step int, c *countdown) bool {
		path := t.TempDir()
		c.arm(step)
		id, err := initialise(path, testCluster, "alpha", 2, withHook(c.hook))
		fired := c.fired()
		if !fired && err != nil {
			t.Fatalf("nothing failed: %v", err)
		}
		again, err2 := Init(path, testCluster, "alpha", 2)
		if err == nil && !errors.Is(err2, ErrExists) || err2 != nil && !errors.Is(err2, ErrExists) {
			t.Fatalf("step %d: %v, then %v", step, err, err2)
		}
		if err2 == nil {
			id = again
		}
		f := &fixture{t: t, path: path, id: id}
		s := f.open(1)
		must(t, s.CheckIdentity())
		names, err := os.ReadDir(filepath.Join(path, rootDir))
		if err2 == nil && (err != nil || len(names) != 1) {
			t.Fatalf("step %d: remains of the first attempt: %v, %v", step, names, err)
		}
		return fired
	})
}

func TestInitRace(t *testing.T) {
	path := t.TempDir()
	var mu sync.Mutex
	var made []datastorehb.Identity
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			id, err := Init(path, testCluster, "alpha", 2)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, id)
			}
		})
	}
	wg.Wait()
	if len(made) > 1 {
		t.Fatalf("%d of them succeeded", len(made))
	}
	if len(made) == 0 { // They may all have got into each other's way.
		id, err := Init(path, testCluster, "alpha", 2)
		must(t, err)
		made = append(made, id)
	}
	f := &fixture{t: t, path: path, id: made[0]}
	must(t, f.open(1).CheckIdentity())
}
