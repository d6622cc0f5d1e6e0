package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"storebeat/poweron"
)

// policyFlags are the flags that change a machine's policy.
type policyFlags struct {
	priority, attempts, limit             int
	restart                               bool
	window, stopTime, rebootWait          time.Duration
	isolation, onGuest, onShutdown, pause string
}

// flagWords are a policy's words as flags spell them: without spaces.
func flagWords[T ~string](words ...T) map[string]T {
	spelled := map[string]T{}
	for _, w := range words {
		spelled[strings.ReplaceAll(string(w), " ", "-")] = w
	}
	return spelled
}

var (
	isolationWords = flagWords(poweron.Leave, poweron.ShutDown, poweron.PowerOff)
	guestWords     = flagWords(poweron.StayOff, poweron.StartAgain)
	shutdownWords  = flagWords(poweron.RestartElsewhere, poweron.WaitForReboot, poweron.LeaveOff)
	pauseWords     = flagWords(poweron.Automatic, poweron.Freeze, poweron.StopThenFreeze)
)

func addPolicyFlags(cmd *cobra.Command) *policyFlags {
	f, p := cmd.Flags(), &policyFlags{}
	f.IntVar(&p.priority, "priority", 0, "1 starts first … 5 last")
	f.BoolVar(&p.restart, "restart", true, "false: it is never started again on its own")
	f.StringVar(&p.isolation, "isolation", "", "what an isolated host does with it: `leave`, shut-down or power-off")
	f.IntVar(&p.attempts, "attempts", 0, "`restarts` on the same host after a crash, before it moves to another")
	f.IntVar(&p.limit, "limit", 0, "`failures` in a row after which it is held until you look at it")
	f.DurationVar(&p.window, "window", 0, "a run `longer` than this sets the count of failures back")
	f.DurationVar(&p.stopTime, "stop-time", 0, "how `long` the guest has for shutting down, such as 90s")
	f.StringVar(&p.onGuest, "on-guest-shut-down", "", "what it means when the guest switches itself off: `stay-off` or start-again")
	f.StringVar(&p.onShutdown, "on-host-shutdown", "", "what becomes of it when its host shuts down or reboots: `restart-elsewhere`, wait, or leave-off")
	f.DurationVar(&p.rebootWait, "reboot-wait", 0, "how `long` --on-host-shutdown=wait keeps it for its host, such as 10m")
	f.StringVar(&p.pause, "pause", "", "how it is stopped when its host's proof of life runs out: `auto`, freeze or stop-then-freeze")
	for name, words := range map[string][]string{"isolation": spellings(isolationWords), "on-guest-shut-down": spellings(guestWords),
		"on-host-shutdown": spellings(shutdownWords), "pause": spellings(pauseWords)} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return p
}

func spellings[T any](words map[string]T) []string { return slices.Sorted(maps.Keys(words)) }

// in puts what was given into a change.
func (p *policyFlags) in(given *pflag.FlagSet, c *poweron.PolicyChange) error {
	pick(given, "priority", &c.Priority, p.priority)
	pick(given, "restart", &c.Restart, p.restart)
	pick(given, "attempts", &c.Attempts, p.attempts)
	pick(given, "limit", &c.Limit, p.limit)
	pick(given, "window", &c.Window, p.window)
	pick(given, "stop-time", &c.StopTime, p.stopTime)
	pick(given, "reboot-wait", &c.RebootWait, p.rebootWait)
	for _, err := range []error{
		pickWord(given, "isolation", &c.Isolation, p.isolation, isolationWords),
		pickWord(given, "on-guest-shut-down", &c.OnGuestShutDown, p.onGuest, guestWords),
		pickWord(given, "on-host-shutdown", &c.OnHostShutdown, p.onShutdown, shutdownWords),
		pickWord(given, "pause", &c.Pause, p.pause, pauseWords),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func pickWord[T ~string](given *pflag.FlagSet, name string, to **T, word string, words map[string]T) error {
	if !given.Changed(name) {
		return nil
	}
	meant, known := words[word]
	if !known {
		return fail(exitUsage, "--%s=%s: use %s", name, word, strings.Join(spellings(words), ", "))
	}
	*to = &meant
	return nil
}
