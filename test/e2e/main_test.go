package e2e

import (
	"flag"
	"os"
	"testing"

	"storebeat/test/program"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(program.Main(m))
}
