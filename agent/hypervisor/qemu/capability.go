package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// sayLimit bounds what QEMU is given to say what it can do, which takes 0.1 s.
const sayLimit = 20 * time.Second

// watchdogs are the devices that reset a guest which does not feed them.
var watchdogs = []string{"i6300esb", "ib700", "diag288"}

// Needs reads what a guest needs of its host.
func (*Driver) Needs(definition []byte) poweron.Needs {
	n := poweron.Needs{Driver: name}
	d := Definition{Machine: DefaultMachine}
	if hypervisor.DecodeDefinition(definition, &d) != nil {
		return n // A start tells what is wrong with it.
	}
	need := func(kind poweron.Kind, what string) {
		if what != "" {
			n.Of = append(n.Of, poweron.Need{Kind: kind, Name: what})
		}
	}
	need(poweron.MachineType, d.Machine)
	if d.Accel != "auto" {
		need(poweron.Accelerator, d.Accel)
	}
	if model, _, _ := strings.Cut(d.CPU, ","); model != "host" || d.Accel == "kvm" { // else it is whatever the host has
		need(cpuKind(d.Accel), model)
	}
	for _, disk := range d.Disks {
		need(poweron.Datastore, disk.Datastore)
	}
	for _, nic := range d.NICs {
		need(poweron.Bridge, nic.Bridge)
	}
	words, _ := takeApart(d.Args)
	n.Watchdog = d.watched(words)
	for _, a := range words {
		switch first, rest, _ := strings.Cut(a.value, ","); {
		case a.name == "cpu":
			need(cpuKind(d.Accel), first)
		case (a.name == "nic" || a.name == "netdev") && first == "bridge":
			need(poweron.Bridge, bridgeOf(rest))
		}
	}
	return n
}

// watched tells whether the guest has an emulated watchdog: a device, or that of its chipset.
// Of two settings of the same property QEMU takes the last.
func (d *Definition) watched(words []argument) bool {
	device, chipset := d.Watchdog != nil, hypervisor.HasChipsetWatchdog(d.Machine)
	for _, a := range words {
		parts, _ := parseSettings(a.value)
		switch a.name {
		case "watchdog":
			device = true
		case "device":
			device = device || slices.Contains(watchdogs, parts.first("driver"))
		case "global":
			if off, set := noReboot(parts); set {
				chipset = !off && strings.Contains(d.Machine, "q35")
			}
		}
	}
	return device || chipset
}

// noReboot reads whether a global property keeps the chipset's watchdog of q35 from resetting
// the guest; set is false for all other properties.
func noReboot(global settings) (off, set bool) {
	if value := global.get("ICH9-LPC.noreboot"); value != "" {
		return on(value), true
	}
	if global.get("driver") == "ICH9-LPC" && global.get("property") == "noreboot" {
		return on(global.get("value")), true
	}
	return false, false
}

func cpuKind(accel string) poweron.Kind {
	if accel == "" || accel == "auto" {
		return poweron.CPUModel
	}
	return poweron.CPUModel.Under(accel)
}

// bridgeOf returns the bridge of a network device's options; QEMU's own choice is br0.
func bridgeOf(options string) string {
	for option := range strings.SplitSeq(options, ",") {
		if bridge, ok := strings.CutPrefix(option, "br="); ok {
			return bridge
		}
	}
	return "br0"
}

// asked is what one QEMU has said of itself. It says the same until it is exchanged.
type asked struct {
	mu    sync.Mutex
	stamp string
	said  poweron.DriverState
}

// Capabilities asks QEMU what machine types and models of processor it has, without any
// guest, whenever it has been exchanged for another.
func (d *Driver) Capabilities(ctx context.Context) poweron.DriverState {
	d.asked.mu.Lock()
	defer d.asked.mu.Unlock()
	binary, err := d.Binary()
	if err != nil {
		return poweron.DriverState{Name: name, Problem: err.Error()}
	}
	file, err := os.Stat(binary)
	if err != nil {
		return poweron.DriverState{Name: name, Problem: err.Error()}
	}
	kvm := d.accel()
	stamp := fmt.Sprint(binary, file.ModTime(), file.Size(), kvm)
	if d.asked.stamp == stamp {
		return d.asked.said
	}
	said, err := ask(ctx, binary, kvm)
	if err != nil {
		return poweron.DriverState{Name: name, Problem: fmt.Sprintf("%s does not tell what it can do: %v", binary, err)}
	}
	d.asked.stamp, d.asked.said = stamp, said
	return said
}

// questions to a QEMU that has no guest.
const questions = `{"execute":"qmp_capabilities"}
{"execute":"query-machines"}
{"execute":"query-cpu-definitions"}
{"execute":"quit"}
`

func ask(ctx context.Context, binary string, kvm bool) (poweron.DriverState, error) {
	ctx, cancel := context.WithTimeout(ctx, sayLimit)
	defer cancel()
	accel := "tcg"
	if kvm {
		accel = "kvm"
	}
	cmd := exec.CommandContext(ctx, binary, "-no-user-config", "-nodefaults", "-display", "none", "-S", "-machine", "none", "-accel", accel, "-qmp", "stdio")
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(questions), &said
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return poweron.DriverState{}, fmt.Errorf("no answer within %v", sayLimit)
	case err != nil:
		return poweron.DriverState{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return understand(out, kvm)
}

// reply is any of the answers, and the greeting. Events are none of these.
type reply struct {
	QMP *struct {
		Version struct {
			QEMU struct{ Major, Minor, Micro int }
		}
	}
	Return json.RawMessage
	Error  *struct{ Desc string }
}

// understand reads the answers to questions.
func understand(out []byte, kvm bool) (poweron.DriverState, error) {
	var machines []struct{ Name, Alias string }
	var processors []struct {
		Name    string
		Lacking []string `json:"unavailable-features"`
	}
	answers, version, err := replies(out)
	if err == nil && len(answers) < 3 {
		err = errors.New("it has not answered all questions")
	}
	if err == nil {
		err = errors.Join(json.Unmarshal(answers[1], &machines), json.Unmarshal(answers[2], &processors))
	}
	if err != nil {
		return poweron.DriverState{}, err
	}
	types, models := []string{}, []string{}
	for _, m := range machines {
		if types = append(types, m.Name); m.Alias != "" {
			types = append(types, m.Alias)
		}
	}
	for _, p := range processors {
		if len(p.Lacking) == 0 {
			models = append(models, p.Name)
		}
	}
	slices.Sort(types)
	slices.Sort(models)
	accelerators, best := []string{"tcg"}, "tcg"
	if kvm {
		accelerators, best = []string{"kvm", "tcg"}, "kvm"
	}
	return poweron.DriverState{Name: name, Version: "QEMU " + version, Has: map[poweron.Kind][]string{
		poweron.MachineType: types, poweron.Accelerator: accelerators, poweron.CPUModel: models, poweron.CPUModel.Under(best): models}}, nil
}

// replies returns the answers in their order, and the version that QEMU greets with.
func replies(out []byte) (answers []json.RawMessage, version string, err error) {
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var r reply
		if err := decoder.Decode(&r); err != nil {
			return nil, "", fmt.Errorf("its answer is no JSON: %w", err)
		}
		switch {
		case r.Error != nil:
			return nil, "", errors.New(r.Error.Desc)
		case r.QMP != nil:
			v := r.QMP.Version.QEMU
			version = fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
		case r.Return != nil:
			answers = append(answers, r.Return)
		}
	}
	return answers, version, nil
}
