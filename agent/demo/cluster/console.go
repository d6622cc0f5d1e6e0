package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Console reads what a guest writes to its console, from outside the product.
// Every start prints BOOT and then a count without gaps; two copies at once
// would mix two counts.
type Console struct {
	path string

	mu     sync.Mutex
	boots  []Boot
	faults []string
	offset int64
	rest   []byte
	looked time.Time // before this look
}

// Boot is one run of the guest, by its own words.
type Boot struct {
	At    time.Time     // when BOOT was read
	First time.Time     // when the first count was read
	Last  time.Time     // when the newest count was read
	Count uint64        // the newest
	Gap   time.Duration // the longest time for which it was seen not to count
}

// NewConsole watches a file that need not be there yet.
func NewConsole(path string) *Console { return &Console{path: path} }

// Path is the file's.
func (c *Console) Path() string { return c.path }

// Look reads what is new.
func (c *Console) Look() error {
	f, err := os.Open(c.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := f.Seek(c.offset, io.SeekStart); err != nil {
		return err
	}
	fresh, err := io.ReadAll(f)
	c.offset += int64(len(fresh))
	c.rest = append(c.rest, fresh...)
	defer func() { c.looked = now }()
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			return err
		}
		c.rest = rest
		c.take(strings.TrimSpace(string(line)), now)
	}
}

// take takes in one line.
func (c *Console) take(line string, now time.Time) {
	fields := strings.Fields(line)
	switch {
	case strings.Contains(line, "BOOT"): // it may follow half a line of a guest that was killed
		c.boots = append(c.boots, Boot{At: now, Last: now})
	case len(fields) > 1 && fields[0] == "T" && len(c.boots) > 0:
		c.count(fields[1], now)
	}
}

// count takes in one count, of eight hexadecimal digits.
func (c *Console) count(word string, now time.Time) {
	n, err := strconv.ParseUint(word, 16, 64)
	if err != nil || len(word) != 8 {
		return // half a line of a guest that was killed while it wrote
	}
	b := &c.boots[len(c.boots)-1]
	if n != b.Count+1 {
		c.faults = append(c.faults, fmt.Sprintf("%s: count %d follows %d: two copies, or a lost line", c.path, n, b.Count))
	}
	if b.First.IsZero() {
		b.First = now
	} else {
		b.Gap = max(b.Gap, c.looked.Sub(b.Last)) // what came while nobody looked may have come at any time
	}
	b.Count, b.Last = n, now
}

// State returns the runs so far and what was wrong with them.
func (c *Console) State() ([]Boot, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.boots), slices.Clone(c.faults)
}

// Newest returns the newest run, and how many there were.
func (c *Console) Newest() (newest Boot, runs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.boots) > 0 {
		newest = c.boots[len(c.boots)-1]
	}
	return newest, len(c.boots)
}

// ResetGap begins to measure anew for how long it is seen not to count.
func (c *Console) ResetGap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.boots) > 0 {
		c.boots[len(c.boots)-1].Gap = 0
	}
}
