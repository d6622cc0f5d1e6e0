// Package hypervisor is the contract between the agent and whatever executes
// virtual machines: how they are started, found again, adopted and ended.
//
// Guarantees every driver gives (package hypervisortest checks them against
// the real thing):
//
//   - List. Scan and Find list what has a process here, from /proc and the run
//     directory alone: a hypervisor's daemon that is dead or hangs hides nothing.
//   - Define. A driver whose hypervisor keeps definitions of its own makes or
//     replaces the machine's within Start, and removes it through Keeper.Forget.
//   - Born frozen. When Start returns a machine, nothing of the guest has
//     executed, its leading process is stopped by SIGSTOP, and everything that
//     could refuse the start (a locked image, a missing file) has been asked.
//     The guest executes only while the process may, so whoever holds the process
//     (the guard) holds the guest; and once the process is let go, the guest
//     begins without anybody's doing: by an order that waits for it in the
//     monitor's socket, or, where a daemon owns the monitor, by one that the
//     driver gives as soon as it sees the process run. A guest that ran here
//     already, outside of the agent's care, is taken over as it is: stopped in
//     the middle, and it goes on from there.
//   - Freeze and thaw from outside. Handle is all it takes (package freeze). No
//     driver, monitor or daemon is asked.
//   - Stop. Shutdown asks the guest and returns; nobody waits in it for the guest.
//     The caller waits for Done with a deadline, and powers off by Kill then.
//   - When Start fails, no process is left, or the error is a *LeftoverError
//     that names the one that would not die.
//   - Survival. A machine outlives the agent: own session and process group, no
//     pipe or terminal shared with the agent. A frozen machine stays frozen
//     when the agent dies.
//   - Findability. Every process of a machine carries a marker in its
//     environment, and its leading process is recorded in the run directory
//     before it may execute. Scan and Find read both, so a program that
//     overwrites its environment is found too, and so is a process whose
//     leading thread is dead while another thread hangs in the kernel. One that
//     hangs so that its environment can't be read is told by its cgroup, or by
//     its session; if nothing tells, and a machine that was started here could
//     be what hangs, Scan says so by an *UnseenError. It never waits for storage.
//   - Truth about the end. Done is closed, and Kill returns nil, only once no
//     process of the machine exists any more: what holds an image lock holds it
//     until then. A machine whose leading process ended is over; what that
//     process left behind is killed before Done is closed. A kill is pending
//     until then: Kill returns an error at its deadline, and may be repeated.
//   - Deadlines. Every call ends with its context, and within the driver's own
//     limit if the context has none. A monitor that does not answer is a
//     Condition of its own (MonitorState), and holds up no other machine and no
//     other call. Nothing waits for the monitor of a frozen machine.
//   - Events. What a monitor or daemon tells arrives in Condition, and the reason
//     of an end in Exit; both are looked up anew after a silence, so that a lost
//     event costs time and not truth. What is for people to know arrives in
//     Incidents, as far as it was heard.
//   - Statistics. Processor time, memory and network are the kernel's word on the
//     process, in one form for all drivers; disks are the hypervisor's, and left out
//     while it does not answer.
//   - History. A driver whose hypervisor remembers how a machine ended is a
//     Historian: what a user ended while no agent was there is told from a crash.
//   - Halt. A machine whose monitor can halt the guest with its clock is a Halter. That is
//     a courtesy to what the guest counts, and no means of freezing.
//   - Migration. A driver whose hypervisor moves running machines by tools of its own is a
//     Receiver: it takes the process at the destination into care before anything of the
//     guest is in it. Its machines are Migrants: they tell on both sides where the guest is, in
//     the hypervisor's words, and end as Migrated where it has left. A destination process
//     counts as receiving, over the agent's death, too, until the guest was seen there.
//   - Needs and capabilities. What a definition needs of a host is read without looking at
//     the host, what the host has is asked without looking at a definition, and both
//     are called by the same names.
//   - Export. A driver whose hypervisor keeps machines of its own is a Keeper: it
//     says what those need and may not have, in the form that Start takes.
//
// Non-guarantees: a driver does not know who may run a machine (R3), takes no
// lease into account and never lets a machine go. A command of the process
// driver that leaves its environment, session and cgroup behind at once is out
// of reach. A forerunner of this agent that was killed between fork and exec
// leaves a process that is found only a moment later; it stops itself before
// it executes anything of the machine.
//
// A start that its agent did not live to complete is reported as newborn: the
// process may not be stopped yet, though nothing of the guest has executed.
// Adopt stops it, so adopt before anything else is done with it.
//
// Duties of callers: call Find, or Scan for all drivers at once, before
// publishing a list of what runs, and account for each machine found. Kill a
// machine only when its path to the datastore works or its writes have been
// aborted (R12); freeze it otherwise.
package hypervisor
