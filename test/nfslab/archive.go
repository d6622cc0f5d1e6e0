package nfslab

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
)

// archive is a file system as the kernel unpacks one at boot: cpio, its "newc" form.
type archive struct {
	bytes.Buffer
	inode int
}

const (
	directory = 0o040000
	regular   = 0o100000
	symlink   = 0o120000
)

func (a *archive) add(path string, mode fs.FileMode, kind int, content []byte) {
	a.inode++
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.inode, kind|int(mode), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path)+1, 0)
	a.WriteString(path)
	a.WriteByte(0)
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

func (a *archive) directories(paths ...string) {
	for _, p := range paths {
		a.add(p, 0o755, directory, nil)
	}
}

// file takes a file of this computer in.
func (a *archive) file(path, from string) error {
	content, err := os.ReadFile(from)
	if err == nil {
		a.add(path, 0o755, regular, content)
	}
	return err
}

// end closes the archive.
func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, 0, nil)
	return a.Bytes()
}
