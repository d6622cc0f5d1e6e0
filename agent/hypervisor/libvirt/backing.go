package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
)

// maxChain is how many images a disk may stand on before one stops looking: a chain in a
// circle has no end.
const maxChain = 200

// findChains fills in on which images disks stand where the XML does not tell: libvirt finds
// that out when a guest starts. A file that can't be read in time tells nothing.
func (d *domain) findChains(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	found := make(chan map[int]*backer, 1)
	disks := d.Devices.Disks
	go func() {
		chains := map[int]*backer{}
		for i := range disks {
			if k := &disks[i]; k.Driver.Type == "qcow2" && k.Source.File != "" && k.Back == nil {
				chains[i] = chainOf(k.Source.File)
			}
		}
		found <- chains
	}()
	select {
	case chains := <-found:
		for i, c := range chains {
			disks[i].Back = c
		}
	case <-ctx.Done(): // the storage hangs, and the look with it
	}
}

// chainOf returns the images that one stands on, nil if there are none.
func chainOf(file string) *backer {
	var first *backer
	for at, n := &first, 0; n < maxChain; n++ {
		next := backingOf(file)
		if next == "" {
			break
		}
		*at = &backer{Type: "file", Source: source{File: next}}
		at, file = &(*at).Back, next
	}
	return first
}

// backingOf reads in the header of a qcow2 image which file it stands on, "" if none, or if
// that can't be told. Numbers are big-endian there: a magic of 4 bytes, the version in 4, the
// place of the name in 8, its length in 4.
func backingOf(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	header := make([]byte, 20)
	if _, err := f.ReadAt(header, 0); err != nil || !bytes.HasPrefix(header, []byte("QFI\xfb")) {
		return ""
	}
	at, length := binary.BigEndian.Uint64(header[8:]), binary.BigEndian.Uint32(header[16:])
	if at == 0 || at > 1<<20 || length == 0 || length > 1023 { // the longest that QEMU takes
		return ""
	}
	name := make([]byte, length)
	if _, err := f.ReadAt(name, int64(at)); err != nil {
		return ""
	}
	if path := string(name); filepath.IsAbs(path) || bytes.Contains(name, []byte(":")) {
		return path
	}
	return filepath.Join(filepath.Dir(file), string(name))
}
