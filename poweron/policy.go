package poweron

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of an entry's fields.
const (
	// MaxName is the longest name of a machine or a driver, in bytes.
	MaxName = 64
	// MaxDefinition is the longest definition of a machine, in bytes, whatever its driver.
	MaxDefinition = 180 << 10
	// MaxMemory is the most memory that a machine may ask for, in bytes.
	MaxMemory = 1 << 48

	maxAttempts = 100
	maxLimit    = 1000
	minWindow   = time.Second
	maxWindow   = 30 * 24 * time.Hour
	maxStopTime = 24 * time.Hour
	minReboot   = time.Second
	maxReboot   = 24 * time.Hour
)

// DefaultPolicy returns the policy of a machine for which nothing else was said.
func DefaultPolicy() Policy {
	return Policy{
		Priority:        3,
		Restart:         true,
		Isolation:       Leave,
		Attempts:        2,
		Limit:           6,
		Window:          10 * time.Minute,
		StopTime:        90 * time.Second,
		OnGuestShutDown: StayOff,
		OnHostShutdown:  RestartElsewhere,
		RebootWait:      10 * time.Minute,
	}
}

// Validate returns every error of the policy, joined, or nil.
func (p Policy) Validate() error {
	return errors.Join(
		inRange("priority", p.Priority, 1, 5),
		oneOf("isolation", p.Isolation, Leave, ShutDown, PowerOff),
		inRange("attempts", p.Attempts, 0, maxAttempts),
		inRange("limit", p.Limit, 1, maxLimit),
		inRange("window", p.Window, minWindow, maxWindow),
		inRange("stop_time", p.StopTime, 0, maxStopTime),
		oneOf("on_guest_shut_down", p.OnGuestShutDown, StayOff, StartAgain),
		p.validateHostShutdown(),
		p.validatePause(),
	)
}

// validatePause lets pass what says nothing, as entries did before there was a choice.
func (p Policy) validatePause() error {
	if p.Pause == "" {
		return nil
	}
	return oneOf("pause", p.Pause, Automatic, Freeze, StopThenFreeze)
}

// validateHostShutdown lets pass what says nothing at all, as entries did before
// there was a choice.
func (p Policy) validateHostShutdown() error {
	if p.OnHostShutdown == "" && p.RebootWait == 0 {
		return nil
	}
	return errors.Join(
		oneOf("on_host_shutdown", p.OnHostShutdown, RestartElsewhere, WaitForReboot, LeaveOff),
		inRange("reboot_wait", p.RebootWait, minReboot, maxReboot),
	)
}

// Complete returns the policy with everything said that an older one leaves open.
func (p Policy) Complete() Policy {
	if p.Pause == "" {
		p.Pause = Automatic
	}
	if p.OnHostShutdown == "" {
		p.OnHostShutdown, p.RebootWait = DefaultPolicy().OnHostShutdown, DefaultPolicy().RebootWait
	}
	return p
}

// Validate returns every error of the entry and its policy, joined, or nil.
func (e Entry) Validate() error {
	var errs []error
	if e.VM == noVM {
		errs = append(errs, errors.New("vm is the nil UUID: give the machine a UUID of its own"))
	}
	if e.Memory == 0 || e.Memory > MaxMemory {
		errs = append(errs, fmt.Errorf("memory is %d bytes: give it from 1 byte to %d (256 TiB)", e.Memory, uint64(MaxMemory)))
	}
	errs = append(errs,
		CheckDefinition(e.Definition),
		wrap("name", CheckName(e.Name)),
		oneOf("desired", e.Desired, Running, Stopped),
		wrap("driver", CheckName(e.Driver)),
		wrap("policy", e.Policy.Validate()),
		e.Rules.Validate(e.Name),
	)
	return errors.Join(errs...)
}

// CheckDefinition returns an error unless a definition has a length that an entry may hold.
func CheckDefinition(definition []byte) error {
	switch n := len(definition); {
	case n == 0:
		return errors.New("definition has 0 bytes: write the JSON that the machine's driver takes (docs/machines.md)")
	case n > MaxDefinition:
		return fmt.Errorf("definition has %d bytes, and may have %d at the most: leave out what the machine does not need, such as devices or the metadata of a libvirt domain, and keep larger data in files on the datastore", n, MaxDefinition)
	}
	return nil
}

// CheckName returns an error unless name may name a machine or a driver. Names
// stand in paths, unit names and command lines; so none looks like an option, a
// hidden file or a way out of a directory.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%.80q has %d bytes: use 1 to %d", name, len(name), MaxName)
	}
	for i := range len(name) {
		if c := name[i]; !letterOrDigit(c) && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("%q has %q at byte %d: use letters, digits, '.', '_' and '-', and begin with a letter or a digit", name, c, i)
		}
	}
	return nil
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func inRange[T int | time.Duration](what string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %v: give it from %v to %v", what, value, least, most)
	}
	return nil
}

func oneOf[T ~string](what string, value T, allowed ...T) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%s is %.80q: use one of %q", what, string(value), allowed)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
