package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent/control"
	"storebeat/test/lab"
)

// app is what the commands share.
type app struct {
	dir    string // of the lab; "" for the only one
	asJSON bool
}

func newRoot() *cobra.Command {
	a, o := &app{}, &upOptions{}
	root := &cobra.Command{
		Use:   "storebeat-lab",
		Short: "A cluster on this computer to strike with real faults",
		Long: `storebeat-lab makes hosts on this computer, each with its own network, storage
paths, processes and power switch, and runs the real program on them with QEMU
guests. It needs root. docs/lab.md tells more.

  storebeat-lab up                                three hosts, two datastores, four machines
  storebeat-lab fault link-down host2 --for 30s   pull a cable for half a minute
  storebeat-lab fault storage all ds1 hang        storage stands still for everybody
  storebeat-lab status                            what the guests show, seen from outside
  storebeat-lab exec host1 storebeat status       what the product says
  storebeat-lab down`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.dir, "lab", "", "`directory` of the lab; not needed where there is only one")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newUp(o), newHold(o), a.newDown(), a.newStatus(), a.newFault(), a.newExec())
	return root
}

// upOptions say what lab to make.
type upOptions struct {
	binary, profile             string
	hosts, datastores, machines int
}

func (o *upOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.binary, "binary", "", "`program` to run on the hosts; else storebeat beside this program, in bin, or in the PATH")
	f.StringVar(&o.profile, "profile", "default", "`profile` of timings: fast, default or relaxed")
	f.IntVar(&o.hosts, "hosts", 3, "`number` of hosts")
	f.IntVar(&o.datastores, "datastores", 2, "`number` of datastores")
	f.IntVar(&o.machines, "machines", 4, "`number` of machines")
}

// lab returns the options of the lab itself.
func (o *upOptions) lab(binary string) lab.Options {
	return lab.Options{Binary: binary, Hosts: o.hosts, Datastores: o.datastores, Profile: o.profile}
}

// validate refuses what makes no lab before anything is begun.
func (o *upOptions) validate(binary string) error {
	if o.machines < 0 {
		return fmt.Errorf("%d machines: choose 0 or more", o.machines)
	}
	return o.lab(binary).Validate()
}

func newUp(o *upOptions) *cobra.Command {
	c := &cobra.Command{Use: "up", Short: "Make a lab and leave it running", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.up(cmd.Context(), cmd.OutOrStdout()) }}
	o.addFlags(c)
	return c
}

// up starts the holder of a lab and waits until the lab is ready.
func (o *upOptions) up(ctx context.Context, out io.Writer) error {
	if err := lab.Available(); err != nil {
		return err
	}
	binary, err := findBinary(o.binary)
	if err != nil {
		return err
	}
	if err := o.validate(binary); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h := exec.CommandContext(ctx, self, holdCommand, "--binary", binary, "--profile", o.profile,
		fmt.Sprintf("--hosts=%d", o.hosts), fmt.Sprintf("--datastores=%d", o.datastores), fmt.Sprintf("--machines=%d", o.machines))
	h.Cancel = func() error { return h.Process.Signal(syscall.SIGTERM) } // it then ends the lab
	h.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	h.Stderr = os.Stderr
	said, err := h.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.Start(); err != nil {
		return err
	}
	last, before := "", ""
	for lines := bufio.NewScanner(said); lines.Scan(); {
		last, before = lines.Text(), last
		if last != ready {
			fmt.Fprintln(out, last)
		}
	}
	if last != ready {
		_ = h.Wait() // it has said what went wrong
		return errors.New("the lab did not come up, and nothing is left of it")
	}
	fmt.Fprintf(out, "It runs on its own. Logs: %s\n", filepath.Join(before, "host*", "agent.log"))
	return h.Process.Release()
}

// findBinary finds the program to run on the hosts.
func findBinary(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), "storebeat"); exists(beside) {
			return beside, nil
		}
	}
	if exists("bin/storebeat") {
		return filepath.Abs("bin/storebeat")
	}
	path, err := exec.LookPath("storebeat")
	if err != nil {
		return "", fmt.Errorf("no program to run on the hosts: make build, or name one with --binary: %w", err)
	}
	return filepath.Abs(path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// call asks the lab's holder for something.
func (a *app) call(ctx context.Context, method string, in, out any) error {
	dir := a.dir
	if dir == "" {
		living, err := lab.Living()
		if err != nil {
			return err
		}
		living = slices.DeleteFunc(living, func(d string) bool { return !exists(filepath.Join(d, socketName)) })
		switch len(living) {
		case 0:
			return errors.New("no lab is up: storebeat-lab up")
		case 1:
			dir = living[0]
		default:
			return fmt.Errorf("several labs are up; name one with --lab: %s", strings.Join(living, " "))
		}
	}
	client := control.NewClient(filepath.Join(dir, socketName))
	defer client.Close()
	return client.Call(ctx, method, in, out)
}

func (a *app) newDown() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "End a lab and remove all of it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var s status
		if err := a.call(cmd.Context(), methodStatus, struct{}{}, &s); err != nil {
			return err
		}
		if err := a.call(cmd.Context(), methodDown, struct{}{}, nil); err != nil {
			return err
		}
		for deadline := time.Now().Add(time.Minute); exists(s.Dir); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("the lab in %s does not go down; the next lab that is made removes it once its holder is dead", s.Dir)
			}
		}
		return nil
	}}
}

