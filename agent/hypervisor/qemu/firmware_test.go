package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// UEFI, as Debian's package ovmf has it.
const (
	uefiCode     = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	uefiTemplate = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// giveVariables puts the firmware's variables on the datastore.
func giveVariables(t *testing.T, spec hypervisor.Spec) (file string, template []byte) {
	t.Helper()
	needQEMU(t)
	template, err := os.ReadFile(uefiTemplate)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no UEFI for guests: install ovmf")
	}
	file = filepath.Join(spec.DatastorePath, "vars.fd")
	if err == nil {
		err = os.WriteFile(file, template, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file, template
}

// boots is how long firmware in emulation may take: some seconds of a processor, of which others
// want the most.
const boots = 4 * hypervisortest.Limit

// greets waits until the firmware has written its variables and says on the console what it is.
func greets(t *testing.T, spec hypervisor.Spec, template []byte) {
	t.Helper()
	read := func(file string) []byte {
		content, _ := os.ReadFile(filepath.Join(spec.DatastorePath, file))
		return content
	}
	hypervisortest.Within(t, boots, "the firmware writes its variables", func() bool { return !bytes.Equal(read("vars.fd"), template) })
	hypervisortest.Within(t, boots, "the firmware greets", func() bool { return bytes.Contains(read("tick.log"), []byte("UEFI Interactive Shell")) })
}

// refusesVariables tells whether a second machine may start on the same variables.
func refusesVariables(t *testing.T, spec hypervisor.Spec, file, when string) {
	t.Helper()
	second := hypervisortest.NewSpec(t)
	second.DatastorePath = spec.DatastorePath
	second.Definition = fmt.Appendf(nil, `{"memory_mib": 128, "machine": "pc-q35-7.2", "firmware": {"code": %q, "vars": "vars.fd"}}`, uefiCode)
	if _, err := New("").Start(t.Context(), second); !errors.Is(err, hypervisor.ErrLocked) || !strings.Contains(err.Error(), file) {
		t.Errorf("%s: a second guest with the same firmware variables: %v; want %v naming %s", when, err, hypervisor.ErrLocked, file)
	}
}

// A UEFI guest's variables are a disk of its own: it writes them to the datastore, and nobody
// else can open them, be it frozen or not.
func TestFirmware(t *testing.T) {
	t.Parallel()
	spec := hypervisortest.NewSpec(t)
	file, template := giveVariables(t, spec)
	spec.Definition = fmt.Appendf(nil, `{"memory_mib": 128, "machine": "pc-q35-7.2", "firmware": {"code": %q, "vars": "vars.fd"}, "serial_log": "tick.log"}`, uefiCode)
	if disks, err := New("").Disks(spec); err != nil || !slices.Equal(disks, []string{file}) {
		t.Errorf("its disks are %q, %v; want %s", disks, err, file)
	}
	m := start(t, spec)
	hypervisortest.Thaw(t, m.Handle())
	greets(t, spec, template)
	refusesVariables(t, spec, file, "running")
	hypervisortest.Freeze(t, m.Handle())
	refusesVariables(t, spec, file, "frozen")
	if err := m.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Thaw(t, start(t, spec).Handle())
}

func TestFirmwareElsewhere(t *testing.T) {
	for definition, want := range map[string]string{
		`"firmware": {"code": "/c", "vars": "/var/lib/vars.fd"}`: "/var/lib/vars.fd",
		`"firmware": {"code": "/c", "vars": "../vars.fd"}`:       "../vars.fd",
		`"firmware": {"code": "/c"}`:                             "path is empty",
		`"firmware": {"code": "c", "vars": "vars.fd"}`:           "not a file of the host",
	} {
		spec := hypervisor.Spec{Name: "web", DatastorePath: "/ds", Definition: []byte(`{"memory_mib": 128, ` + definition + `}`)}
		if err := New("").Validate(spec); err == nil || !strings.Contains(err.Error(), "firmware: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", definition, err, want)
		}
	}
}

// flash are a UEFI guest's arguments by hand.
func flash(vars string) []string {
	return []string{"-m", "128", "-machine", "q35,pflash0=code,pflash1=vars",
		"-blockdev", "driver=file,node-name=code,read-only=on,filename=" + uefiCode,
		"-blockdev", "driver=file,node-name=vars,cache.direct=on,filename=" + vars}
}

// TestTakeOverFirmware takes over a UEFI guest that was started by hand, and starts it anew
// from what was read of it.
func TestTakeOverFirmware(t *testing.T) {
	t.Parallel()
	spec := hypervisortest.NewSpec(t)
	file, _ := giveVariables(t, spec)
	monitor, process := byHand(t, spec, flash(file)...)
	d := New("")
	g, err := d.Read(t.Context(), monitor, "web", []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}})
	if err != nil || len(g.Problems) > 0 || g.Datastore != "nfs1" {
		t.Fatalf("read %+v, %v", g, err)
	}
	spec.VM, spec.Definition, spec.CgroupRoot = g.VM, g.Definition, ""
	if disks, err := d.Disks(spec); err != nil || !slices.Equal(disks, []string{file}) {
		t.Errorf("its disks are %q, %v; want %s", disks, err, file)
	}
	if err := d.Offer(t.Context(), monitor, g.VM, spec.RunDir); err != nil {
		t.Fatal(err)
	}
	m := start(t, spec)
	if m.Handle().PID != process.Pid {
		t.Fatalf("started process %d beside %d", m.Handle().PID, process.Pid)
	}
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "the agent knows that it runs", func() bool { return m.Condition().Guest == "running" })
	_ = process.Kill()
	_, _ = process.Wait() // it is a child of the test's, not of init
	<-m.Done()
	spec.Generation++
	hypervisortest.Thaw(t, start(t, spec).Handle())
}

