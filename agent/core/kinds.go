package core

import (
	"slices"

	"storebeat/partition"
)

// Kind names what happened, in a form that stays the same from version to
// version. A kind is never renamed, and a name that is no longer used is never
// given to something else: people's alerts hang on them.
type Kind string

// Severity says how much an event matters to an operator.
type Severity string

// The severities, from the least to the most.
const (
	// Info is the ordinary course of things.
	Info Severity = "info"
	// Notice is a change that an operator may want to know of, and that is as it should be.
	Notice Severity = "notice"
	// Warning is something out of order that is being dealt with, or that has not hurt yet.
	Warning Severity = "warning"
	// Error means that something was lost, or stays lost until somebody acts.
	Error Severity = "error"
)

// Severities lists all, from the least to the most.
var Severities = []Severity{Info, Notice, Warning, Error}

// AtLeast reports whether s matters as much as other or more.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities, s) >= slices.Index(Severities, other)
}

// About is what there is to know about a kind of event.
type About struct {
	Kind     Kind     `json:"kind"`
	Severity Severity `json:"severity"`
	// Shared says that several hosts may record one and the same incident: each
	// that judges another host, or takes part in an election.
	Shared  bool   `json:"shared"`
	Meaning string `json:"meaning"`
	Remedy  string `json:"remedy"` // "" when there is nothing to do
}

// Chapter holds the kinds that concern one thing.
type Chapter struct {
	Title string
	Kinds []About
}

// Chapters returns all kinds of events, by what they concern.
func Chapters() []Chapter { return chapters }

// Kinds returns all kinds of events, in the order of docs/events.md.
func Kinds() (all []About) {
	for _, chapter := range chapters {
		all = append(all, chapter.Kinds...)
	}
	return all
}

// AboutKind looks a kind up.
func AboutKind(k Kind) (About, bool) {
	for _, chapter := range chapters {
		for _, a := range chapter.Kinds {
			if a.Kind == k {
				return a, true
			}
		}
	}
	return About{}, false
}

// severityOf returns how much a kind matters. One that is not in the table, of
// another version say, is better looked at.
func severityOf(k Kind) Severity {
	if a, ok := AboutKind(k); ok {
		return a.Severity
	}
	return Warning
}

// hostKind is the kind of a verdict on a host.
func hostKind(s partition.State) Kind { return Kind("host-" + s.String()) }

// userKind is the kind of a user's wish.
func userKind(v Verb) Kind {
	if v == Redefine {
		return "definition-changed"
	}
	return Kind("user-" + string(v))
}

