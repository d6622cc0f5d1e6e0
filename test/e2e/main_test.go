package e2e

import (
	"flag"
	"os"
	"testing"

	"storebeat/test/program"
	"storebeat/test/stuck"
)

func TestMain(m *testing.M) {
	stuck.Main()
	flag.Parse()
	os.Exit(program.Main(m))
}
