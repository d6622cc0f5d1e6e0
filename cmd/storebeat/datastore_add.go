package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb/store"
)

func newDatastoreAdd(a *app) *cobra.Command {
	var o clusterrecord.Datastore
	var without []string
	cmd := &cobra.Command{
		Use:   "add NAME=PATH|NAME=UUID…",
		Short: "Take datastores into the cluster, without restarting agents",
		Long: `Takes a datastore into the cluster: every agent opens it at once, and begins to use it
for heartbeats and for machines. It must have been made by "storebeat datastore init
PATH".

PATH is where it is mounted here, and where every other host looks for it unless its
own configuration file has a datastore block with that UUID and another path. With
NAME=UUID no path is recorded, and each host's file says where it is. A host that can't
find it goes on without it: "storebeat status" names the host and the reason.`,
		Example: `  storebeat datastore init /mnt/nfs3
  storebeat datastore add nfs3=/mnt/nfs3`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				d := o
				if err := a.identify(arg, &d); err != nil {
					return err
				}
				if err := a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterDatastoreAdd, Datastore: &d, Without: without}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Preferred, "preferred", false, "ranked before others for heartbeats")
	cmd.Flags().BoolVar(&o.Excluded, "excluded", false, "never carries heartbeats; it may still be home to machines")
	cmd.Flags().BoolVar(&o.AcceptNoBarrier, "accept-no-barrier", false, "machines may be protected there though nothing stops late writes of a lost host")
	a.withoutFlag(cmd, &without)
	return cmd
}

// identify finds out which datastore an argument means.
func (a *app) identify(arg string, d *clusterrecord.Datastore) error {
	name, at, ok := strings.Cut(arg, "=")
	if !ok || name == "" {
		return fail(exitUsage, "%q is not NAME=PATH or NAME=UUID: write it as in nfs3=/mnt/nfs3", arg)
	}
	d.Name = name
	if id, err := uuid.Parse(at); err == nil {
		d.ID = id
		return nil
	}
	if !filepath.IsAbs(at) {
		return fail(exitUsage, "%q is neither an absolute path nor a UUID: write it as in %s=/mnt/%s", at, name, name)
	}
	file, err := readConfigFile(a.config)
	if err != nil {
		return err
	}
	d.Path = filepath.Clean(at)
	identity, err := store.Identify(d.Path, file.cluster)
	if errors.Is(err, store.ErrNotInitialised) || errors.Is(err, store.ErrForeign) {
		return fail(exitRefused, "%w; if it shall be a datastore of this cluster: storebeat datastore init %s", err, d.Path)
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", d.Path, err)
	}
	d.ID = identity.Datastore
	return nil
}

func newDatastoreRemove(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use: "remove NAME|UUID", Aliases: []string{"rm"}, Short: "Take a datastore out of the cluster, without restarting agents",
		Long: `Takes a datastore out of the cluster: agents write no heartbeats there any more and let
go of it, so that it can be unmounted. It is refused while a machine has its home
there, and for the last datastore. Nothing on it is deleted.

A datastore that can't be reached is given up by --without NAME; see that no machine
has its home there.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeDatastores,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterDatastoreRemove, Host: args[0], Without: without})
		},
	}
	a.withoutFlag(cmd, &without)
	return cmd
}
