package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"storebeat/agent/config"
)

func newConfig(a *app) *cobra.Command {
	validate := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Judge a configuration file and list everything that is wrong with it",
		Long: `Judges a configuration file, by default the one that --config names, without
changing anything. Every error is listed with its place in the file, its value and
the remedy. The cluster key that the file names is judged too, unless --no-key says
that it is not on this computer.`,
		Args: arguments(0, 1),
	}
	noKey := validate.Flags().Bool("no-key", false, "don't look for the cluster key")
	validate.RunE = func(_ *cobra.Command, args []string) error {
		path := a.config
		if len(args) == 1 {
			path = args[0]
		}
		return a.validateConfig(path, !*noKey)
	}
	return newGroup("config", "Judge a configuration", validate)
}

func (a *app) validateConfig(path string, withKey bool) error {
	load := config.Load
	if !withKey {
		load = parseConfig
	}
	cfg, diags := load(path)
	if cfg == nil {
		return badConfig(diags)
	}
	fmt.Fprint(a.errOut, config.Describe(diags))
	if a.output == "json" {
		return a.printJSON(map[string]any{"file": cfg.Path, "valid": true, "cluster": cfg.Cluster.Name, "hosts": len(cfg.Hosts), "datastores": len(cfg.Datastores)})
	}
	_, err := fmt.Fprintf(a.out, "%s is valid: cluster %q, %s, %s, profile %s\n", path, cfg.Cluster.Name,
		count(len(cfg.Hosts), "host"), count(len(cfg.Datastores), "datastore"), cfg.Profile)
	return err
}

// readConfig reads the configuration without its key, which only root may read.
func (a *app) readConfig() (*config.Config, error) {
	cfg, diags := parseConfig(a.config)
	if cfg == nil {
		return nil, badConfig(diags)
	}
	return cfg, nil
}

// parseConfig is config.Load without the key.
func parseConfig(path string) (*config.Config, hcl.Diagnostics) {
	content, err := readSome(path, config.MaxFileSize+1)
	if err != nil {
		return nil, unreadableConfig(path, err)
	}
	return config.Parse(absolute(path), content)
}

func unreadableConfig(path string, err error) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable configuration", Subject: &hcl.Range{Filename: path},
		Detail: fmt.Sprintf("%v; give the right file with --config, or let \"storebeat init\" write one.", err)}}
}

// readSome reads a file up to a limit.
func readSome(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// badConfig makes an error of one line for each diagnostic.
func badConfig(diags hcl.Diagnostics) error {
	return &failure{exitUsage, errors.New(strings.TrimRight(config.Describe(diags), "\n"))}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
