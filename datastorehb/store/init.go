package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// Names below the datastore's path, and below the cluster's directory.
const (
	rootDir      = ".storebeat"
	identityFile = "identity"
	regionFile   = "region"
	listsDir     = "lists"
	termsDir     = "terms"
	machinesDir  = "machines"
	clusterDir   = "cluster"
	readyDir     = "ready"

	identityAttribute = "user.storebeat.datastore"
)

// ErrExists means that Init found a datastore, or the remains of one.
var ErrExists = errors.New("datastore exists already")

// Init makes a datastore of a directory that has none of this cluster, with room
// for capacity hosts (0: the default), and returns its identity. The whole tree is built under
// another name and then renamed: after a crash it is there in full or not at
// all, and of several Inits at the same time one at most succeeds.
func Init(path string, cluster uuid.UUID, name string, capacity int) (datastorehb.Identity, error) {
	return initialise(path, cluster, name, capacity, nil)
}

func initialise(path string, cluster uuid.UUID, name string, capacity int, wrap func(FS) FS) (datastorehb.Identity, error) {
	if capacity == 0 {
		capacity = datastorehb.DefaultCapacity
	}
	id := datastorehb.Identity{
		Version: datastorehb.FormatVersion, Level: datastorehb.KnownLevels().Lowest,
		Cluster: cluster, Datastore: uuid.New(), Name: name, Capacity: capacity,
	}
	raw, err := datastorehb.EncodeIdentity(id)
	if err != nil {
		return id, fmt.Errorf("initialise datastore %s: %w", path, err)
	}
	if err := refuseExisting(path, cluster); err != nil {
		return id, err
	}
	fs, err := openDir(path)
	if err != nil {
		return id, fmt.Errorf("initialise datastore: %w; mount it first", err)
	}
	if wrap != nil {
		fs = wrap(fs)
	}
	defer fs.Close()
	b := &builder{fs: fs, path: path, id: id, identity: raw}
	if err := b.build(); err != nil {
		return id, fmt.Errorf("initialise datastore %s: %w", path, err)
	}
	return id, nil
}

// refuseExisting tells a datastore from the remains of one whose identity is
// gone. Neither may be written over: registers that begin anew let a machine run twice.
func refuseExisting(path string, cluster uuid.UUID) error {
	dir := filepath.Join(path, rootDir, cluster.String())
	names, err := readNames(dir)
	switch {
	case isAbsent(err) || err == nil && len(names) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("initialise datastore %s: %w", path, err)
	}
	id, err := Identify(path, cluster)
	if err != nil {
		return fmt.Errorf("%w at %s, and is not whole: %w; if no host uses it any more, remove %s and try again", ErrExists, path, err, dir)
	}
	return fmt.Errorf("%w at %s: %q, %s; use it, or remove %s if no host uses it any more", ErrExists, path, id.Name, id.Datastore, dir)
}

type builder struct {
	fs       FS
	path     string
	id       datastorehb.Identity
	identity []byte
}

func (b *builder) build() error {
	if err := b.fs.Mkdir(rootDir); err != nil && !isExisting(err) {
		return err
	}
	if err := b.clearRemains(); err != nil {
		return err
	}
	dir := rootDir + "/init-" + b.id.Datastore.String()
	final := rootDir + "/" + b.id.Cluster.String()
	if err := b.fill(dir); err != nil {
		return err
	}
	stamp := b.id.Cluster.String() + " " + b.id.Datastore.String()
	if err := xattr.Set(filepath.Join(b.path, dir), identityAttribute, []byte(stamp)); err != nil && !noAttributes(err) {
		return err
	}
	if err := b.fs.Rename(dir, final); err != nil && !b.arrived(final) {
		return fmt.Errorf("another initialisation may be under way: %w", err)
	}
	return b.sync(rootDir, ".")
}

// clearRemains removes what initialisations left that did not come to their end.
// It renames first: should one of them still be under way, its own rename fails.
func (b *builder) clearRemains() error {
	names, err := b.fs.List(rootDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		from, dead := rootDir+"/"+name, rootDir+"/dead-"+strings.TrimPrefix(name, "init-")
		if strings.HasPrefix(name, "init-") {
			if err := b.fs.Rename(from, dead); err != nil && !isAbsent(err) {
				return err
			}
		}
		if strings.HasPrefix(name, "init-") || strings.HasPrefix(name, "dead-") {
			if err := os.RemoveAll(filepath.Join(b.path, dead)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill makes everything in dir, the identity last.
func (b *builder) fill(dir string) error {
	if err := b.fs.Mkdir(dir); err != nil {
		return err
	}
	for _, d := range []string{listsDir, termsDir, machinesDir, clusterDir, readyDir} {
		if err := b.fs.Mkdir(dir + "/" + d); err != nil {
			return err
		}
	}
	region := make([]byte, b.id.RegionSize())
	datastorehb.EncodeRegionHeader(region[:datastorehb.SlotSize], b.id)
	if err := b.write(dir+"/"+regionFile, region); err != nil {
		return err
	}
	if err := b.write(dir+"/"+identityFile, b.identity); err != nil {
		return err
	}
	return b.sync(dir)
}

func (b *builder) write(name string, data []byte) error {
	f, err := b.fs.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

func (b *builder) sync(dirs ...string) error {
	for _, d := range dirs {
		if err := b.fs.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// arrived reports whether the rename took place though its reply says otherwise.
func (b *builder) arrived(final string) bool {
	id, err := readIdentity(b.fs, final+"/"+identityFile)
	return err == nil && id.Datastore == b.id.Datastore
}

// noAttributes reports whether the file system has no user attributes.
func noAttributes(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENODATA)
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
