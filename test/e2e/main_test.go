package e2e

import (
	"flag"
	"os"
	"testing"

	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/test/program"
	"storebeat/test/stuck"
)

func TestMain(m *testing.M) {
	stuck.Main()
	flag.Parse()
	status := program.Main(m)
	libvirttest.Clean()
	os.Exit(status)
}
