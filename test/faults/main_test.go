package faults

import (
	"flag"
	"os"
	"testing"

	"storebeat/test/lab"
	"storebeat/test/program"
)

// usual are the tests of every run of the suite. All of them take some minutes of two
// processors, and starve beside others: they have a run of their own, make faults.
const usual = "^(TestPowerOff|TestLyingPath|TestFaultScripts|TestScriptsRefuse|TestDrill)$"

var all = flag.Bool("all", false, "run every test of the package")

func TestMain(m *testing.M) {
	lab.Main()
	flag.Parse()
	if run := flag.Lookup("test.run"); !*all && run.Value.String() == "" {
		if err := run.Value.Set(usual); err != nil {
			panic(err)
		}
	}
	os.Exit(program.Main(m))
}
