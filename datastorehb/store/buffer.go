package store

import (
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// alignedBuffer returns n zero bytes that begin at a multiple of BlockSize, as
// direct I/O asks for. Go never moves what is on the heap.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+datastorehb.BlockSize-1)
	skip := 0
	if r := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % datastorehb.BlockSize); r != 0 {
		skip = datastorehb.BlockSize - r
	}
	return b[skip : skip+n : skip+n]
}

// openDirect opens a file past the page cache, and through it where the file
// system does not take that.
func openDirect(fs FS, name string, flags int) (f File, direct bool, err error) {
	f, err = fs.Open(name, flags|unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		f, err = fs.Open(name, flags)
		return f, false, err
	}
	return f, true, err
}

// readAll reads what there is at off, at most len(b) bytes.
func readAll(f File, b []byte, off int64) ([]byte, error) {
	n, err := f.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b[:n], nil
}

// readGrowing reads a structure that begins at off and says in its first block
// how long it is. It reads one block more, where there is one, so that the decoder
// sees a length that is not the structure's; guess is the first buffer's size.
func readGrowing(f File, off int64, guess int, length func([]byte) int) ([]byte, error) {
	b, err := readAll(f, alignedBuffer(guess), off)
	if err != nil || len(b) < guess {
		return b, err
	}
	need := length(b) + datastorehb.BlockSize
	if need <= guess {
		return b[:need], nil
	}
	return readAll(f, alignedBuffer(need), off)
}
