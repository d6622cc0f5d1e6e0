package libvirt

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/agent/hypervisor/qemu/bootsector"
)

// envURI names the daemon to the suite's helper process.
const envURI = "LIBVIRT_TEST_URI"

func TestMain(m *testing.M) {
	hypervisortest.DieAsAgent(New(os.Getenv(envURI)))
	os.Exit(libvirttest.Main(m))
}

func encode(t testing.TB, d Definition) []byte {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// domainOf puts the guest's disk on the datastore and returns its domain.
func domainOf(t testing.TB, spec hypervisor.Spec) string {
	t.Helper()
	disk := filepath.Join(spec.DatastorePath, "disk.img")
	if err := bootsector.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	return libvirttest.Domain("web-"+spec.VM.String()[:8], spec.VM, disk, filepath.Join(spec.RunDir, "serial"))
}

func define(t testing.TB, spec hypervisor.Spec) []byte {
	t.Helper()
	return encode(t, Definition{XML: portable(domainOf(t, spec), spec)})
}

// TestWithOneDaemon has all its guests in one libvirtd, most of them at a time.
func TestWithOneDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.Setenv(envURI, b.host.URI); err != nil { // nobody else reads it
		t.Fatal(err)
	}
	t.Run("conformance", func(t *testing.T) { conformance(t, b.host) })
	b.sub("guests", guests)
}

func conformance(t *testing.T, host *libvirttest.Host) {
	disk := "<source file='{{datastore}}/disk.img'/>"
	hypervisortest.Run(t, hypervisortest.Fixture{
		Parallel:  true,
		HasDisk:   true,
		New:       func() hypervisor.Driver { return New(host.URI) },
		Define:    define,
		Count:     count,
		SwitchOff: func(t testing.TB, spec hypervisor.Spec, _ hypervisor.Machine) { tell(t, spec, "q") },
		Break: map[string]func([]byte) []byte{
			"no such disk":    replace(disk, "<source file='{{datastore}}/none.img'/>"),
			"no such machine": replace("pc-i440fx-7.2", "abacus"),
			"wrong format":    replace("type='raw'", "type='qcow2'"),
			"another UUID":    replace("<uuid>", "<uuid>00000000"),
		},
	})
}

func count(t testing.TB, spec hypervisor.Spec) hypervisortest.Count {
	t.Helper()
	return hypervisortest.CountIn(t, filepath.Join(spec.DatastorePath, "tick.log"))
}

// tell sends a byte to the guest's serial port.
func tell(t testing.TB, spec hypervisor.Spec, command string) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(spec.RunDir, "serial"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command)); err != nil {
		t.Fatal(err)
	}
}

// replace returns a function that damages a definition.
func replace(old, by string) func([]byte) []byte {
	return func(good []byte) []byte {
		var d Definition
		if err := json.Unmarshal(good, &d); err != nil || !strings.Contains(d.XML, old) {
			panic(fmt.Sprintf("%q is not in %s: %v", old, d.XML, err))
		}
		d.XML = strings.Replace(d.XML, old, by, 1)
		bad, _ := json.Marshal(d) // it was JSON before
		return bad
	}
}
