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

// Count reads the guest's newest count from its disk; zero means that it has
// not counted yet.
func Count(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read the boot-sector guest's count: %w", err)
	}
	defer f.Close()
	var count [4]byte
	if _, err := f.ReadAt(count[:], 2*sector); err != nil {
		return 0, fmt.Errorf("read the boot-sector guest's count from %s: %w", path, err)
	}
	return binary.LittleEndian.Uint32(count[:]), nil
}
