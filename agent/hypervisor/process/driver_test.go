package process

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/ticker"
)

func TestMain(m *testing.M) {
	hypervisortest.DieAsAgent(New())
	if len(os.Args) > 1 && os.Args[1] == "ticker" {
		os.Exit(ticker.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	hypervisortest.Run(t, hypervisortest.Fixture{
		New: func() hypervisor.Driver { return New() },
		Define: func(t testing.TB, _ hypervisor.Spec) []byte {
			return define(t, Definition{Command: []string{os.Args[0], "ticker", "-every", "10ms", "{{datastore}}/tick.log"}})
		},
		Count: count,
		SwitchOff: func(t testing.TB, _ hypervisor.Spec, m hypervisor.Machine) {
			if err := m.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Broken: map[string][]byte{
			"no such program":   []byte(`{"command": ["/no/such/program"]}`),
			"no such directory": []byte(`{"command": ["/bin/true"], "dir": "nowhere"}`),
			"no place to write": []byte(`{"command": ["/bin/true"], "output": "nowhere/log"}`),
		},
	})
}

func define(t testing.TB, d Definition) []byte {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func count(t testing.TB, spec hypervisor.Spec) (c hypervisortest.Count) {
	f, err := os.Open(filepath.Join(spec.DatastorePath, "tick.log"))
	if os.IsNotExist(err) {
		return c
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n uint64
		if strings.HasPrefix(lines.Text(), "BOOT") {
			c.Boots++
		} else if _, err := fmt.Sscanf(lines.Text(), "T %x", &n); err == nil {
			if n != c.Last+1 {
				t.Fatalf("tick %d follows tick %d", n, c.Last)
			}
			c.Last = n
		}
	}
	return c
}

func readFile(t *testing.T, spec hypervisor.Spec, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(spec.DatastorePath, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
