package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// TestExamplesOfThePage judges every machine that docs/machines.md shows.
func TestExamplesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/machines.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```(?:hcl|json)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) < 4 {
		t.Fatalf("%d examples, want at least 4", len(examples))
	}
	for _, e := range examples {
		wishes, err := readMachines("-", strings.NewReader(e[1]), poweron.DefaultPolicy())
		if err != nil {
			t.Errorf("%v in\n%s", err, e[1])
		}
		for _, w := range wishes {
			if diags := w.judge(hypervisor.Spec{DatastorePath: "/mnt/nfs1"}); diags.HasErrors() {
				t.Errorf("%v in\n%s", diags, e[1])
			}
			if w.VM = [16]byte{1}; w.Validate() != nil {
				t.Errorf("%v in\n%s", w.Validate(), e[1])
			}
		}
	}
}
