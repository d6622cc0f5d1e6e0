package faults

import (
	"testing"

	"storebeat/test/lab"
)

// TestPowerOff switches hosts off. Every machine of theirs runs again elsewhere,
// once; nobody else's is touched; and the hosts come back without taking anything
// with them.
func TestPowerOff(t *testing.T) {
	for _, c := range []struct {
		name   string
		hosts  int
		choose func(master *lab.Host, others []*lab.Host) []*lab.Host
	}{
		{"a host", 3, func(_ *lab.Host, others []*lab.Host) []*lab.Host { return others[:1] }},
		{"the master's host", 3, func(master *lab.Host, _ []*lab.Host) []*lab.Host { return []*lab.Host{master} }},
		{"two of four", 4, func(master *lab.Host, others []*lab.Host) []*lab.Host { return []*lab.Host{others[0], master} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTrial(t, lab.Options{Hosts: c.hosts}, c.hosts)
			victims := c.choose(r.master())
			lost := r.on(victims...)
			want := r.Starts().And(lost)
			for _, v := range victims {
				r.Do(v.PowerOff())
			}
			r.AwaitStarts(want)
			r.awaitWhole()
			for _, v := range victims {
				r.Do(v.PowerOn())
			}
			r.awaitWhole()
			r.AwaitCounts(10, r.Machines...)
			r.ExpectStarts(want)
		})
	}
}

// TestRebootAtOnce switches a host off and on again within the takeover time: its
// machines are started again, once, here or elsewhere.
func TestRebootAtOnce(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	lost := r.on(others[0])
	want := r.Starts().And(lost)
	r.Do(others[0].PowerOff())
	r.Do(others[0].PowerOn())
	r.AwaitStarts(want)
	r.awaitWhole()
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
}
