package hypervisortest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"testing"

	"storebeat/agent/hypervisor/qemu/bootsector"
)

// Count is what a machine has said so far.
type Count struct {
	Boots int    // how often it has begun
	Last  uint64 // its newest tick
}

// CountOn reads what a guest that ticks (package bootsector) has written to its disk.
func CountOn(t testing.TB, disk string) uint32 {
	t.Helper()
	newest, err := bootsector.Count(disk)
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

// CountIn reads what a guest that ticks (package bootsector) has written to its
// console. No file yet means that it has said nothing.
func CountIn(t testing.TB, console string) (c Count) {
	t.Helper()
	f, err := os.Open(console)
	if errors.Is(err, os.ErrNotExist) {
		return c
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// The newest line may be there in part.
		var n uint64
		if lines.Text() == "BOOT" {
			c.Boots++
			c.Last = 0
		} else if _, err := fmt.Sscanf(lines.Text(), "T %8x", &n); err == nil && len(lines.Text()) == 10 {
			if n != c.Last+1 {
				t.Fatalf("tick %d follows tick %d", n, c.Last)
			}
			c.Last = n
		}
	}
	return c
}
