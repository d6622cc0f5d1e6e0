package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// What is exported is read again as it was, with nothing left to the defaults.
func TestExportIsReadAgain(t *testing.T) {
	c := cluster{core.View{Hosts: []core.HostView{{ID: 1, Name: "alpha"}, {ID: 2, Name: "beta"}}}}
	e := poweron.Entry{VM: uuid.UUID{1}, Name: "web", Protected: true, Desired: poweron.Running, Driver: "qemu", Memory: 3<<20 + 1,
		Definition: []byte(`{"memory_mib":1,"machine":"pc-q35-7.2","disks":[{"path":"a","datastore":"fast"}],"args":["-nic","bridge,br=${x}"]}`),
		Policy: poweron.Policy{Priority: 2, Restart: false, Isolation: poweron.PowerOff, Attempts: 4, Limit: 9, Window: 90 * time.Second, StopTime: 7 * time.Second,
			OnGuestShutDown: poweron.StartAgain, OnHostShutdown: poweron.LeaveOff, RebootWait: 11 * time.Minute, Pause: poweron.StopThenFreeze},
		Rules: poweron.Rules{Groups: []string{"web"}, Must: poweron.Affinity{Apart: []string{"web"}, Hosts: []datastorehb.HostID{2, 1}}, Prefer: poweron.Affinity{Together: []string{"db"}}}}
	text, err := json.Marshal(machineFile{Machine: map[string]machineBlock{"web": c.blockOf(&e, "nfs1")}})
	if err != nil {
		t.Fatal(err)
	}
	wishes, err := readMachines("-", strings.NewReader(string(text)), poweron.DefaultPolicy())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got := wishes[0].Entry
	if got.Rules, err = wishes[0].placement.rules(c.hostID); err != nil || wishes[0].datastore != "nfs1" {
		t.Fatalf("%v, datastore %s", err, wishes[0].datastore)
	}
	var before, after any
	if json.Unmarshal(e.Definition, &before) != nil || json.Unmarshal(got.Definition, &after) != nil || !cmp.Equal(before, after) {
		t.Errorf("definition %s became %s", e.Definition, got.Definition)
	}
	e.Definition, got.Definition = nil, nil
	if !got.Rules.Equal(e.Rules) {
		t.Errorf("rules %+v became %+v", e.Rules, got.Rules)
	}
	e.Rules, got.Rules = poweron.Rules{}, poweron.Rules{}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
}