// atLeast has a command refuse fewer words than that, and say what is missing.
func atLeast(n int, missing string) cobra.PositionalArgs {
	return func(_ *cobra.Command, words []string) error {
		if len(words) < n {
			return errors.New(missing)
		}
		return nil
	}
}

func (a *app) newFault() *cobra.Command {
	var long strings.Builder
	long.WriteString("Do something to the lab's hosts, storage or network. The faults are:\n\n")
	for _, f := range lab.Faults {
		fmt.Fprintf(&long, "  %s\n      %s\n", strings.TrimSpace(f.Name+" "+f.Words), f.Does)
	}
	var undoAfter time.Duration
	c := &cobra.Command{Use: "fault FAULT [WORD…]", Short: "Strike the lab", Long: strings.TrimSuffix(long.String(), "\n"), Args: atLeast(1, "say what to do: storebeat-lab fault --help lists it"),
		Example: "  storebeat-lab fault storage host2 ds1 error ops=write errno=ENOSPC --for 20s\n  storebeat-lab fault partition host1,host2 host3\n  storebeat-lab fault heal",
		RunE: func(cmd *cobra.Command, words []string) error {
			var done string
			if err := a.call(cmd.Context(), methodFault, faultRequest{words, undoAfter}, &done); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), done)
			return nil
		}}
	c.Flags().DurationVar(&undoAfter, "for", 0, "undo it after so `long`")
	return c
}

func (a *app) newExec() *cobra.Command {
	c := &cobra.Command{Use: "exec HOST PROGRAM [WORD…]", Short: "Run a program on a host", Args: atLeast(2, "say on which host to run which program: storebeat-lab exec HOST PROGRAM [WORD…]"),
		Long: "Run a program on a host, in its namespaces. Storebeat itself needs no path:\n\n  storebeat-lab exec host1 storebeat status\n  storebeat-lab exec host2 bash",
		RunE: func(cmd *cobra.Command, words []string) error {
			var argv []string
			if err := a.call(cmd.Context(), methodEnter, enterRequest{words[0], words[1:]}, &argv); err != nil {
				return err
			}
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			return syscall.Exec(path, argv, os.Environ())
		}}
	c.Flags().SetInterspersed(false) // what follows the host is the program's
	return c
}

func (a *app) newStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show hosts and machines as they are seen from outside the product", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s status
			if err := a.call(cmd.Context(), methodStatus, struct{}{}, &s); err != nil {
				return err
			}
			if a.asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			return s.print(cmd.OutOrStdout())
		}}
	c.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}

func (s status) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tADDRESS\tPOWER\tAGENT\tGUARD\tGUESTS\tHUNG REQUESTS")
	for _, h := range s.Hosts {
		var hung []string
		for d, n := range h.Hung {
			hung = append(hung, fmt.Sprintf("%s: %d", d, n))
		}
		slices.Sort(hung)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", h.Name, h.Address, onOff(h.On), upDown(h.Agents), upDown(h.Guards), h.Guests, strings.Join(hung, ", "))
	}
	fmt.Fprintln(w, "\nMACHINE\tHOME\tLAST HEARD ON\tSTARTS\tCOUNT\tSILENT FOR")
	for _, m := range s.Machines {
		host, silent := "-", "-"
		if m.Runs > 0 {
			host, silent = m.Host, m.Silent.Round(100*time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\n", m.Name, m.Home, host, m.Runs, m.Count, silent)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Faults) == 0 {
		fmt.Fprintln(out, "\nBy what the guests wrote, no machine ran twice and no late write reached a disk.")
		return nil
	}
	fmt.Fprintln(out, "\nTHE GUESTS SHOW THAT THE PRODUCT FAILED:")
	for _, f := range s.Faults {
		fmt.Fprintln(out, f)
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func upDown(processes int) string {
	if processes > 0 {
		return "runs"
	}
	return "-"
}
