package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"storebeat/agent/config"
	"storebeat/agent/freeze"
)

// agentFile holds the handle of a host's agent, for whoever ends a kept cluster.
const agentFile = "agent.json"

// remember writes down which process the agent is.
func (h *Host) remember() error {
	handle, err := freeze.Of(h.agent.Process.Pid, "")
	if err != nil {
		return err
	}
	content, err := json.Marshal(handle)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.Dir, agentFile), content, 0o644)
}

// Agent returns the process that was started last as the host's agent, by this
// program or an earlier one.
func (h *Host) Agent() (freeze.Handle, error) {
	path := filepath.Join(h.Dir, agentFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return freeze.Handle{}, err
	}
	var handle freeze.Handle
	if err := json.Unmarshal(content, &handle); err != nil {
		return freeze.Handle{}, fmt.Errorf("%s: %w", path, err)
	}
	return handle, nil
}

// EndKept ends a cluster that an earlier program left running in dir, and
// removes dir.
func EndKept(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	configs, err := filepath.Glob(filepath.Join(dir, "host*", "storebeat.hcl"))
	if err != nil || len(configs) == 0 {
		return fmt.Errorf("%s holds no demo cluster: name the directory that storebeat demo --keep printed", dir)
	}
	c := &Cluster{Dir: dir}
	for _, path := range configs {
		if err := c.addKept(path); err != nil {
			return err
		}
	}
	var errs []error
	for _, h := range c.Hosts {
		if agent, err := h.Agent(); err == nil {
			errs = append(errs, unlessGone(agent.Kill()), unlessGone(freeze.Wait(ctx, agent)))
		}
	}
	return errors.Join(append(errs, c.End(ctx), os.RemoveAll(dir))...)
}

// addKept adds the host that a configuration is for.
func (c *Cluster) addKept(path string) error {
	cfg, diags := config.Load(path)
	if cfg == nil {
		return errors.New(config.Describe(diags))
	}
	self, err := cfg.FindSelf("", "")
	if err != nil {
		return err
	}
	c.ID = cfg.Cluster.UUID
	c.Hosts = append(c.Hosts, &Host{Name: self.Name, ID: self.ID, Dir: filepath.Dir(path), Config: path, cluster: c})
	return nil
}
