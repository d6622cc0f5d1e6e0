package store

import "sync/atomic"

// Counter counts what a store asked of the file system. Metadata operations are
// what a busy file server is slow at, so their number per claim is bounded.
type Counter struct {
	Opens, Links, Renames, Unlinks, Mkdirs, Listings, Stats, Syncs atomic.Int64
	Reads, Writes, DataSyncs, BytesRead, BytesWritten              atomic.Int64
}

// Metadata returns the number of all operations but those on a file's data.
func (c *Counter) Metadata() int64 {
	sum := int64(0)
	for _, n := range []*atomic.Int64{&c.Opens, &c.Links, &c.Renames, &c.Unlinks, &c.Mkdirs, &c.Listings, &c.Stats, &c.Syncs} {
		sum += n.Load()
	}
	return sum
}

type countingFS struct {
	fs FS
	c  *Counter
}

func (f *countingFS) Open(name string, flags int) (File, error) {
	f.c.Opens.Add(1)
	file, err := f.fs.Open(name, flags)
	if err != nil {
		return nil, err
	}
	return &countingFile{file, f.c}, nil
}

func (f *countingFS) Link(from, to string) error {
	f.c.Links.Add(1)
	return f.fs.Link(from, to)
}

func (f *countingFS) Rename(from, to string) error {
	f.c.Renames.Add(1)
	return f.fs.Rename(from, to)
}

func (f *countingFS) Unlink(name string) error {
	f.c.Unlinks.Add(1)
	return f.fs.Unlink(name)
}

func (f *countingFS) Mkdir(name string) error {
	f.c.Mkdirs.Add(1)
	return f.fs.Mkdir(name)
}

func (f *countingFS) List(name string) ([]string, error) {
	f.c.Listings.Add(1)
	return f.fs.List(name)
}

func (f *countingFS) Stat(name string) (Stat, error) {
	f.c.Stats.Add(1)
	return f.fs.Stat(name)
}

func (f *countingFS) SyncDir(name string) error {
	f.c.Syncs.Add(1)
	return f.fs.SyncDir(name)
}

func (f *countingFS) Close() error { return f.fs.Close() }

type countingFile struct {
	File
	c *Counter
}

func (f *countingFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.c.Reads.Add(1)
	f.c.BytesRead.Add(int64(n))
	return n, err
}

func (f *countingFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	f.c.Writes.Add(1)
	f.c.BytesWritten.Add(int64(n))
	return n, err
}

func (f *countingFile) Sync() error {
	f.c.DataSyncs.Add(1)
	return f.File.Sync()
}

func (f *countingFile) Stat() (Stat, error) {
	f.c.Stats.Add(1)
	return f.File.Stat()
}
