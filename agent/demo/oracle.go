package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// oracle reads what a guest writes to its console, from outside the product.
// Every start prints BOOT and then a count without gaps; two copies at once
// would mix two counts.
type oracle struct {
	path string

	mu     sync.Mutex
	boots  []boot
	faults []string
	offset int64
	rest   []byte
}

// boot is one run of the guest, by its own words.
type boot struct {
	at    time.Time // when BOOT was read
	first time.Time // when the first count was read
	last  time.Time
	count uint64
}

// look reads what is new in the log.
func (o *oracle) look() error {
	f, err := os.Open(o.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := f.Seek(o.offset, 0); err != nil {
		return err
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(bufio.NewReader(f))
	o.offset += n
	o.rest = append(o.rest, b.Bytes()...)
	for {
		line, rest, found := bytes.Cut(o.rest, []byte("\n"))
		if !found {
			return err
		}
		o.rest = rest
		o.take(strings.TrimSpace(string(line)), now)
	}
}

// take takes in one line.
func (o *oracle) take(line string, now time.Time) {
	fields := strings.Fields(line)
	switch {
	case len(fields) > 0 && fields[0] == "BOOT":
		o.boots = append(o.boots, boot{at: now, last: now})
	case len(fields) > 1 && fields[0] == "T" && len(o.boots) > 0:
		o.count(fields[1], now)
	}
}

func (o *oracle) count(word string, now time.Time) {
	base := 10
	if len(word) == 8 {
		base = 16 // the boot-sector guest counts in eight hexadecimal digits
	}
	n, err := strconv.ParseUint(word, base, 64)
	b := &o.boots[len(o.boots)-1]
	if err != nil {
		return // half a line of a guest that was killed while it wrote
	}
	if n != b.count+1 {
		o.faults = append(o.faults, fmt.Sprintf("%s: count %d follows %d: two copies, or a lost line", o.path, n, b.count))
	}
	b.count, b.last = n, now
	if b.first.IsZero() {
		b.first = now
	}
}

// state returns the runs so far and what was wrong with them.
func (o *oracle) state() ([]boot, []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]boot(nil), o.boots...), append([]string(nil), o.faults...)
}
