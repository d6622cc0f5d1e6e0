package bootsector

import (
	_ "embed" // the assembled guest
	"encoding/binary"
	"fmt"
	"os"
)

//go:generate nasm -f bin -o tick.img tick.asm

const (
	sector = 512
	// DiskSize is the size of a disk that WriteDisk makes.
	DiskSize = 1 << 20
)

// Where the guest writes on its disk, in sectors.
const (
	firstMark = 16
	// Marks is how many marks a disk holds.
	Marks = 1024
)

//go:embed tick.img
var image []byte

// WriteDisk makes a new disk image with the guest on it. A file that exists
// already is left alone, and is an error.
func WriteDisk(path string) error {
	disk := make([]byte, DiskSize)
	copy(disk, image)
	disk[sector] = 'D' // the guest then keeps its count on disk, too
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("make the boot-sector guest's disk: %w", err)
	}
	_, err = f.Write(disk)
	if syncErr := f.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write the boot-sector guest's disk %s: %w", path, err)
	}
	return nil
}

// Mark is what the guest writes at each count.
type Mark struct {
	Boot  uint32 // how often the guest had been started on this disk; 0: there is no mark
	Count uint32 // of that run, from 1
}

func markOf(b []byte) Mark {
	return Mark{Count: binary.LittleEndian.Uint32(b), Boot: binary.LittleEndian.Uint32(b[4:])}
}

// Count reads the guest's newest count from its disk; zero means that it has
// not counted yet.
func Count(path string) (uint32, error) {
	marks, err := ReadMarks(path)
	var newest Mark
	for _, m := range marks {
		if m.Boot > newest.Boot || m.Boot == newest.Boot && m.Count > newest.Count {
			newest = m
		}
	}
	return newest.Count, err
}

// ReadMarks reads the guest's last marks from its disk. The mark of a count lies
// at the count's remainder by Marks, so that a write which reached the disk late
// stays there to be seen.
func ReadMarks(path string) ([]Mark, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the boot-sector guest's marks: %w", err)
	}
	defer f.Close()
	content := make([]byte, Marks*sector)
	if _, err := f.ReadAt(content, firstMark*sector); err != nil {
		return nil, fmt.Errorf("read the boot-sector guest's marks from %s: %w", path, err)
	}
	marks := make([]Mark, Marks)
	for i := range marks {
		marks[i] = markOf(content[i*sector:])
	}
	return marks, nil
}
