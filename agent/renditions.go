package agent

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

// rendition is what a hypervisor of this host made of a machine's definition when the
// two were last known to mean the same. A hypervisor writes a definition in its own
// words: only by these can a change be told.
type rendition struct {
	Definition string `json:"definition"` // digest of the one on the datastore
	Kept       string `json:"kept"`       // hypervisor.Kept.Digest
}

// renditions outlive the agent, for definitions are changed while none runs, too. Losing
// them loses the changes that were made since, and nothing else.
type renditions struct {
	path string

	writing sync.Mutex // one write at a time; the local disk may hang, and holds up nobody who only reads

	mu    sync.Mutex
	all   map[uuid.UUID]rendition
	fresh map[uuid.UUID]rendition // of guests that were read to be protected
}

// renditionsFile lies in the state directory.
const renditionsFile = "definitions.json"

func newRenditions(stateDirectory string) *renditions {
	r := &renditions{path: filepath.Join(stateDirectory, renditionsFile), all: map[uuid.UUID]rendition{}, fresh: map[uuid.UUID]rendition{}}
	text, err := os.ReadFile(r.path)
	if err == nil {
		err = json.Unmarshal(text, &r.all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || r.all == nil {
		r.all = map[uuid.UUID]rendition{}
	}
	return r
}

func digestOf(definition []byte) string { return fmt.Sprintf("%x", sha256.Sum256(definition)) }

// exported takes down what a guest that is about to be protected was read from.
func (r *renditions) exported(g *hypervisor.Guest) {
	if g.Definition == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh[g.VM] = rendition{digestOf(g.Definition), g.Digest}
}

// knows tells whether the machine was seen protected here, and not since seen unprotected.
func (r *renditions) knows(vm uuid.UUID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.all[vm]
	return known
}

// changed tells whether what the hypervisor keeps was changed since it last meant the
// same as the definition. What is seen for the first time is taken to mean the same.
func (r *renditions) changed(vm uuid.UUID, definition []byte, kept string) (bool, error) {
	now := rendition{digestOf(definition), kept}
	r.mu.Lock()
	known := r.all[vm]
	if known.Definition == now.Definition {
		r.mu.Unlock()
		return known.Kept != now.Kept, nil
	}
	if known = r.fresh[vm]; known.Definition != now.Definition {
		known = now
	}
	delete(r.fresh, vm)
	r.all[vm] = known
	r.mu.Unlock()
	return known.Kept != now.Kept, r.write()
}

// same takes down that a definition and what the hypervisor keeps mean the same.
func (r *renditions) same(vm uuid.UUID, definition []byte, kept string) error {
	now := rendition{digestOf(definition), kept}
	r.mu.Lock()
	before := r.all[vm]
	r.all[vm] = now
	r.mu.Unlock()
	if before == now {
		return nil
	}
	return r.write()
}

// forget is for a machine that the hypervisor, or the cluster, does not keep any more.
func (r *renditions) forget(vm uuid.UUID) error {
	r.mu.Lock()
	_, known := r.all[vm]
	delete(r.all, vm)
	r.mu.Unlock()
	if !known {
		return nil
	}
	return r.write()
}

// write writes down what is known by the time of the write.
func (r *renditions) write() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	text, err := json.Marshal(r.all)
	r.mu.Unlock()
	if err == nil {
		err = renameio.WriteFile(r.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write down what the hypervisor keeps: %w", err)
	}
	return nil
}
