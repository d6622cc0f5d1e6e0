package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/poweron"
)

func newExport(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "export NAME…", Short: "Print machines as a file that vm protect takes",
		Long: `Prints machines as a file in JSON that vm protect takes: with their definitions as they
are stored, their policies and their rules. So a definition that was read from a guest
can be looked at, changed and put back, or kept outside of the datastore.`,
		Example: `  storebeat vm export web > web.json
  storebeat vm protect --dry-run web.json`,
		Args: arguments(1, -1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			file := machineFile{Machine: map[string]machineBlock{}}
			for _, name := range args {
				m, err := v.machine(name)
				if err != nil {
					return err
				}
				var e poweron.Entry
				if err := a.call(cmd.Context(), agent.MethodEntry, agent.EntryRequest{Datastore: m.Datastore, VM: m.VM}, &e); err != nil {
					return err
				}
				file.Machine[e.Name] = v.blockOf(&e, m.Home)
			}
			text, err := json.MarshalIndent(file, "", "  ")
			if err == nil {
				_, err = fmt.Fprintf(a.out, "%s\n", text)
			}
			return err
		},
	}
}

// machineFile is a machine file in JSON.
type machineFile struct {
	Machine map[string]machineBlock `json:"machine"`
}

type machineBlock struct {
	Driver     string          `json:"driver"`
	Datastore  string          `json:"datastore"`
	UUID       uuid.UUID       `json:"uuid"`
	Memory     string          `json:"memory"`
	Definition json.RawMessage `json:"definition"`
	Policy     policyBlock     `json:"policy"`
	Placement  *placementBlock `json:"placement,omitempty"`
}

// policyBlock holds what readPolicy reads.
type policyBlock struct {
	Priority        int      `json:"priority"`
	Restart         bool     `json:"restart"`
	Isolation       string   `json:"isolation"`
	Attempts        int      `json:"attempts"`
	Limit           int      `json:"limit"`
	Window          duration `json:"window"`
	StopTime        duration `json:"stop_time"`
	OnGuestShutDown string   `json:"on_guest_shut_down"`
	OnHostShutdown  string   `json:"on_host_shutdown"`
	RebootWait      duration `json:"reboot_wait"`
	Pause           string   `json:"pause"`
}

// duration is written as a user writes it.
type duration time.Duration

// MarshalJSON returns such as "1m30s".
func (d duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

type placementBlock struct {
	Groups []string       `json:"groups,omitempty"`
	Must   *affinityBlock `json:"must,omitempty"`
	Prefer *affinityBlock `json:"prefer,omitempty"`
}

type affinityBlock struct {
	Apart    []string `json:"apart,omitempty"`
	Together []string `json:"together,omitempty"`
	Hosts    []string `json:"hosts,omitempty"`
}

// blockOf writes an entry as a user would.
func (c cluster) blockOf(e *poweron.Entry, home string) machineBlock {
	p := e.Policy.Complete()
	b := machineBlock{Driver: e.Driver, Datastore: home, UUID: e.VM, Memory: fmt.Sprintf("%dB", e.Memory), Definition: e.Definition,
		Policy: policyBlock{Priority: p.Priority, Restart: p.Restart, Isolation: string(p.Isolation), Attempts: p.Attempts, Limit: p.Limit,
			Window: duration(p.Window), StopTime: duration(p.StopTime), OnGuestShutDown: string(p.OnGuestShutDown),
			OnHostShutdown: string(p.OnHostShutdown), RebootWait: duration(p.RebootWait), Pause: string(p.Pause)}}
	if e.Memory%(1<<20) == 0 {
		b.Memory = fmt.Sprintf("%dMiB", e.Memory>>20)
	}
	if !e.Rules.IsZero() {
		b.Placement = &placementBlock{Groups: e.Rules.Groups, Must: c.affinityOf(e.Rules.Must), Prefer: c.affinityOf(e.Rules.Prefer)}
	}
	return b
}

func (c cluster) affinityOf(a poweron.Affinity) *affinityBlock {
	if a.IsZero() {
		return nil
	}
	b := &affinityBlock{Apart: a.Apart, Together: a.Together}
	for _, h := range a.Hosts {
		b.Hosts = append(b.Hosts, c.hostName(h))
	}
	return b
}
