package faultfs

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Op is one kind of request to a file system.
type Op string

// The operations that can be counted and disturbed.
const (
	Lookup    Op = "lookup"
	GetAttr   Op = "getattr"
	SetAttr   Op = "setattr"
	Mkdir     Op = "mkdir"
	Unlink    Op = "unlink"
	Rmdir     Op = "rmdir"
	Rename    Op = "rename"
	Link      Op = "link"
	Access    Op = "access"
	GetXAttr  Op = "getxattr"
	SetXAttr  Op = "setxattr"
	Create    Op = "create"
	Open      Op = "open"
	Read      Op = "read"
	Write     Op = "write"
	Fsync     Op = "fsync"
	FsyncDir  Op = "fsyncdir"
	Fallocate Op = "fallocate"
	Lock      Op = "lock"
	OpenDir   Op = "opendir"
	ReadDir   Op = "readdir"
	StatFs    Op = "statfs"
)

// Ops are all operations.
var Ops = []Op{Lookup, GetAttr, SetAttr, Mkdir, Unlink, Rmdir, Rename, Link, Access, GetXAttr, SetXAttr, Create, Open,
	Read, Write, Fsync, FsyncDir, Fallocate, Lock, OpenDir, ReadDir, StatFs}

// Kind is what a fault does to a request.
type Kind string

const (
	// Hang has the request wait until another fault, or none, is injected.
	Hang Kind = "hang"
	// Error refuses the request.
	Error Kind = "error"
	// Slow carries the request out after a delay.
	Slow Kind = "slow"
	// Torn carries out the first bytes of a write, and reports an error. It leaves
	// other operations alone.
	Torn Kind = "torn"
	// Lying says that a write, sync or allocation was carried out, and does
	// nothing. It leaves other operations alone.
	Lying Kind = "lying"
	// LostReply carries the request out and reports an error. It leaves alone what
	// changes nothing.
	LostReply Kind = "lost-reply"
)

// Kinds are all kinds of faults.
var Kinds = []Kind{Hang, Error, Slow, Torn, Lying, LostReply}

// Fault is what happens to requests.
type Fault struct {
	Kind  Kind
	Ops   []Op          // to which it happens; none: to all
	Errno syscall.Errno // that is reported; 0: EIO
	Delay time.Duration // of Slow
	Bytes int           // that Torn lets through
}

// Validate refuses a fault that does not exist.
func (f Fault) Validate() error {
	if !slices.Contains(Kinds, f.Kind) {
		return fmt.Errorf("fault %q: choose one of %s", f.Kind, list(Kinds))
	}
	for _, op := range f.Ops {
		if !slices.Contains(Ops, op) {
			return fmt.Errorf("operation %q: choose from %s", op, list(Ops))
		}
	}
	if f.Delay < 0 || f.Bytes < 0 {
		return fmt.Errorf("fault %s with delay %v and %d bytes: neither can be less than nothing", f.Kind, f.Delay, f.Bytes)
	}
	return nil
}

func list[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// strikes reports whether the fault happens to an operation.
func (f Fault) strikes(op Op) bool {
	if len(f.Ops) > 0 && !slices.Contains(f.Ops, op) {
		return false
	}
	switch f.Kind {
	case Torn:
		return op == Write
	case Lying:
		return op == Write || op == Fsync || op == FsyncDir || op == Fallocate
	case LostReply:
		return slices.Contains(changing, op)
	}
	return true
}

// changing are the operations that change something.
var changing = []Op{SetAttr, Mkdir, Unlink, Rmdir, Rename, Link, SetXAttr, Create, Write, Fsync, FsyncDir, Fallocate, Lock}

func (f Fault) errno() syscall.Errno {
	if f.Errno == 0 {
		return syscall.EIO
	}
	return f.Errno
}