// The home of a guest is where its disks are locked, and not where its flash memory lies.
func TestHomeOfFirmware(t *testing.T) {
	r := &running{Type: "pc-q35-7.2", Memory: 1 << 27}
	if err := json.Unmarshal([]byte(`[{"qdev": "/machine/system.flash0", "inserted": {"file": "/fast/code", "ro": true}},
		{"qdev": "/machine/system.flash1", "inserted": {"file": "/fast/vars"}}, {"device": "ide0", "inserted": {"file": "/ds/a.img"}}]`), &r.Disks); err != nil {
		t.Fatal(err)
	}
	places := []hypervisor.Place{{Name: "fast", Path: "/fast"}, {Name: "nfs1", Path: "/ds"}}
	if home, _, _ := r.home(places); home.Name != "nfs1" {
		t.Errorf("its home is %s", home.Name)
	}
	r.Disks = r.Disks[:2]
	if home, _, _ := r.home(places); home.Name != "fast" {
		t.Errorf("without disks, its home is %s", home.Name)
	}
}

// What can't be taken over is refused with what to do about it.
func TestTakeOverFirmwareRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args func(file string) []string
		want string
	}{
		"on the host": {func(string) []string { return flash(filepath.Join(t.TempDir(), "vars.fd")) }, "none of its disks lies on a datastore"},
		"as drives": {func(file string) []string {
			return []string{"-m", "128", "-machine", "q35", "-drive", "if=pflash,format=raw,readonly=on,file=" + uefiCode, "-drive", "if=pflash,format=raw,file=" + file}
		}, "-machine pflash1=vars"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := hypervisortest.NewSpec(t)
			file, template := giveVariables(t, spec)
			args := c.args(file)
			if path := args[len(args)-1][strings.LastIndex(args[len(args)-1], "=")+1:]; path != file {
				if err := os.WriteFile(path, template, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			monitor, _ := byHand(t, spec, args...)
			g, err := New("").Read(t.Context(), monitor, "web", []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}})
			if err != nil || g.Definition != nil || !strings.Contains(strings.Join(g.Problems, "; "), c.want) {
				t.Errorf("read %+v, %v; want %s", g, err, c.want)
			}
		})
	}
}
