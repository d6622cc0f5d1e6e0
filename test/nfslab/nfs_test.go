package nfslab_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the path of the program under test.
var program string

// usual are the tests of every run of the suite: those that need no lab. Hosts in
// emulation take most of two processors and starve beside other tests, so the rest
// has a run of its own, make nfs-lab.
const usual = "^(TestArchive|TestKernel|TestGuestAgent)$"

var all = flag.Bool("all", false, "run every test of the package")

func TestMain(m *testing.M) {
	flag.Parse()
	run := flag.Lookup("test.run")
	if *all || run.Value.String() != "" {
		os.Exit(withProgram(m))
	}
	if err := run.Value.Set(usual); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// withProgram builds the program once, as make build does, and runs the tests.
func withProgram(m *testing.M) int {
	dir, err := os.MkdirTemp("", "storebeat-nfslab-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "storebeat")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "storebeat/cmd/storebeat")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program under test:", err)
		return 1
	}
	return m.Run()
}
