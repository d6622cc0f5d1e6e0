package config

import (
	"slices"
	"strings"

	"storebeat/agent/core/cluster"
)

// Record is the first revision of the cluster record as this configuration would
// make it. What it says of the cluster goes only until there is a record.
func (c *Config) Record() *cluster.Record {
	r := cluster.Record{Timing: c.Timing, Machines: c.Machines}
	for _, h := range c.Hosts {
		r.Members = append(r.Members, cluster.Member{ID: h.ID, Name: h.Name, Heartbeat: h.Heartbeat, Management: h.Management})
	}
	for _, d := range c.Datastores {
		r.Datastores = append(r.Datastores, cluster.Datastore{ID: d.UUID, Name: d.Name, Preferred: d.Preferred, Excluded: d.Excluded})
	}
	return cluster.Founding(r)
}

// Silent lists the settings of the cluster record of which the file says nothing. A
// profile speaks of every timing.
func (c *Config) Silent() []string {
	_, profile := c.places["timing.profile"]
	return slices.DeleteFunc(cluster.Settings(), func(name string) bool {
		_, stated := c.places[name]
		return stated || profile && strings.HasPrefix(name, "timing.")
	})
}
