// Package sim runs a whole cluster in one process, in virtual time, from a seed:
// hosts with the agent's own pure core and the guard's own keeper, datastores,
// network links, hypervisors and users, with faults of every kind between them.
//
// Guarantees: one seed, setup and version of the program give one run, event by
// event; the same trace, byte for byte. No goroutine, no wall clock, no order of
// a map has a say. Each host has a boot-time clock of its own, with its own
// origin and rate, so that no instant of one host means anything to another.
// Effects are carried out as the doc of agent/core demands, with one operation
// at a time per datastore and purpose.
//
// The observer stands outside the product: it sees what the hypervisors execute
// and what the datastores hold, judges with none of the product's functions about rights,
// and keeps every record that ever was. At every event it checks
//
//   - I1: no machine executes twice.
//   - I2: a machine starts only after the instance before it has ended, or the generation of
//     that one is over.
//   - I3: no machine starts on a host that has had no way to its datastore for a lease, or
//     that something bars; no start is ordered on a host that has been without power,
//     the way to the datastore, or a way to the master for longer than can go unnoticed by
//     a master that was awake.
//   - I5: no machine starts which its user had stopped.
//   - I6: no machine is frozen, stopped or put down on a host that has been well for three
//     takeover times and two seconds, as have its agent, its guard, the datastore and the way there,
//     unless its user wants it so. A network that fails is no reason, unless the machine's
//     isolation response says that it is. So every end has a cause, and as every start follows
//     an end, no failure brings about two starts.
//   - I7: no generation is claimed to run a machine that was held, or shut down by its guest, when nobody has
//     asked for a start since: whatever a late former master orders. And none by another
//     host while a machine is kept for one that was shut down.
//   - I8: registers only rise, without gaps, and each value has one holder.
//   - I9: after a takeover no write of the former instance reaches the disk. Guests
//     write all the time; what is under way when a machine is frozen, or ends by
//     itself, stays in the kernel and lands when the path heals, unless the
//     datastore's write barrier refuses it. Where there is none nobody promises
//     I9, nor where a machine has crashed with a write under way: both are counted.
//   - R1: no slot goes back to an older write, and no computer claims a term under the id of
//     another one that executes machines there.
//   - awake: no host may be suspended while its agent runs machines there.
//   - R2: old values of a register are removed only by the holder of the newest one, ten
//     minutes after it was won, and three stay.
//   - R3: whatever is let go has the newest generation of its machine, won in this
//     boot, under a chain that is unbroken; R8: and won by this run of the agent if
//     that found it frozen.
//   - R5, R7: nothing of a host executes at the instant at which its next term
//     begins, by its own claim or by another's.
//   - R10: a process comes into being only after the power-on list names its generation.
//   - R12: no machine is killed while it executes or its writes are under way.
//   - R14: nobody distrusts a datastore that is what it was.
//   - Nobody asks for turns without end at one instant; the world halts then.
//
// After the faults have healed it asks for convergence: every machine that is wanted
// runs once, one master, and no host is stuck: it can use every datastore, and holds its term wherever
// it writes heartbeats. At rest the master lists every protected machine as running where it runs,
// or says why it does not (I4), and nothing stirs (I6).
//
// The fault budget of random schedules. All of it may come together and in any order, since
// the rules of docs/safety.md assume nothing of the kind not to happen:
//
//   - Hosts lose power, stand still as a whole and go on, and are exchanged for other
//     computers with their host id. Agents are killed, stopped in good order, paused, and hesitate between
//     two effects; guards are killed. Boot-time clocks differ by up to 2 %, which is R9's
//     margin, and half of the clusters have the shortest takeover time that R9 allows.
//     Wall clocks jump, which nothing about a right can depend on: the shell stamps the
//     journal with them, and the core the dates in the cluster record, such as the end of a pause (R13).
//   - Operations on a datastore, all of a host's or those of one kind, hang, are slow on either way, fail
//     before or after they took effect, or take effect long after they were reported as
//     failed: claims up to an hour later, when old values of the registers have been
//     removed; heartbeats until the next one is issued; both after their host has lost power, heartbeats until it
//     boots again. Heartbeats land in part. Slots are damaged, in the half that
//     nobody needs or in both. Names that others have made are missed for up to a minute,
//     as by a client that caches what it did not find. Datastores are full, and
//     unavailable to one host or to all.
//   - Packets are lost, late, doubled, overtaken, and cut in one direction or both. Something else
//     answers pings to a dead host's address.
//   - Machines crash; their starts fail, and hang until they are given up; their ends
//     hang. Somebody starts or moves them with other tools: no observation tells the core, and
//     only an image lock keeps the two apart, so without one that is counted and not judged.
//   - Users start, stop, protect and unprotect.
//   - Users remove hosts and datastores, at once or after having emptied them, and add them again; an
//     operator says of a host's other computer that it takes the member's place.
//
// Random schedules mix such faults with plots, which follow the runs that break weaker rules. Some
// end with the loss of a host, whose machines must start elsewhere once and in time (I2).
//
// Outside that budget, but there for directed tests and scenarios:
//
//   - A datastore that forgets a write which it acknowledged (a heartbeat, the newer half
//     of a slot), or that is replaced or restored. R14 asks that it is noticed, and no more: what is
//     damaged that way can't be told from what was rolled back.
//   - Listings of registers that are older than the read. Package store asks the server
//     before it lists, so no file system may show them. Nothing runs twice all the same (R2),
//     but the datastore may be distrusted.
//   - Two computers with one host id at the same time. Each may find the other and keep
//     its hands off until one is gone (R1).
//   - A start that succeeds after it was reported as failed, which the contract of
//     drivers excludes. What it leaves is frozen, is no danger, and is ended by the next
//     agent.
//
// Outside altogether: a heartbeat that lands after a later one of the same run of the
// agent (R1: one write in flight), and the time between the end of a host's standstill and its
// guard's first turn, which is zero here.
//
// Non-guarantees: a run that finds nothing proves nothing.
package sim
