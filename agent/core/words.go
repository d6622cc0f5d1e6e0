package core

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"storebeat/datastorehb"
)

var hostNumber = regexp.MustCompile(`\bhost ([1-9][0-9]{0,3})\b`)

// named puts names in the place of host numbers. The packages below know hosts
// by their number alone, and people know them by their name.
func (c *Core) named(text string) string {
	if !strings.Contains(text, "host ") { // most texts
		return text
	}
	return hostNumber.ReplaceAllStringFunc(text, func(found string) string {
		number, err := strconv.ParseUint(found[len("host "):], 10, 16)
		if err != nil {
			return found
		}
		return c.HostName(datastorehb.HostID(number))
	})
}

func (c *Core) allNamed(texts []string) []string {
	for i, text := range texts {
		texts[i] = c.named(text)
	}
	return texts
}

// rounded is a duration in the form that people read.
func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