// chapters are the one list of all events. Whoever journals a new kind adds its row;
// a test finds those that lack one, and docs/events.md is written from it.
var chapters = []Chapter{
	{"Other hosts", []About{
		{"host-live", Notice, true, "Another host is heard on the network.", ""},
		{"host-maintenance", Notice, true, "Another host is heard, and is in maintenance by its own word: it gets no new machines.", "End the maintenance when the work is done."},
		{"host-storage-lost", Warning, true, "Another host is heard, and has lost one datastore or more. Its machines there wait for their disks; those who hear it vouch for it, so they stay its machines.", "Look after that host's path to the datastore; `storebeat explain host NAME` names it."},
		{"host-isolated", Warning, true, "Another host is not heard; on the datastores it is alive and holds itself for isolated. What it does with its machines stands in their policy.", "Look after that host's network."},
		{"host-partitioned", Warning, true, "Another host is not heard and is alive on the datastores: the network between the hosts is broken. Its machines go on running there.", "Look after the network between the hosts."},
		{"host-unreachable", Warning, true, "Another host is neither heard nor seen alive on the datastores, for too short a time for a verdict.", "Nothing yet: a verdict follows within the takeover time."},
		{"host-agent-down", Error, true, "Another host is silent on the network and on every heartbeat datastore, and answers pings; or its agent was stopped in good order. What it left in custody runs on untouched; its other machines are frozen and are taken over.", "Start the agent there (`systemctl start storebeat`), and read its log. If the host is off, confirm it with `storebeat host confirm-dead NAME`."},
		{"host-dead", Error, true, "Another host is silent everywhere. Its machines are taken over.", "Repair the host. When it is back it joins again by itself."},
		{"host-undetermined", Warning, true, "Another host is not heard, and something that must be read for a verdict can't be read. Nothing of it is taken over, because \"could not read\" is no proof of silence.", "Look after what can't be read; `storebeat explain host NAME` names it."},
	}},
	{"Master and isolation", []About{
		{"election", Notice, true, "The master has changed: this host is master now, or follows another.", ""},
		{"no-master", Warning, true, "This host has lost its master and stands for election. Machines go on running; none is restarted until there is a master.", "If it lasts for longer than a few seconds, look after the network between the hosts."},
		{"isolated", Error, false, "This host hears no other one and reaches no isolation address. It does with each machine what the machine's policy says.", "Look after this host's network."},
		{"isolation-ended", Notice, false, "This host is no longer isolated.", ""},
	}},
	{"Datastores", []About{
		{"datastore-available", Notice, false, "A datastore can be used by this host.", ""},
		{"datastore-unavailable", Error, false, "A datastore can't be used by this host. Its machines there are frozen once their lease has run out.", "Mount it again, or mend what the text names; `storebeat datastore check PATH` tries it out."},
		{"datastore-failing", Error, false, "Heartbeats of this host on a datastore fail. Unless its peers vouch for it there, its machines on it are frozen when the lease runs out.", "Look after this host's path to the datastore; the evidence holds the error."},
		{"datastore-slow", Warning, false, "A heartbeat on a datastore has not returned in time. It is told while it is slow.", "If it comes often, look after the storage, or choose a calmer timing profile."},
		{"datastore-recovered", Notice, false, "Heartbeats on a datastore succeed again, and in time.", ""},
		{"list-failing", Error, false, "This host's power-on list on a datastore can't be written, though heartbeats may be. It starts no machine there, and the list that others read is out of date; what runs goes on. It is tried again and again.", "The evidence holds the error. Look whether the datastore is full or read-only, and after this host's path to it."},
		{"list-recovered", Notice, false, "This host's power-on list on a datastore is written again.", ""},
		{"datastore-distrusted", Error, false, "A datastore is not what it was: another one, an older state of it, or one that another cluster or computer writes to. Nothing on it is claimed, closed or taken as proof.", "Find out what happened to it (restored from a backup, replaced, mounted from elsewhere) before anything else. Once it is right again, restart the agents."},
		{"slot-foreign", Warning, false, "This host's slot on a datastore was written by another computer, or is damaged. It is watched for the takeover time first, in case that computer still runs.", "If a computer was replaced under its old host id, nothing. If two computers have the same id, give one of them its own."},
		{"heartbeat-datastore", Info, false, "This host begins or stops writing its heartbeats on a datastore.", ""},
	}},
	{"The cluster record", []About{
		{"cluster-record", Notice, true, "This host acts on a new revision of the cluster record. The evidence names what its configuration file says otherwise.", ""},
		{"cluster-record-changed", Notice, false, "A new revision of the cluster record counts: most datastores hold it.", ""},
		{"cluster-record-missing", Warning, false, "There is no cluster record yet. The master makes it from its configuration once all hosts are there and their files say the same.", "Do what the text says."},
		{"cluster-record-rivals", Warning, true, "Two masters changed the cluster record at the same time, in two parts of the cluster. One of the changes goes first; the other may be lost.", "Look at the record (`storebeat cluster show`) and repeat what is missing."},
		{"cluster-paused", Warning, true, "The cluster is paused: machines are in custody with their agents running, so nothing is frozen, and what is lost is not restarted. Each new master tells it, and tells it again every quarter of an hour.", "`storebeat cluster resume` ends the pause once the work is done."},
		{"move-ordered", Notice, false, "The master moves a machine away from a host in maintenance, or back after it: it is stopped in good order and started elsewhere.", ""},
		{"machine-not-moved", Warning, false, "A machine can't be moved for now. It stays where it is and is tried again.", "Do what the evidence says: make room, or change a rule."},
		{"host-outcast", Error, false, "This host takes no part in the cluster: it was removed, was never added, or another computer is the member by that id. It claims and starts nothing, and hands over what it runs.", "The evidence says which it is, and what to do."},
		{"host-admitted", Notice, false, "This host takes part in the cluster again.", ""},
		{"host-replaced", Warning, true, "Another computer than the member speaks under its host id. Nothing that it says counts.", "If it takes the member's place, say so: `storebeat host add NAME --replace`. Else give it a host id of its own."},
		{"datastore-retired", Notice, false, "A datastore is not one of the cluster's any more: this host leaves it alone.", ""},
		{"program-outdated", Error, false, "The cluster writes a feature level that this host's program does not know. What runs here goes on; the host takes on nothing new.", "Install the version that the other hosts run."},
	}},
	{"Terms, leases and the guard", []About{
		{"term-won", Notice, false, "This host has won its next term on a datastore: it may run machines there.", ""},
		{"term-taken-over", Info, false, "The restarted agent goes on under its forerunner's term; no machine has noticed.", ""},
		{"term-closed", Error, false, "Another host's term on a datastore was closed: it has lost its machines there, and they are started elsewhere.", "Look after the host that lost them; `storebeat explain host NAME` has the evidence."},
		{"claim-too-slow", Warning, false, "A claim of a term took longer than its lease, and so proves nothing. It is tried again.", "Look after the storage: a claim is a handful of small operations."},
		{"lease-lapsed", Error, false, "This host's proof of life on a datastore has run out. Its machines there, if it has any, stand still until it wins its next term.", "Look after this host's path to the datastore; the evidence says what was missing."},
		{"machines-frozen", Warning, false, "The guard has seen every machine of this host on a datastore frozen.", ""},
		{"guard-gone", Error, false, "This host's guard is gone. All machines are frozen and a new guard is started.", "Read the log to see why it ended; it should never happen."},
		{"machine-abandoned", Warning, false, "No agent ran on this host for a minute after the lease had run out. The guard ended a machine that stood frozen here, for its process kept the image locks that other hosts wait for.", "Find out why the agent was away for so long; its log says. The machine is started again where there is room for it."},
		{"guard-back", Notice, false, "A new guard holds every machine frozen; they go on under this host's next terms.", ""},
	}},
	{"Stopping an agent, and confirming a host dead", []About{
		{"agent-stopping", Notice, false, "This host's agent is being stopped in good order: its machines go into custody, in which they run on without an agent.", ""},
		{"custody-begun", Notice, false, "This host's machines on a datastore are in custody. Nobody else takes them over, and nobody restarts them if they fail.", ""},
		{"custody-ended", Notice, false, "This host's agent is back and looks after its machines on a datastore again.", ""},
		{"agent-stopped", Notice, false, "This host's agent ends. If the text says that not all machines are in custody, the evidence names the datastores: machines there are frozen when their leases end, and may be taken over.", "Start the agent again when the work is done (`systemctl start storebeat`)."},
		{"host-shutting-down", Notice, false, "This host shuts down or reboots: its machines are stopped, each in its own time, and given up. What becomes of them stands in their policy.", ""},
		{"host-given-up", Notice, false, "This host is about to shut down, and its login manager waits no longer: every machine is given up, or the evidence names those that could not be in time.", ""},
		{"host-stays", Notice, false, "The shutdown that this host had announced was called off. Machines that had been stopped for it start again, here or elsewhere, as their policy says.", ""},
		{"host-not-inhibited", Warning, false, "This host's login manager (systemd-logind) does not wait for the agent at a shutdown, or would suspend the host while machines run. A shutdown is noticed only when systemd stops the agent; machines are stopped and given up then all the same.", "See to it that D-Bus and systemd-logind run (`systemctl status dbus systemd-logind`); the evidence has the reason. The agent tries again by itself."},
		{"host-inhibited", Notice, false, "The login manager waits for the agent at a shutdown again, and does not suspend the host while machines run.", ""},
		{"shutdown-delay-short", Warning, false, "A machine may take longer to stop than the login manager waits at a shutdown (InhibitDelayMaxSec). The agent then goes on while systemd stops other services.", "Do what the evidence says, or give the machine a shorter stop_time."},
		{"agent-stays", Warning, false, "A stop of this host's agent was given up, because not all its machines could be left in custody.", "Look after the datastore that the evidence names; `storebeat agent stop --now` stops the agent all the same."},
		{"custody-lasts", Warning, true, "Machines of another host are in custody still: if they or their host fail, nobody starts them elsewhere. It is told again every hour.", "Start the agent there. If the host is off, confirm it with `storebeat host confirm-dead NAME`."},
		{"host-confirmed-dead", Notice, false, "An operator has confirmed that a host is off: its terms are closed without waiting for silence, and its machines are started elsewhere.", ""},
	}},
	{"Machines", []About{
		{"start-ordered", Notice, false, "The master has ordered a host to start a machine.", ""},
		{"machine-without-place", Warning, false, "A machine that is to run has found no host that can take it for a while. The master goes on looking for one.", "The evidence says of each host what is in the way: make room, bring a host back, or change a rule."},
		{"generation-won", Info, false, "This host has won the right to run a machine.", ""},
		{"machine-started", Notice, false, "A machine runs on this host.", ""},
		{"machine-thawed", Notice, false, "A machine that was frozen goes on, where it had stopped.", ""},
		{"machine-halted", Notice, false, "The guest of a machine is halted through its monitor, with its clock, since its lease is about to run out: what it counts, such as an emulated watchdog, is to stand still while it is frozen. It goes on as soon as the lease is renewed, or it is thawed.", ""},
		{"machine-adopted", Info, false, "The restarted agent found a machine running and goes on with it.", ""},
		{"machine-reclaimed", Notice, false, "Nobody had taken a machine that was frozen here: it goes on here under a new generation.", ""},
		{"machine-migrating", Notice, true, "A hypervisor's own tools move a running machine, with its memory, from one host to another. Until the end both are named by its generation, and nobody else starts it.", ""},
		{"machine-migrated", Notice, true, "A machine was moved to another host with its memory, and runs on there.", ""},
		{"machine-migration-failed", Warning, true, "A machine was not moved after all. It goes on where it was, or is started anew if it was lost on the way.", "The evidence says why. Repeat the migration once the cause is mended."},
		{"machine-stopping", Notice, false, "A machine is being stopped; the text says why.", ""},
		{"machine-released", Notice, false, "This host has given a machine up; whoever wins its next generation may start it, if it is to run.", ""},
		{"machine-held", Error, false, "A machine has failed so often that it is not started again by itself.", "Find out why it fails (`storebeat explain vm NAME`), then let it go with `storebeat vm start NAME`."},
		{"machine-crashed", Warning, false, "A machine ended that nobody had asked to end. It is started again, here or elsewhere, as its policy says.", "Read the evidence and the machine's own log."},
		{"machine-destroyed", Notice, false, "Somebody ended a machine, or took it away, with the hypervisor's own tools, such as `virsh destroy`.", "It stays off, for that is a user's will; `storebeat vm start NAME` starts it again. If it was moved to another host, look with `virsh list` where it runs, and do there what the evidence says."},
		{"machine-silent", Warning, false, "A machine runs, and its monitor, or the daemon that it belongs to (libvirtd), does not answer. It can be frozen and ended all the same, but not asked to shut down, and how its guest fares is not known.", "The evidence says what does not answer: look at that process; libvirtd may be restarted while guests run."},
		{"machine-answers", Notice, false, "A machine's monitor answers again.", ""},
		{"guest-shut-down", Notice, false, "A guest switched itself off, and its policy is to leave it off.", "`storebeat vm start NAME` starts it again."},
		{"guest-panicked", Warning, false, "A guest's kernel has given up (panic). The machine is ended as crashed, and its policy decides what follows.", "Look at the guest's console for the reason."},
		{"guest-crash-kernel", Warning, false, "A guest has crashed and begun to run its crash kernel, mostly to write a dump. It reboots by itself, or ends.", "Look at the dump in the guest."},
		{"guest-watchdog", Warning, false, "A guest has not fed its emulated watchdog: it hangs, or it was frozen for longer than the watchdog waits. The evidence says what the watchdog does.", "Look into the guest. If the machine had been frozen before, give its watchdog more time."},
		{"guest-reset", Info, false, "A guest was reset: it has rebooted, or a user or a watchdog has reset it. The machine goes on.", ""},
		{"guest-paused", Notice, false, "Somebody has paused a guest with the hypervisor's own tools. It stays so until they let it go on.", "Resume it where it was paused: by `virsh resume`, or `cont` in QEMU's monitor."},
		{"guest-resumed", Notice, false, "A guest that was paused goes on.", ""},
		{"guest-disk-failed", Warning, false, "A request of a guest to a disk failed. The guest stands still and does not hear of it; the request is tried again every few seconds.", "Look after the disk's datastore; the evidence names the disk and the reason. If it is full, make room."},
		{"guest-disk-recovered", Notice, false, "A guest that stood still because of a disk goes on, and no request has failed for a while.", ""},
		{"guest-job-failed", Warning, false, "A job on a guest's disk, such as a copy that a user ordered in the hypervisor, has failed. The guest goes on.", "The evidence names the job; order it again where it was ordered."},
		{"guest-device-removed", Info, false, "A device was unplugged from a guest. It is back with the next start if it stands in the definition.", ""},
		{"guest-memory-failed", Warning, false, "The host's memory failed under a guest.", "Have the host's memory looked at; move its machines away (`storebeat host maintenance on`)."},
		{"definition-changed", Notice, false, "A user changed the definition of a protected guest with the hypervisor's own tools, such as `virsh edit`, on the host where it is. The change is stored on the datastore: every host starts the machine with it.", ""},
		{"definition-refused", Warning, false, "The definition of a protected guest was changed with the hypervisor's own tools so that it can't be protected like that, or can't be told to be the same machine any more. The change is not stored: other hosts start the machine as it was before, and so does this one.", "Do what the evidence says, such as moving a new disk to the home datastore; the change is stored once nothing is in the way."},
		{"name-taken", Warning, false, "This host's hypervisor has another guest of the name of a protected machine. The machine can't be started here.", "Rename that guest (`virsh domrename`) or remove it (`virsh undefine`)."},
		{"migration-refused", Notice, false, "Somebody tried to move a running machine to this host with the hypervisor's own tools, and its hook refused. The machine runs on where it is.", "The text says why, and what to do."},
		{"start-by-hand-refused", Notice, false, "Somebody tried to start or restore a protected guest on this host with the hypervisor's own tools, and its hook refused: only the agent may, by the machine's right to run.", "The text has the command to use instead."},
		{"guest-by-hand", Error, false, "A guest of the UUID of a protected machine runs on this host, was started by hand, and is in nobody's care: it would not be frozen, and may damage the machine's disks when that runs elsewhere.", "Do what the text says. libvirt's hook keeps this from happening (docs/libvirt.md)."},
		{"start-forbidden", Notice, false, "A host was told to start a machine that a hard rule keeps off it, or that is to stay off, mostly because the rules or the master changed meanwhile. It gave the machine back, and the master decides anew.", ""},
		{"start-refused", Warning, false, "The start of a machine was refused for now, mostly because a lost host's image lock has not run out. It is tried again until it succeeds.", "If it lasts for minutes, find out who holds the lock on its disks."},
		{"start-failed", Error, false, "A machine could not be started on this host. Its policy decides whether it is tried here again, elsewhere, or held.", "Read the evidence: it holds the driver's error."},
		{"machine-putting-down", Warning, false, "A machine runs elsewhere by now. Its frozen former instance here is ended once its writes have returned.", ""},
		{"machine-kill-pending", Warning, false, "A machine is to be ended on this host, and can't be yet, mostly because its requests to the storage have not returned (R12). It stands frozen meanwhile.", "Have the storage answer again; if it is gone for good, restart the host: nothing of the machine outlives that."},
		{"machine-put-down", Notice, false, "The former instance of a machine is gone.", ""},
	}},
	{"Notifications", []About{
		{"notifications-suppressed", Warning, false, "More events came than the rate of a notification allows, or than its command could keep up with; the text says how many of which kind. It stands in notifications alone, with the highest severity of those held back, and never in the journal.", "Look at the journal: `storebeat events --since 1h`."},
	}},
	{"What users asked for", []About{
		{"user-protect", Notice, false, "A user has put a machine under protection, or changed how.", ""},
		{"user-unprotect", Notice, false, "A user has taken a machine out of protection.", ""},
		{"user-start", Notice, false, "A user wants a machine to run.", ""},
		{"user-stop", Notice, false, "A user wants a machine to be off.", ""},
		{"user-set", Notice, false, "A user has changed a machine's rules or its priority.", ""},
	}},
}
