// Package process is the hypervisor driver for machines that are ordinary
// commands. It needs nothing installed but a shell.
//
// A definition is JSON:
//
//	{
//	  "command": ["/usr/bin/worker", "--data", "{{datastore}}/{{name}}"],
//	  "env":     {"GENERATION": "{{generation}}"},
//	  "dir":     "{{datastore}}",
//	  "output":  "logs/{{name}}.log"
//	}
//
// dir and output lie on the home datastore; without output, what the command
// writes is thrown away. The command must stay in the foreground: when it ends,
// the machine is over and whatever it left behind is killed.
//
// Guarantees: those of package hypervisor. Status 0, or an end by SIGTERM after
// Shutdown, counts as the guest having shut down; any other end is a crash.
//
// Non-guarantees: when the agent was restarted meanwhile, the exit status is
// lost. Such an end is a crash unless the command wrote "0" to the file that
// the environment variable STOREBEAT_EXIT names, just before it ended.
// Without a cgroup, freezing by SIGSTOP has to find the command's children one
// by one (Found.Others).
package process
