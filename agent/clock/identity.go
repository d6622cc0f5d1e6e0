package clock

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/uuid"
)

const (
	machineIDFile = "/etc/machine-id"
	bootIDFile    = "/proc/sys/kernel/random/boot_id"

	machineIDRemedy = "run `systemd-machine-id-setup` (or `dbus-uuidgen --ensure=/etc/machine-id`) and start the agent again"
)

// MachineID returns the identity of this computer, from /etc/machine-id. It
// tells two computers apart that were given the same host id by mistake.
func MachineID() (uuid.UUID, error) { return machineIDFrom(machineIDFile) }

// BootID returns the identity of the present boot.
func BootID() (uuid.UUID, error) { return bootIDFrom(bootIDFile) }

// NewIncarnation returns a random number that is not zero. An agent draws one
// when it starts, to tell its own run from every earlier one.
func NewIncarnation() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails: the runtime ends the process instead
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

func machineIDFrom(path string) (uuid.UUID, error) {
	id, err := idFrom(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return uuid.Nil, fmt.Errorf("this computer has no machine-id: %s does not exist; %s", path, machineIDRemedy)
	case err != nil:
		return uuid.Nil, fmt.Errorf("reading the machine-id: %w; %s", err, machineIDRemedy)
	}
	return id, nil
}

func bootIDFrom(path string) (uuid.UUID, error) {
	id, err := idFrom(path)
	if err != nil {
		return uuid.Nil, fmt.Errorf("reading the boot-id: %w; mount /proc and start the agent again", err)
	}
	return id, nil
}

// idFrom reads a file that holds one UUID, with or without hyphens.
func idFrom(path string) (uuid.UUID, error) {
	f, err := os.Open(path)
	if err != nil {
		return uuid.Nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return uuid.Nil, err
	}
	text = bytes.TrimSpace(text)
	if len(text) != 32 && len(text) != 36 {
		return uuid.Nil, fmt.Errorf("%s holds %q, which is no id of 32 hexadecimal digits", path, text)
	}
	id, err := uuid.ParseBytes(text)
	if err != nil {
		return uuid.Nil, fmt.Errorf("%s holds %q, which is no id of 32 hexadecimal digits", path, text)
	}
	if id == uuid.Nil {
		return uuid.Nil, fmt.Errorf("%s holds only zeros", path)
	}
	return id, nil
}
