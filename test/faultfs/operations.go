package faultfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Every operation that a program can wait for goes through the gate. Those that
// only tell the file system to forget or close something do not.

// Init keeps the server from the file system, which would hand its files to the
// kernel: reads and writes would pass us by, and locks outlive their mount.
func (g *gate) Init(*fuse.Server) {}

func (g *gate) Lookup(c <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return g.do(Lookup, func() fuse.Status { return g.RawFileSystem.Lookup(c, in, name, out) })
}

func (g *gate) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return g.do(GetAttr, func() fuse.Status { return g.RawFileSystem.GetAttr(c, in, out) })
}

func (g *gate) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return g.do(SetAttr, func() fuse.Status { return g.RawFileSystem.SetAttr(c, in, out) })
}

func (g *gate) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return g.doEntry(Mkdir, out, func() fuse.Status { return g.RawFileSystem.Mkdir(c, in, name, out) })
}

func (g *gate) Unlink(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return g.do(Unlink, func() fuse.Status { return g.RawFileSystem.Unlink(c, in, name) })
}

func (g *gate) Rmdir(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return g.do(Rmdir, func() fuse.Status { return g.RawFileSystem.Rmdir(c, in, name) })
}

func (g *gate) Rename(c <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	return g.do(Rename, func() fuse.Status { return g.RawFileSystem.Rename(c, in, from, to) })
}

func (g *gate) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return g.doEntry(Link, out, func() fuse.Status { return g.RawFileSystem.Link(c, in, name, out) })
}

func (g *gate) Access(c <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return g.do(Access, func() fuse.Status { return g.RawFileSystem.Access(c, in) })
}

func (g *gate) GetXAttr(c <-chan struct{}, in *fuse.InHeader, name string, to []byte) (size uint32, s fuse.Status) {
	s = g.do(GetXAttr, func() (s fuse.Status) {
		size, s = g.RawFileSystem.GetXAttr(c, in, name, to)
		return s
	})
	return size, s
}

func (g *gate) SetXAttr(c <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return g.do(SetXAttr, func() fuse.Status { return g.RawFileSystem.SetXAttr(c, in, name, data) })
}

func (g *gate) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	made := false
	s := g.do(Create, func() fuse.Status {
		in.Flags &^= syscall.O_DIRECT
		s := g.RawFileSystem.Create(c, in, name, out)
		made = s.Ok()
		return s
	})
	switch {
	case made && s.Ok():
		g.opened(out.NodeId, out.Fh, false)
	case made: // of a file whose reply is lost the kernel knows nothing; it is closed before it is forgotten
		r := fuse.ReleaseIn{Fh: out.Fh}
		r.NodeId = out.NodeId
		g.RawFileSystem.Release(c, &r)
		g.RawFileSystem.Forget(out.NodeId, 1)
	}
	uncached(&out.OpenOut)
	return s
}

func (g *gate) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s := g.do(Open, func() fuse.Status {
		in.Flags &^= syscall.O_DIRECT // the buffers that come from the kernel are not aligned for it
		return g.RawFileSystem.Open(c, in, out)
	})
	if s.Ok() {
		g.opened(in.NodeId, out.Fh, false)
	}
	uncached(out)
	return s
}

// uncached has every read and write of an open file come to us.
func uncached(out *fuse.OpenOut) {
	out.OpenFlags |= fuse.FOPEN_DIRECT_IO
}

func (g *gate) Release(c <-chan struct{}, in *fuse.ReleaseIn) {
	g.closed(in.Fh)
	g.RawFileSystem.Release(c, in)
}

func (g *gate) Read(c <-chan struct{}, in *fuse.ReadIn, buf []byte) (r fuse.ReadResult, s fuse.Status) {
	s = g.doOpen(Read, in.Fh, func() (s fuse.Status) {
		r, s = g.RawFileSystem.Read(c, in, buf)
		return s
	})
	return r, s
}

func (g *gate) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f, s := g.enter(Write)
	switch {
	case !s.Ok():
		return 0, s
	case f.Kind == Lying:
		return uint32(len(data)), fuse.OK
	case g.isRevoked(in.Fh):
		return 0, fuse.Status(syscall.EIO)
	case f.Kind == Torn:
		in.Size = uint32(min(f.Bytes, len(data)))
		g.RawFileSystem.Write(c, in, data[:in.Size])
		return 0, fuse.Status(f.errno())
	}
	n, s := g.RawFileSystem.Write(c, in, data)
	if f.Kind == LostReply {
		return 0, fuse.Status(f.errno())
	}
	return n, s
}

func (g *gate) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS // so that everything comes by way of Write
}

func (g *gate) CopyFileRange(<-chan struct{}, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS // likewise
}

func (g *gate) Fsync(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return g.doOpen(Fsync, in.Fh, func() fuse.Status { return g.RawFileSystem.Fsync(c, in) })
}

func (g *gate) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return g.do(FsyncDir, func() fuse.Status { return g.RawFileSystem.FsyncDir(c, in) })
}

func (g *gate) Fallocate(c <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return g.doOpen(Fallocate, in.Fh, func() fuse.Status { return g.RawFileSystem.Fallocate(c, in) })
}

func (g *gate) GetLk(c <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	return g.doOpen(Lock, in.Fh, func() fuse.Status { return g.RawFileSystem.GetLk(c, in, out) })
}

func (g *gate) SetLk(c <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return g.lock(in, func() fuse.Status { return g.RawFileSystem.SetLk(c, in) })
}

func (g *gate) SetLkw(c <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return g.lock(in, func() fuse.Status { return g.RawFileSystem.SetLkw(c, in) })
}

func (g *gate) lock(in *fuse.LkIn, call func() fuse.Status) fuse.Status {
	return g.doOpen(Lock, in.Fh, func() fuse.Status {
		s := call()
		if s.Ok() && in.Lk.Typ != syscall.F_UNLCK {
			g.locked(in.Fh)
		}
		return s
	})
}

func (g *gate) OpenDir(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s := g.do(OpenDir, func() fuse.Status { return g.RawFileSystem.OpenDir(c, in, out) })
	if s.Ok() {
		g.opened(in.NodeId, out.Fh, true)
	}
	return s
}

func (g *gate) ReleaseDir(in *fuse.ReleaseIn) {
	g.closed(in.Fh)
	g.RawFileSystem.ReleaseDir(in)
}

func (g *gate) ReadDir(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return g.do(ReadDir, func() fuse.Status { return g.RawFileSystem.ReadDir(c, in, out) })
}

func (g *gate) ReadDirPlus(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return g.do(ReadDir, func() fuse.Status { return g.RawFileSystem.ReadDirPlus(c, in, out) })
}

func (g *gate) StatFs(c <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return g.do(StatFs, func() fuse.Status { return g.RawFileSystem.StatFs(c, in, out) })
}
