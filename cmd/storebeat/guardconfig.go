package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"storebeat/agent/config"
)

// runtimeVariable names, in a unit's environment, the runtime directory that
// systemd has made for it.
const runtimeVariable = "RUNTIME_DIRECTORY"

// keptConfig is the copy, in that directory, of the configuration with which the
// unit's guard last began.
const keptConfig = "guard.hcl"

// guardConfig reads the configuration for a guard and says which host it is on.
// A unit's guard that is started again while somebody is editing the file goes by
// the copy that the last one kept.
func (a *app) guardConfig() (*config.Config, config.Host, error) {
	content, err := readSome(a.config, config.MaxFileSize+1)
	cfg, self, err := a.judgeForGuard(content, err)
	directory := os.Getenv(runtimeVariable)
	if !filepath.IsAbs(directory) {
		return cfg, self, err
	}
	kept := filepath.Join(directory, keptConfig)
	if err == nil {
		if err := renameio.WriteFile(kept, content, 0o600); err != nil {
			fmt.Fprintf(a.errOut, "storebeat: the next guard finds no copy of the configuration: %v\n", err)
		}
		return cfg, self, nil
	}
	content, keptErr := readSome(kept, config.MaxFileSize+1)
	cfg, self, keptErr = a.judgeForGuard(content, keptErr)
	if keptErr != nil {
		return nil, config.Host{}, err
	}
	fmt.Fprintf(a.errOut, "storebeat: %v\nstorebeat: the guard goes by %s, with which it last began; mend the configuration\n", err, kept)
	return cfg, self, nil
}

// judgeForGuard takes what was read for the content of the configuration file,
// in whose folder relative paths start wherever it was read from.
func (a *app) judgeForGuard(content []byte, readErr error) (*config.Config, config.Host, error) {
	if readErr != nil {
		return nil, config.Host{}, badConfig(unreadableConfig(a.config, readErr))
	}
	cfg, diags := config.Parse(absolute(a.config), content)
	if cfg == nil {
		return nil, config.Host{}, badConfig(diags)
	}
	hostname, err := os.Hostname()
	if err != nil && cfg.Self == "" {
		return nil, config.Host{}, fmt.Errorf("can't tell the computer's name: %w; write self = NAME into %s", err, cfg.Path)
	}
	self, err := cfg.FindSelf("", hostname)
	if err != nil {
		return nil, config.Host{}, &failure{exitUsage, err}
	}
	return cfg, self, nil
}
