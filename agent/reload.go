package agent

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/config"
)

// reload follows the configuration file. What can change live does; the rest is
// named in the log and waits for the agent's next start.
func (a *Agent) reload(ctx context.Context) {
	if a.cfg.Path == "" {
		return
	}
	err := config.Watch(ctx, a.cfg, config.DefaultPace, a.log.Named("config"), func(next *config.Config) {
		a.log.SetLevel(hclog.LevelFromString(next.Log.Level))
	})
	if err != nil && ctx.Err() == nil {
		a.log.Warn("the configuration file is not followed", "error", err)
	}
}
