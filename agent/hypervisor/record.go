package hypervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"storebeat/datastorehb"
)

const (
	recordFile = "process.json"
	// maxRecord bounds what is read of a record; the names and paths in one are short.
	maxRecord = 64 << 10
)

// Record is what the run directory holds about a machine's leading process. It
// finds machines whose program has overwritten its environment.
type Record struct {
	Marker string `json:"marker"`
	Driver string `json:"driver"`
	Boot   string `json:"boot"` // the boot that process id and start time belong to
	Handle Handle `json:"handle"`
}

// MachineDir returns the directory, inside the run directory, for one
// generation of a machine: sockets, record, standard error.
func MachineDir(runDir string, vm uuid.UUID, generation uint64) string {
	return filepath.Join(runDir, instance{vm, generation}.String())
}

// instance is one generation of a machine.
type instance struct {
	vm         uuid.UUID
	generation uint64
}

func (i instance) String() string { return fmt.Sprintf("%s-%d", i.vm, i.generation) }

// parseInstance reads the name of a machine's directory in the run directory.
func parseInstance(text string) (instance, bool) {
	at := strings.LastIndexByte(text, '-')
	if at < 0 {
		return instance{}, false
	}
	vm, err := uuid.Parse(text[:at])
	generation, err2 := strconv.ParseUint(text[at+1:], 10, 64)
	i := instance{vm, generation}
	return i, err == nil && err2 == nil && i.String() == text
}

// cgroupPrefix begins the names of machines' cgroups.
const cgroupPrefix = "storebeat-"

// CgroupName returns the name of the machine's own cgroup below CgroupRoot. The
// host's number keeps several agents on one computer apart.
func (s Spec) CgroupName() string {
	return fmt.Sprintf("%s%d-%v", cgroupPrefix, s.Host, instance{s.VM, s.Generation})
}

// parseCgroupName reads a name that CgroupName made.
func parseCgroupName(text string) (datastorehb.HostID, instance, bool) {
	rest, ok := strings.CutPrefix(text, cgroupPrefix)
	number, rest, ok2 := strings.Cut(rest, "-")
	host, err := strconv.ParseUint(number, 10, 16)
	i, ok3 := parseInstance(rest)
	return datastorehb.HostID(host), i, ok && ok2 && ok3 && err == nil && host > 0
}

// WriteRecord records the leading process of a machine, once it is stopped and
// before anybody may let it go: a process without a record was never let go.
func WriteRecord(runDir string, marker Marker, driver string, handle Handle) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	r := Record{Marker: marker.String(), Driver: driver, Boot: boot, Handle: handle}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(MachineDir(runDir, marker.VM, marker.Generation), recordFile)
	if err := renameio.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("record the machine's process: %w", err)
	}
	return nil
}

// readRecords returns the records of a run directory that belong to this boot.
// A damaged record is reported, for it may stand for a machine that can't be
// found otherwise; the good ones are returned with the error.
func readRecords(runDir string) ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(globEscape(runDir), "*", recordFile))
	if err != nil {
		return nil, fmt.Errorf("list records in %s: %w", runDir, err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	var records []Record
	var errs []error
	for _, path := range paths {
		data, err := readSmall(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var r Record
		if err == nil {
			r, err = decodeRecord(data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("record %s: %w; remove the file once you have made sure that no process of the machine runs", path, err))
			continue
		}
		if r.Boot == boot {
			records = append(records, r)
		}
	}
	return records, errors.Join(errs...)
}

func decodeRecord(data []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Record{}, err
	}
	if _, err := ParseMarker(r.Marker); err != nil {
		return Record{}, err
	}
	if r.Handle.PID <= 1 || r.Driver == "" {
		return Record{}, fmt.Errorf("process %d of driver %q makes no sense", r.Handle.PID, r.Driver)
	}
	return r, nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecord {
		return nil, fmt.Errorf("has %d bytes, more than the %d a record may have", info.Size(), maxRecord)
	}
	return os.ReadFile(path)
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// globEscape keeps a run directory with special characters from being a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
