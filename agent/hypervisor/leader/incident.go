package leader

import "storebeat/agent/hypervisor"

// maxIncidents is how many incidents wait to be taken. More are dropped: they are for
// people, who have enough to look at then.
const maxIncidents = 64

// Tell has the agent know of an incident. It never waits.
func (p *Process) Tell(kind hypervisor.IncidentKind, detail string) {
	select {
	case p.incidents <- hypervisor.Incident{Kind: kind, Detail: detail}:
	default:
	}
}

// Incidents is where incidents are taken from, once each.
func (p *Process) Incidents() <-chan hypervisor.Incident { return p.incidents }
