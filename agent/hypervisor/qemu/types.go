package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"storebeat/agent/hypervisor"
)

// typesLimit bounds the question which machine types QEMU has.
const typesLimit = 20 * time.Second

// machineTypes are those that a QEMU has, by name; an alias has the name that it
// stands for.
type machineTypes map[string]string

// typed are the machine types of one QEMU. It has the same until it is exchanged.
type typed struct {
	mu    sync.Mutex
	stamp string
	types machineTypes
}

// types asks the QEMU of this host, unless it was asked before.
func (d *Driver) types(ctx context.Context) (machineTypes, error) {
	binary, err := d.Binary()
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	d.typed.mu.Lock()
	defer d.typed.mu.Unlock()
	if stamp := fmt.Sprint(binary, file.ModTime(), file.Size()); d.typed.stamp != stamp {
		types, err := askTypes(ctx, binary)
		if err != nil {
			return nil, err
		}
		d.typed.stamp, d.typed.types = stamp, types
	}
	return d.typed.types, nil
}

func askTypes(ctx context.Context, binary string) (machineTypes, error) {
	ctx, cancel := context.WithTimeout(ctx, typesLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-machine", "help")
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its machine types: %w", binary, err)
	}
	types := parseTypes(string(out))
	if len(types) == 0 {
		return nil, fmt.Errorf("%s -machine help lists no machine type", binary)
	}
	return types, nil
}

// parseTypes reads lines such as "pc   Standard PC (alias of pc-i440fx-7.2)".
func parseTypes(out string) machineTypes {
	types := machineTypes{}
	for line := range strings.Lines(out) {
		name, rest, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.HasSuffix(strings.TrimSpace(line), ":") || !machineType.MatchString(name) {
			continue
		}
		types[name] = name
		if _, of, isAlias := strings.Cut(rest, "(alias of "); isAlias {
			types[name], _, _ = strings.Cut(of, ")")
		}
	}
	return types
}

// pin returns the type that a name stands for.
func (t machineTypes) pin(name string) (string, error) {
	if pinned := t[name]; pinned != "" {
		return pinned, nil
	}
	return "", fmt.Errorf("machine %q is not among the types that this host's QEMU has: %s", name, t.like(name))
}

// like lists the types of the family of a name, or all.
func (t machineTypes) like(name string) string {
	family := familyOf(name)
	var near, all []string
	for name := range t {
		all = append(all, name)
		if strings.HasPrefix(name, family) {
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		near = all
	}
	slices.Sort(near)
	return strings.Join(near, ", ")
}

// Pin writes out which machine type an alias, or none, stands for on this host: a
// newer QEMU would take it for a newer type, and show the guest other hardware. A
// machine that has a type of that family keeps it.
func (d *Driver) Pin(ctx context.Context, definition, before []byte) ([]byte, error) {
	var raw, old Definition
	if err := hypervisor.DecodeDefinition(definition, &raw); err != nil {
		return nil, err
	}
	types, err := d.types(ctx)
	if err != nil {
		return nil, err
	}
	if raw.Machine == "" {
		raw.Machine = "pc"
	}
	pinned, err := types.pin(raw.Machine)
	if err != nil {
		return nil, err
	}
	if before != nil && hypervisor.DecodeDefinition(before, &old) == nil && pinned != raw.Machine && familyOf(old.Machine) == familyOf(pinned) {
		pinned = old.Machine
	}
	raw.Machine = pinned
	return json.Marshal(raw)
}

// familyOf returns a machine type without its version.
func familyOf(name string) string {
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		return name[:at]
	}
	return name
}
