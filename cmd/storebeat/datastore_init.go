package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/spf13/cobra"

	"storebeat/datastorehb"
	"storebeat/datastorehb/store"
)

// datastoreInit are the wishes about a new datastore.
type datastoreInit struct {
	name     string
	capacity int
	update   bool
}

func newDatastoreInit(a *app) *cobra.Command {
	var o datastoreInit
	cmd := &cobra.Command{
		Use:   "init NAME|PATH",
		Short: "Make a datastore of a mounted directory, once",
		Long: `Makes a datastore for the configuration's cluster out of a mounted directory. NAME is
that of a datastore block of the configuration; PATH needs no block yet. What is there
already is never touched; what was a datastore before is refused.

The new datastore gets a UUID of its own every time, so that agents tell it from one
that stood there before. For a new cluster it must stand in the configuration of every
host: the line to write is printed, and --update-config writes it. A cluster that runs
takes it in by "storebeat datastore add".

Do this on one host only. The agent is not needed.`,
		Example: `  storebeat datastore init nfs1 --update-config
  storebeat datastore init /mnt/nfs1`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeDatastores,
		RunE: func(_ *cobra.Command, args []string) error { return a.initDatastore(args[0], o) },
	}
	cmd.Flags().StringVar(&o.name, "name", "", "`name` to record, when a PATH is given that no datastore block has")
	cmd.Flags().IntVar(&o.capacity, "capacity", datastorehb.DefaultCapacity, "highest host `id` that it has room for; it can't grow later")
	cmd.Flags().BoolVar(&o.update, "update-config", false, "write the UUID into the configuration file")
	return cmd
}

// initialised is what `datastore init` prints with -o json.
type initialised struct {
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	UUID    uuid.UUID `json:"uuid"`
	Updated bool      `json:"config_updated"`
}

func (a *app) initDatastore(nameOrPath string, o datastoreInit) error {
	file, err := readConfigFile(a.config)
	if err != nil {
		return err
	}
	if o.capacity < 1 || o.capacity > datastorehb.MaxCapacity {
		return fail(exitUsage, "--capacity %d: choose 1 to %d", o.capacity, datastorehb.MaxCapacity)
	}
	block, name, path, err := o.target(file, nameOrPath)
	if err != nil {
		return err
	}
	identity, err := store.Init(path, file.cluster, name, o.capacity)
	if err != nil {
		return err
	}
	done := initialised{Name: name, Path: path, UUID: identity.Datastore}
	if o.update && block != nil {
		if err := file.setUUID(block, identity.Datastore); err != nil {
			return fmt.Errorf("datastore %s is initialised as %s, but the configuration is as before: %w; write the UUID by hand", name, identity.Datastore, err)
		}
		done.Updated = true
	}
	return a.print(done, func() error { return a.tellInitialised(done, block) })
}

// target finds out which directory is meant, and the block that speaks of it.
func (o datastoreInit) target(file *configFile, nameOrPath string) (block *hclwrite.Block, name, path string, err error) {
	isPath := isPath(nameOrPath)
	if isPath {
		nameOrPath = absolute(nameOrPath)
	}
	block = file.datastore(nameOrPath)
	switch {
	case block != nil:
		if path = file.pathOf(block); path == "." {
			return nil, "", "", fail(exitUsage, "datastore %q has no path in %s: write path = \"…\" into its block", nameOrPath, file.path)
		}
		return block, block.Labels()[0], path, nil
	case !isPath:
		return nil, "", "", fail(exitNotFound, "%s has no datastore %q: add a datastore block, or give a path such as ./%s", file.path, nameOrPath, nameOrPath)
	case o.update:
		return nil, "", "", fail(exitUsage, "%s has no datastore block with path %s: add it first, or leave --update-config out", file.path, nameOrPath)
	}
	if name = o.name; name == "" {
		name = filepath.Base(nameOrPath)
	}
	return nil, name, nameOrPath, nil
}

func (a *app) tellInitialised(d initialised, block *hclwrite.Block) error {
	fmt.Fprintf(a.out, "Datastore %s at %s is initialised: %s\n", d.Name, d.Path, d.UUID)
	var err error
	switch {
	case d.Updated:
		_, err = fmt.Fprintf(a.out, "Its UUID now stands in %s. Copy the file to the other hosts and restart the agents.\n", a.config)
	case block != nil:
		_, err = fmt.Fprintf(a.out, "Write this line into its block in %s, on every host, and restart the agents:\n\n  uuid = %q\n", a.config, d.UUID)
	default:
		_, err = fmt.Fprintf(a.out, "Take it into the cluster that runs:\n\n  storebeat datastore add %s=%s\n\nFor a new cluster, add this block to %s, on every host:\n\ndatastore %q {\n  path = %q\n  uuid = %q\n}\n", d.Name, d.Path, a.config, d.Name, d.Path, d.UUID)
	}
	return err
}

// isPath tells a path from a name, which has no slash.
func isPath(nameOrPath string) bool {
	return strings.ContainsRune(nameOrPath, filepath.Separator) || nameOrPath == "."
}
