package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// Reasons for which a directory is not taken for the datastore that is wanted.
// datastorehb.ErrFutureVersion and datastorehb.ErrDamaged are two more.
var (
	// ErrNotMounted means that the path is missing or empty: most likely the
	// directory on which the datastore should be mounted.
	ErrNotMounted = errors.New("datastore is not mounted")
	// ErrNotInitialised means that there are files, and no datastore.
	ErrNotInitialised = errors.New("datastore is not initialised")
	// ErrGone means that the folder of a datastore that is open was moved or taken away.
	ErrGone = errors.New("datastore's folder is gone")
	// ErrForeign means that there are datastores of other clusters only.
	ErrForeign = errors.New("datastore belongs to another cluster")
	// ErrEmptied means that there was a datastore and its identity is gone.
	ErrEmptied = errors.New("datastore was emptied")
	// ErrReplaced means that there is another datastore than the one wanted.
	ErrReplaced = errors.New("datastore was replaced by another one")
	// ErrMismatch means that file and extended attribute name different datastores.
	ErrMismatch = errors.New("datastore's identity file and extended attribute differ")
)

// Identify reads which datastore of the cluster is at path. It changes nothing
// and needs no lock.
func Identify(path string, cluster uuid.UUID) (datastorehb.Identity, error) {
	fs, id, err := openIdentified(path, cluster, nil)
	if err == nil {
		fs.Close()
	}
	return id, err
}

// openIdentified opens the cluster's directory and reads the identity in it. What
// stands at its path now counts, and not what did a while ago.
func openIdentified(path string, cluster uuid.UUID, wrap func(FS) FS) (FS, datastorehb.Identity, error) {
	root := filepath.Join(path, rootDir)
	forgetNames(root)
	dir := filepath.Join(root, cluster.String())
	fs, err := openDir(dir)
	if isAbsent(err) {
		return nil, datastorehb.Identity{}, whyMissing(path, cluster)
	}
	if err != nil {
		return nil, datastorehb.Identity{}, fmt.Errorf("open datastore: %w", err)
	}
	if wrap != nil {
		fs = wrap(fs)
	}
	id, err := identifyIn(fs, dir, cluster)
	if err != nil {
		fs.Close()
		return nil, id, err
	}
	return fs, id, nil
}

// forgetNames asks the server about each directory of a path, from the top: a client
// that caches (NFS) then takes no name below it from what it remembers. What is
// wrong with one of them shows in the next call.
func forgetNames(path string) {
	if parent := filepath.Dir(path); parent != path {
		forgetNames(parent)
	}
	_, _ = statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC)
}

func identifyIn(fs FS, dir string, cluster uuid.UUID) (datastorehb.Identity, error) {
	id, err := readIdentity(fs, identityFile)
	switch {
	case isAbsent(err):
		return id, fmt.Errorf("%w: %s holds no identity", ErrEmptied, dir)
	case err != nil:
		return id, fmt.Errorf("read identity of datastore %s: %w", dir, err)
	case id.Cluster != cluster:
		return id, fmt.Errorf("%w: the identity in %s names cluster %s", ErrForeign, dir, id.Cluster)
	}
	return id, checkAttribute(dir, id)
}

func readIdentity(fs FS, name string) (datastorehb.Identity, error) {
	f, _, err := openDirect(fs, name, unix.O_RDONLY)
	if err != nil {
		return datastorehb.Identity{}, err
	}
	defer f.Close()
	raw, err := readAll(f, alignedBuffer(2*datastorehb.BlockSize), 0)
	if err != nil {
		return datastorehb.Identity{}, err
	}
	return datastorehb.DecodeIdentity(raw)
}

// checkAttribute compares the extended attribute, where there is one: a copy of
// files into another datastore's directory shows in it.
func checkAttribute(dir string, id datastorehb.Identity) error {
	stamp, err := xattr.Get(dir, identityAttribute)
	if err != nil {
		return nil // The file is the authority; the attribute is only a second witness.
	}
	if want := id.Cluster.String() + " " + id.Datastore.String(); string(stamp) != want {
		return fmt.Errorf("%w: %s says %q, its attribute %q", ErrMismatch, dir, want, stamp)
	}
	return nil
}

// whyMissing explains why the cluster's directory does not exist.
func whyMissing(path string, cluster uuid.UUID) error {
	names, err := readNames(path)
	switch {
	case isAbsent(err):
		return fmt.Errorf("%w: %s does not exist; mount it there", ErrNotMounted, path)
	case err != nil:
		return fmt.Errorf("open datastore: %w", err)
	case len(names) == 0:
		return fmt.Errorf("%w: %s is an empty directory; mount it there", ErrNotMounted, path)
	}
	clusters, err := readNames(filepath.Join(path, rootDir))
	if isAbsent(err) {
		return fmt.Errorf("%w: %s holds no %s; see `storebeat datastore init`", ErrNotInitialised, path, rootDir)
	}
	if err != nil {
		return fmt.Errorf("open datastore: %w", err)
	}
	var others []string
	for _, c := range clusters {
		if strings.HasPrefix(c, "init-") {
			return fmt.Errorf("%w: `storebeat datastore init` of %s did not come to its end; run it again", ErrNotInitialised, path)
		}
		if _, err := uuid.Parse(c); err == nil {
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		return fmt.Errorf("%w: %s holds no directory of cluster %s", ErrEmptied, filepath.Join(path, rootDir), cluster)
	}
	return fmt.Errorf("%w: %s is in use by %s, not by %s", ErrForeign, path, strings.Join(others, ", "), cluster)
}
