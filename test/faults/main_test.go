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

func TestMain(m *testing.M) {
	lab.Main()
	flag.Parse()
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
