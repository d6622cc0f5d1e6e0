package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"storebeat/agent/config"
)

// initOptions are the wishes about a new cluster.
type initOptions struct {
	name       string
	hosts      []string
	datastores []string
	drivers    []string
}

func newInit(a *app) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Begin a new cluster: write its key and a commented configuration",
		Long: `Writes cluster.key and storebeat.hcl into DIR, by default the folder of --config.
Nothing is overwritten. Both files are then copied to every host of the cluster, the
key readable by root alone.`,
		Example: `  storebeat init
  storebeat init --name production --host alpha=10.0.0.1 --host beta=10.0.0.2 --datastore nfs1=/mnt/nfs1`,
		Args: arguments(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := a.config
			if len(args) == 1 {
				path = filepath.Join(args[0], filepath.Base(config.DefaultPath))
			}
			return a.initCluster(path, o)
		},
	}
	cmd.Flags().StringVar(&o.name, "name", "main", "`name` of the cluster")
	cmd.Flags().StringArrayVar(&o.hosts, "host", nil, "a host, as `NAME=ADDRESS`; may be repeated")
	cmd.Flags().StringArrayVar(&o.datastores, "datastore", nil, "a datastore, as `NAME=PATH`; may be repeated")
	driverFlag(cmd, &o.drivers)
	return cmd
}

// driverFlag is about the kinds of machines that a host runs.
func driverFlag(cmd *cobra.Command, drivers *[]string) {
	cmd.Flags().StringArrayVar(drivers, "driver", nil, fmt.Sprintf("hypervisor `driver` of this host: %s; may be repeated (%s)", strings.Join(config.Drivers, ", "), strings.Join(config.Default().Hypervisor.Drivers, " and ")))
}

func (a *app) initCluster(path string, o initOptions) error {
	draft, err := o.draft()
	if err != nil {
		return &failure{exitUsage, err}
	}
	content := config.Generate(draft)
	path = absolute(path)
	if _, diags := config.Parse(path, content); diags.HasErrors() {
		return badConfig(diags)
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return fail(exitRefused, "%s exists already: nothing was written; edit it, or name another folder", path)
	}
	key := filepath.Join(folder, config.Default().Cluster.KeyFile)
	if err := config.WriteKey(key, config.NewKey()); err != nil {
		return &failure{exitRefused, err}
	}
	if err := writeNew(path, content); err != nil {
		return errors.Join(err, os.Remove(key))
	}
	return a.print(map[string]string{"config": path, "key": key}, func() error { return a.tellNextSteps(path, key, draft) })
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitRefused, "%s exists already: nothing was written; edit it, or name another folder", path)
	}
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the configuration: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

func (o initOptions) draft() (config.Draft, error) {
	d := config.Draft{Cluster: o.name, Drivers: o.drivers}
	for _, h := range o.hosts {
		name, address, ok := strings.Cut(h, "=")
		if !ok {
			return d, fmt.Errorf("--host %q is not NAME=ADDRESS: write it as in --host alpha=10.0.0.1", h)
		}
		at, err := addressPort(address)
		if err != nil {
			return d, fmt.Errorf("--host %q has no IP address: write it as in --host alpha=10.0.0.1", h)
		}
		d.Hosts = append(d.Hosts, config.Host{Name: name, Heartbeat: at})
	}
	for _, s := range o.datastores {
		name, path, ok := strings.Cut(s, "=")
		if !ok || !filepath.IsAbs(path) {
			return d, fmt.Errorf("--datastore %q is not NAME=PATH with an absolute path: write it as in --datastore nfs1=/mnt/nfs1", s)
		}
		d.Datastores = append(d.Datastores, config.Datastore{Name: name, Path: path})
	}
	return d, nil
}

func addressPort(text string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	address, err := netip.ParseAddr(text)
	return netip.AddrPortFrom(address, config.HeartbeatPort), err
}

// unitFile is there where the package is installed.
const unitFile = "/usr/lib/systemd/system/storebeat.service"

func (a *app) tellNextSteps(path, key string, d config.Draft) error {
	option := ""
	if path != config.DefaultPath {
		option = " --config " + path
	}
	start := "storebeat agent" + option
	if _, err := os.Stat(unitFile); err == nil && path == config.DefaultPath {
		start = "systemctl start storebeat"
	}
	datastore := "first"
	if len(d.Datastores) > 0 {
		datastore = d.Datastores[0].Name
	}
	_, err := fmt.Fprintf(a.out, `Wrote %s
Wrote %s

Next:
  1. Edit %s: hosts with their addresses, datastores with their paths.
  2. Try out each datastore:        storebeat datastore check PATH
  3. Initialise each of them, once: storebeat datastore init%s --update-config %s
  4. Judge the result:              storebeat config validate %s
  5. Copy both files to every host, the key with mode 0600; or begin with one host
     alone, and let the others join it later: storebeat host token, storebeat join.
  6. On every host:                 %s
  7. See that all is well:          storebeat status%s
`, path, key, path, option, datastore, path, start, option)
	return err
}
