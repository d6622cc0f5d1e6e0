package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"text/template"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

//go:embed storebeat.hcl.tmpl
var sample string

// Draft is what a new configuration is made from. Whatever is empty is filled in
// with an example that the reader replaces.
type Draft struct {
	Cluster string
	UUID    uuid.UUID
	KeyFile string
	Self    string // "" leaves it to the computer's host name

	RunDirectory, StateDirectory string // "" for the defaults

	Drivers []string // hypervisor drivers, nil for the default

	Hosts      []Host
	Datastores []Datastore
}

// Generate writes a configuration in which every setting is explained and those
// that have a default stand commented out with it.
func Generate(d Draft) []byte {
	t := template.Must(template.New("storebeat.hcl").Funcs(template.FuncMap{"quote": strconv.Quote, "default": defaultOf, "usual": usual, "list": func(l []string) string { return texts(&l).String() }}).Parse(sample))
	var b bytes.Buffer
	if err := t.Execute(&b, d.filled()); err != nil {
		panic(fmt.Sprintf("the sample configuration does not fit its data: %v", err)) // both are part of the program
	}
	return b.Bytes()
}

func (d Draft) filled() Draft {
	if d.Cluster == "" {
		d.Cluster = "main"
	}
	if d.UUID == uuid.Nil {
		d.UUID = uuid.New()
	}
	if d.KeyFile == "" {
		d.KeyFile = Default().Cluster.KeyFile
	}
	if len(d.Hosts) == 0 {
		for i, name := range []string{"alpha", "beta"} {
			address := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
			d.Hosts = append(d.Hosts, Host{Name: name, Heartbeat: netip.AddrPortFrom(address, HeartbeatPort)})
		}
	}
	if len(d.Datastores) == 0 {
		d.Datastores = []Datastore{{Name: "first", Path: "/mnt/first"}}
	}
	d.Hosts, d.Datastores = numbered(d.Hosts), named(d.Datastores)
	return d
}

// numbered gives ids to hosts that have none.
func numbered(hosts []Host) []Host {
	filled := append([]Host(nil), hosts...)
	for i := range filled {
		if filled[i].ID == 0 {
			filled[i].ID = datastorehb.HostID(i + 1)
		}
		if !filled[i].Management.IsValid() {
			filled[i].Management = netipPort(filled[i].Heartbeat.Addr(), ManagementPort)
		}
	}
	return filled
}

// named gives UUIDs to datastores that have none.
func named(datastores []Datastore) []Datastore {
	filled := append([]Datastore(nil), datastores...)
	for i := range filled {
		if filled[i].UUID == uuid.Nil {
			filled[i].UUID = uuid.New()
		}
	}
	return filled
}

// usual reports whether a host's management address is the one that it has if none is given.
func usual(h Host) bool { return h.Management == netipPort(h.Heartbeat.Addr(), ManagementPort) }

// defaultOf shows the default of a setting, so that the sample can't lie.
func defaultOf(block, name string) (string, error) {
	c := Default()
	c.complete()
	settings := topLevel(c)
	for _, s := range sections(c) {
		if s.name == block {
			settings = s.settings
		}
	}
	for _, s := range settings {
		if s.name == name {
			return s.String(), nil
		}
	}
	return "", fmt.Errorf("there is no setting %s in block %q", name, block)
}
