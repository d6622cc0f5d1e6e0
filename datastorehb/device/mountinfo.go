package device

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Number is the number of a device: that of a file system (st_dev) or of a disk.
type Number struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// String returns the number as the kernel writes it.
func (n Number) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	ID      uint64   `json:"id"`
	Device  Number   `json:"device"`
	Root    string   `json:"root"` // the folder of the file system that is mounted
	Point   string   `json:"point"`
	FSType  string   `json:"fsType"`
	Source  string   `json:"source"`
	Options []string `json:"options"` // of the mount, then of the file system
}

// Option returns the value of a mount option, "" for one without a value, and
// whether it is there.
func (m Mount) Option(name string) (value string, ok bool) {
	for _, o := range m.Options {
		n, v, _ := strings.Cut(o, "=")
		if n == name {
			return v, true
		}
	}
	return "", false
}

// Has reports whether an option stands there exactly so.
func (m Mount) Has(option string) bool { return slices.Contains(m.Options, option) }

// ParseMounts reads the text of /proc/self/mountinfo.
func ParseMounts(text string) ([]Mount, error) {
	var mounts []Mount
	for n, line := range strings.Split(text, "\n") {
		if line == "" {
			continue
		}
		m, err := parseMount(line)
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", n+1, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount reads one line: six fields, any number of optional ones up to a
// dash, and three more. Fields may be empty, so they are split at every space.
func parseMount(line string) (Mount, error) {
	fields := strings.Split(line, " ")
	if len(fields) < 6 {
		return Mount{}, fmt.Errorf("%d fields before the dash, 6 expected: %q", len(fields), line)
	}
	dash := slices.Index(fields[6:], "-")
	if dash < 0 || len(fields) < 6+dash+4 {
		return Mount{}, fmt.Errorf("no dash followed by three fields: %q", line)
	}
	tail := fields[6+dash+1:]
	id, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return Mount{}, fmt.Errorf("mount id %q is no number", fields[0])
	}
	dev, err := parseNumber(fields[2])
	if err != nil {
		return Mount{}, err
	}
	return Mount{
		ID: id, Device: dev, Root: unescape(fields[3]), Point: unescape(fields[4]),
		FSType: unescape(tail[0]), Source: unescape(tail[1]),
		Options: append(options(fields[5]), options(tail[2])...),
	}, nil
}

func parseNumber(s string) (Number, error) {
	major, minor, _ := strings.Cut(s, ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if errA != nil || errB != nil {
		return Number{}, fmt.Errorf("device number %q is not of the form major:minor", s)
	}
	return Number{Major: uint32(a), Minor: uint32(b)}, nil
}

func options(s string) []string {
	var out []string
	for o := range strings.SplitSeq(s, ",") {
		if o != "" {
			out = append(out, unescape(o))
		}
	}
	return out
}

// unescape turns \ooo, three octal digits, into the byte that it stands for:
// that is how the kernel writes blanks and backslashes. Anything else stays.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
