package agent

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/clock"
	"storebeat/agent/config"
	"storebeat/agent/core"
)

// reload follows the configuration file. What can change live does; the rest is
// named in the log and waits for the agent's next start.
func (a *Agent) reload(ctx context.Context) {
	if a.file.Path == "" {
		return
	}
	err := config.Watch(ctx, a.file, config.DefaultPace, a.log.Named("config"), func(next *config.Config) {
		select {
		case a.reconfigure <- next:
		case <-ctx.Done():
		}
	})
	if err != nil && ctx.Err() == nil {
		a.log.Warn("the configuration file is not followed", "error", err)
	}
}

// apply takes over what changed live. It runs in the loop.
func (a *Agent) apply(next *config.Config) []core.Effect {
	a.live.Store(next)
	a.serveMetrics(next)
	a.notifier.Configure(next.Notify)
	a.log.SetLevel(hclog.LevelFromString(next.Log.Level))
	a.core.Configure(a.coreConfig(next))
	return a.core.Step(clock.Now(), core.MemoryState{Total: next.Hypervisor.Memory.Of(totalMemory())})
}
