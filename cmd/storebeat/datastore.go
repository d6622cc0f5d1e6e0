package main

import "github.com/spf13/cobra"

func newDatastore(a *app) *cobra.Command {
	return newGroup("datastore", "Initialise, list, rank and check datastores", newDatastoreInit(a))
}
