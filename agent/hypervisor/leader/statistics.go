package leader

import (
	"context"

	"storebeat/agent/hypervisor"
)

// Statistics is what the kernel knows of the leading process.
func (p *Process) Statistics(context.Context) (hypervisor.Statistics, error) {
	return hypervisor.ProcessStatistics(p.handle)
}
