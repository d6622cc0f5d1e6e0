package program

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// Path is where the program is while Main runs the tests.
var Path string

// together is how many tests run at the same time. They mostly wait.
const together = "3"

// Main builds the program and runs the tests, whose flags are parsed already. It
// returns the exit status.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "storebeat-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Path = filepath.Join(dir, "storebeat")
	if err := Build(Path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := flag.Set("test.parallel", together); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Build builds the program with these flags of "go build".
func Build(path string, flags ...string) error {
	argv := slices.Concat([]string{"build", "-o", path}, flags, []string{"storebeat/cmd/storebeat"})
	if out, err := exec.Command("go", argv...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the program under test: %w\n%s", err, out)
	}
	return nil
}
