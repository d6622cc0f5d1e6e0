package store

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"
)

// raiseVersion makes a file, one structure long, look as if a newer Storebeat had
// written it: version 2, and a good checksum.
func raiseVersion(t testing.TB, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	raiseVersionIn(b)
	must(t, os.WriteFile(name, b, 0o600))
}

func raiseVersionIn(b []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint16(b[8:], 2)
	binary.LittleEndian.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], table), table, b[16:]))
}
