package faultfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Every operation that a program can wait for goes through the gate. Those that
// only tell the file system to forget something do not.

func (g *gate) Lookup(c <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Lookup(c, in, name, out)
}

func (g *gate) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.GetAttr(c, in, out)
}

func (g *gate) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.SetAttr(c, in, out)
}

func (g *gate) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Mkdir(c, in, name, out)
}

func (g *gate) Unlink(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Unlink(c, in, name)
}

func (g *gate) Rmdir(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Rmdir(c, in, name)
}

func (g *gate) Rename(c <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Rename(c, in, from, to)
}

func (g *gate) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Link(c, in, name, out)
}

func (g *gate) Access(c <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Access(c, in)
}

func (g *gate) GetXAttr(c <-chan struct{}, in *fuse.InHeader, name string, to []byte) (uint32, fuse.Status) {
	if s := g.pass(); s != fuse.OK {
		return 0, s
	}
	return g.RawFileSystem.GetXAttr(c, in, name, to)
}

func (g *gate) SetXAttr(c <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.SetXAttr(c, in, name, data)
}

func (g *gate) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	in.Flags &^= syscall.O_DIRECT
	s := g.RawFileSystem.Create(c, in, name, out)
	uncached(&out.OpenOut)
	return s
}

func (g *gate) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	in.Flags &^= syscall.O_DIRECT // the buffers that come from the kernel are not aligned for it
	s := g.RawFileSystem.Open(c, in, out)
	uncached(out)
	return s
}

// uncached has every read and write of an open file come to us.
func uncached(out *fuse.OpenOut) {
	out.OpenFlags |= fuse.FOPEN_DIRECT_IO
	out.OpenFlags &^= fuse.FOPEN_PASSTHROUGH
}

func (g *gate) Read(c <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if s := g.pass(); s != fuse.OK {
		return nil, s
	}
	return g.RawFileSystem.Read(c, in, buf)
}

func (g *gate) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if s := g.pass(); s != fuse.OK {
		return 0, s
	}
	return g.RawFileSystem.Write(c, in, data)
}

func (g *gate) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS // so that everything comes by way of Write
}

func (g *gate) Fsync(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Fsync(c, in)
}

func (g *gate) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.FsyncDir(c, in)
}

func (g *gate) Fallocate(c <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.Fallocate(c, in)
}

func (g *gate) OpenDir(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.OpenDir(c, in, out)
}

func (g *gate) ReadDir(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.ReadDir(c, in, out)
}

func (g *gate) ReadDirPlus(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.ReadDirPlus(c, in, out)
}

func (g *gate) StatFs(c <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if s := g.pass(); s != fuse.OK {
		return s
	}
	return g.RawFileSystem.StatFs(c, in, out)
}
