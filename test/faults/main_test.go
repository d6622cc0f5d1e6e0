package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"storebeat/test/lab"
)

// program is the path of the program under test.
var program string

// together is how many tests run at the same time. They mostly wait.
const together = "3"

// usual are the tests of every run of the suite. All of them take some minutes of two
// processors, and starve beside others: they have a run of their own, make faults.
const usual = "^(TestPowerOff|TestLyingPath)$"

var all = flag.Bool("all", false, "run every test of the package")

func TestMain(m *testing.M) {
	lab.Main()
	flag.Parse()
	if run := flag.Lookup("test.run"); !*all && run.Value.String() == "" {
		if err := run.Value.Set(usual); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

// run builds the program once and runs the tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "storebeat-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "storebeat")
	build := exec.Command("go", "build", "-o", program, "storebeat/cmd/storebeat")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program under test:", err)
		return 1
	}
	if err := flag.Set("test.parallel", together); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
