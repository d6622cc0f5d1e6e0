package libvirt

import (
	"os"
	"path/filepath"
	"strings"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/poweron"
)

// large: a domain whose definition has just the length that is stored is read, started, and
// told from one that has a byte more.
func large(b bench) {
	spec := hypervisortest.NewSpec(b)
	text := domainOf(b, spec)
	b.Cleanup(func() { _ = b.driver.Forget(b.Context(), spec.VM) })
	read := func(more int) hypervisor.Guest {
		b.Helper()
		metadata := "<metadata><n:note xmlns:n='http://example.org/note'>" + strings.Repeat("n", more) + "</n:note></metadata>"
		file := filepath.Join(spec.RunDir, "large.xml")
		if err := os.WriteFile(file, []byte(strings.Replace(text, "<memory ", metadata+"<memory ", 1)), 0o600); err != nil {
			b.Fatal(err)
		}
		b.host.Virsh(b, "define", file)
		g, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}}, neverProtected)
		if err != nil {
			b.Fatal(err)
		}
		return g
	}
	room := poweron.MaxDefinition - len(read(1).Definition)
	if g := read(room + 2); len(g.Problems) != 1 || !strings.Contains(g.Problems[0], "184321 bytes, and may have 184320 at the most: leave out") || g.Definition != nil {
		b.Errorf("a byte too many: %v", g.Problems)
	}
	g := read(room + 1)
	if len(g.Problems) > 0 || len(g.Definition) != poweron.MaxDefinition {
		b.Fatalf("of %d bytes: %v", len(g.Definition), g.Problems)
	}
	spec.Definition = g.Definition
	if n := b.driver.Needs(g.Definition); len(n.Of) == 0 {
		b.Error("what it needs is not read")
	}
	b.start(spec)
}
