package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent/config"
)

// app is what all commands share: the global flags, and where to write.
type app struct {
	in          io.Reader
	out, errOut io.Writer

	config  string
	socket  string
	output  string
	timeout time.Duration

	begun bool // the command line made sense
}

// configVariable is the environment variable that stands for --config.
const configVariable = "STOREBEAT_CONFIG"

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "storebeat",
		Short: "Keep virtual machines running on hosts that share storage",
		Long: `Storebeat keeps virtual machines running on a group of Linux hosts that share
storage. One agent runs on every host; the machines of a host that dies are started
again on the others, each exactly once.

A new cluster:   storebeat init, edit the file, storebeat datastore init, storebeat agent
A new host:      storebeat host token on a member, storebeat join on the new host
A running one:   storebeat status, storebeat explain, storebeat events`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.begin() },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:              noSuchCommand,
		Version:           programVersion(),
	}
	root.SetVersionTemplate(versionLine())
	root.Flags().Bool("version", false, "print the version of this program") // cobra would spend -v on it
	a.addFlags(root)
	root.AddGroup(
		&cobra.Group{ID: "look", Title: "Look at the cluster and change it:"},
		&cobra.Group{ID: "setup", Title: "Try out and set up:"},
		&cobra.Group{ID: "run", Title: "Run on every host:"},
	)
	a.addCommands(root)
	root.SetHelpCommandGroupID("look")
	root.SetCompletionCommandGroupID("setup")
	root.AddCommand(newExitCodes())
	return root
}

func (a *app) addFlags(root *cobra.Command) {
	path := os.Getenv(configVariable)
	if path == "" {
		path = config.DefaultPath
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.config, "config", "c", path, "configuration `file`; the environment variable "+configVariable+" names another default")
	f.Lookup("config").DefValue = config.DefaultPath
	f.StringVar(&a.socket, "socket", "", "control `socket` of the agent, in place of the configuration's")
	f.StringVarP(&a.output, "output", "o", "table", "how to print: `table` or json")
	f.DurationVar(&a.timeout, "timeout", 15*time.Second, "how long to wait for the agent")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) addCommands(root *cobra.Command) {
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("look", newStatus(a), newHost(a), newVM(a), newDatastore(a), newEvents(a), newExplain(a), newPlan(a), newCluster(a), newMetrics(a), newVersion(a))
	add("setup", newInit(a), newJoin(a), newConfig(a))
	add("run", newAgent(a), newGuard(a))
	add("setup", newDemo(a), newSimulate(a))
	root.AddCommand(newJournalStore(a), newTicker(), newLibvirtHook(a))
}

// begin checks the global flags before a command runs.
func (a *app) begin() error {
	if a.output != "table" && a.output != "json" {
		return fmt.Errorf("-o %q is neither table nor json", a.output)
	}
	if a.timeout <= 0 {
		return fmt.Errorf("--timeout %v is not positive", a.timeout)
	}
	a.begun = true
	return nil
}

// withTimeout bounds what a command waits for the agent.
func (a *app) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// newGroup makes a command that only holds others.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short, Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.AddCommand(commands...)
	return group
}

// noSuchCommand refuses arguments of a command that only holds others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf(" (do you mean %q?)", near[0])
	}
	return fmt.Errorf("%s", text)
}

// arguments is how many arguments a command takes; most is -1 where there is no limit.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		given := count(len(args), "argument")
		if len(args) == 0 {
			given = "no argument"
		}
		return fmt.Errorf("%s given, write %s %s", given, cmd.Parent().CommandPath(), cmd.Use)
	}
}
