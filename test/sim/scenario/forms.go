package scenario

// Settings: what the cluster is, and how the run is judged as a whole.
var (
	Title       = form("title TEXT", "What the scenario is about, in a sentence.")
	Profile     = form("profile PROFILE", "The timing profile; `default` if left out.")
	Timing      = form("timing interval INTERVAL lease LEASE freeze FREEZE takeover TAKEOVER", "Timings of your own, in place of a profile.")
	Address     = form("address ADDRESSES", "Isolation addresses: what a host pings when it hears no other host.")
	Datastore   = form("datastore NAMES [device WORD] [type WORD2] [barrier BARRIER] [preferred] [excluded]", "Datastores. Those on one device fail together in the eyes of the ranking; each has one of its own if left out. `preferred` and `excluded` are about heartbeats, as in the configuration.")
	Host        = form("host NAMES [memory SIZE] [datastores DATASTORES] [clock DRIFT] [watchdog] [has THINGS] [silent]", "Hosts, with 64GiB of memory and access to every datastore unless stated otherwise. `has` names all that they have of what machines need, such as network bridges; a host without it says nothing and has everything. `silent`: they do not say what they have, as hosts of an older version. A clock that is fast or slow stays so; if left out, each seed draws up to 1 % either way. `watchdog`: their guards feed one, which resets the host when nobody does.")
	Machine     = form("machine NAMES home DATASTORES [on HOSTS] [memory SIZE] [needs THINGS] [priority PRIORITY] [isolation RESPONSE] [restart YESNO] [attempts ATTEMPTS] [limit LIMIT] [window WINDOW] [stop-time STOPTIME] [guest-shut-down GUEST] [host-shutdown SHUTDOWN] [reboot-wait REBOOT] [group GROUPS] [apart-from APART] [together-with TOGETHER] [must-run-on PLACES] [rather-apart-from RATHER_APART] [rather-together-with RATHER_TOGETHER] [rather-on RATHER_PLACES] [stopped]", "Protected machines, 1GiB each unless stated otherwise. `on` says where they run at the start; several names take several homes and hosts in turn. `needs` names what their host must have. The rest is their policy and rules, as in a machine file: those with `rather` are soft, the others hard, and both name machines or groups. `stopped`: protected, and not running.")
	MasterAt    = form("master HOSTS", "The host that is master at the start.")
	End         = form("end at TIME", "When the scenario ends: 20 s after the last time that it mentions, if left out.")
	LockLease   = form("image-locks end after LENGTH", "How long a server keeps the image locks of a host that it does not hear, with barrier `lock`; a start waits for them. At once if left out.")
	Convergence = form("convergence within LENGTH", "After the end every fault is healed; then the cluster has so long to come to rest. 60 s if left out.")
	NoConverge  = form("convergence not expected", "The cluster need not come to rest after the end, and nothing is healed.")
)

// Settings are the forms of the lines that set a scenario up.
var Settings = []*Form{Title, Profile, Timing, Address, Datastore, Host, Machine, MasterAt, LockLease, End, Convergence, NoConverge}

// Actions on hosts.
var (
	PowerOff     = form("power off HOSTS [for LENGTH]", "Everything on the hosts ends at once.")
	PowerOn      = form("power on HOSTS", "Hosts without power boot; guard and agent come up.")
	ShutDown     = form("shut down HOSTS within LENGTH", "The hosts are shut down in good order: their machines are stopped and given up, and each waits or starts elsewhere as its policy says. The power goes when that is done, or after that time.")
	PowerCycle   = form("power cycle HOSTS", "Off and on again within a moment.")
	Suspend      = form("suspend HOSTS [for LENGTH]", "Agent, guard and machines stop together, as when the host itself is frozen, and go on together.")
	Resume       = form("resume HOSTS", "Ends `suspend`.")
	KillAgent    = form("kill agent of HOSTS [for LENGTH]", "The agent ends at once, and stays away unless told for how long.")
	StopAgent    = form("stop agent of HOSTS [for LENGTH]", "The agent is stopped in good order, as for an upgrade: its machines go on in custody.")
	StartAgent   = form("start agent of HOSTS", "Starts it again.")
	PauseAgent   = form("pause agent of HOSTS [for LENGTH]", "The agent alone stops; guard and machines go on.")
	ResumeAgent  = form("resume agent of HOSTS", "Ends `pause agent`.")
	KillGuard    = form("kill guard of HOSTS", "The guard ends at once. The agent notices and starts another.")
	KillBoth     = form("kill agent and guard of HOSTS", "Both end at once, and nothing freezes their machines or starts them again: a service manager that does its duty would. Only of hosts with a `watchdog`, for without one such a host's machines run on unguarded.")
	InstallNext  = form("install next version on HOSTS", "A program that knows one feature level more. It counts from the agent's next start.")
	UpgradeGuard = form("upgrade guard of HOSTS [for LENGTH]", "The guard replaces itself by a new version, with all that it holds; for so long it does nothing.")
	ReplaceHost  = form("replace host HOSTS", "The host loses power for good; another computer with its id and name comes up, and an operator says that it takes the member's place.")
	SetForward   = form("set clock of HOSTS forward by DELAY", "The wall clock jumps. Nothing that Storebeat decides hangs on it.")
	SetBack      = form("set clock of HOSTS back by DELAY", "The same, the other way.")
	TwinHost     = form("start twin of HOSTS", "Another computer with its id and name comes up beside it.")
)

// Actions on the network.
var (
	Cut          = form("cut HOSTS from NODES [for LENGTH]", "No packet passes between them, either way.")
	CutOneWay    = form("cut HOSTS to NODES [for LENGTH]", "No packet passes from the former to the latter; the other way they do.")
	CutNetwork   = form("cut network [for LENGTH]", "No packet passes between any two hosts, or to an isolation address.")
	Isolate      = form("isolate HOSTS [for LENGTH]", "Cuts each from all other hosts and from every isolation address.")
	Reconnect    = form("reconnect HOSTS [from NODES]", "Ends every fault of the network between them, or between them and everything.")
	ReconnectAll = form("reconnect network", "Ends every fault of the network.")
	Degrade      = form("degrade network [of HOSTS] [loss LOSS] [copies COPIES] [delay DELAY] [jitter JITTER] [for LENGTH]", "Packets get lost, come twice, late, and by jitter in another order. `of`: only those that these hosts send or receive.")
	DegradeLink  = form("degrade link from HOSTS to OTHERS [loss LOSS] [copies COPIES] [delay DELAY] [jitter JITTER] [for LENGTH]", "The same, from the former to the latter only.")
)

// FakePings is a fault of the network too.
var FakePings = form("fake pings of HOSTS [for LENGTH]", "Something else answers pings to their addresses, whatever becomes of the hosts.")

// Actions on datastores.
var (
	Hang       = form("hang DATASTORES [on HOSTS] [for LENGTH]", "Operations wait until it is over. `on`: only those of these hosts.")
	Break      = form("break DATASTORES [on HOSTS] [for LENGTH]", "Operations fail at once.")
	Slow       = form("slow DATASTORES [on HOSTS] by DELAY [for LENGTH]", "Every operation takes so much longer.")
	HangOps    = form("hang OPERATIONS of HOSTS on DATASTORES [for LENGTH]", "Operations of one kind wait until it is over.")
	FailOps    = form("fail OPERATIONS of HOSTS on DATASTORES [for LENGTH]", "They fail, and take no effect.")
	FailShare  = form("fail SHARE of operations of HOSTS on DATASTORES [for LENGTH]", "Part of all operations fails, and takes no effect.")
	DelayOps   = form("delay OPERATIONS of HOSTS on DATASTORES by DELAY [for LENGTH]", "They take so much longer on their way to the datastore.")
	DelayReply = form("delay replies to OPERATIONS of HOSTS on DATASTORES by DELAY [for LENGTH]", "They take effect in time, and their results come so much later.")
	LoseReply  = form("lose replies to CHANGES of HOSTS on DATASTORES [for LENGTH]", "They take effect, and are reported as failed.")
	LandLate   = form("land CHANGES of HOSTS on DATASTORES late by DELAY [for LENGTH]", "They are reported as failed at once, and take effect so much later.")
	Mend       = form("mend DATASTORES [on HOSTS]", "Ends every fault of the datastores, or of these hosts' paths to them.")
	Tear       = form("tear slot of HOSTS on DATASTORES", "The host's slot in the heartbeat region is corrupt until it writes the next heartbeat.")
	TearWrites = form("tear heartbeats of HOSTS on DATASTORES [for LENGTH]", "Each is reported as failed and leaves the half of the slot that it went to corrupt.")
	Forget     = form("forget heartbeats of HOSTS on DATASTORES [for LENGTH]", "Each is reported as written, and lost.")
	Stale      = form("stale reads of DATASTORES [on HOSTS] by DELAY [for LENGTH]", "Reads may miss names that other hosts made less than this ago, and show listings that are as old, as a client does that caches.")
	Fill       = form("fill DATASTORES [for LENGTH]", "No space is left: nothing new can be made; what is there can be written.")
	Replace    = form("replace DATASTORES", "Another, empty datastore stands in its place.")
	Snapshot   = form("snapshot DATASTORES", "Remembers what is on them.")
	Restore    = form("restore DATASTORES", "Puts back what the last snapshot holds.")
)

// Actions on machines, and those of users.
var (
	Crash       = form("crash MACHINES", "The machine's process ends, wherever it runs.")
	GuestOff    = form("shut down MACHINES", "The guest switches itself off.")
	TakeAway    = form("take THINGS from HOSTS [for LENGTH]", "The hosts lose things that machines need, and say so. What runs goes on.")
	Give        = form("give THINGS to HOSTS", "They get them, for the first time or again.")
	FailStarts  = form("fail starts on HOSTS [for LENGTH]", "Machines can't be started there.")
	HangStarts  = form("hang starts on HOSTS [for LENGTH]", "Starts wait until it is over, or are given up after a minute.")
	LateStarts  = form("land starts on HOSTS late by DELAY [for LENGTH]", "Starts are reported as failed, and the process is there, frozen, so much later.")
	StartBehind = form("start MACHINES on HOSTS behind the agent", "Somebody starts them there with other tools. With barrier `lock`, the image lock may forbid it.")
	MoveBehind  = form("move MACHINES to HOSTS behind the agent", "Somebody moves them there with other tools: their process ends where it was.")
	Migrate     = form("migrate MACHINES to HOSTS in DELAY", "A hypervisor moves them there with their memory, which is copied for so long, if the agent there allows it.")
	Strand      = form("strand migrations of MACHINES", "Whoever drives them is lost: nothing goes on, and what was begun is left as it is.")
	GiveUp      = form("give up migrations of MACHINES", "Somebody cancels them; what has arrived stays.")
	EndBehind   = form("end strangers on HOSTS", "Ends what was started or moved there so.")
	HangStops   = form("hang stops on HOSTS [for LENGTH]", "Machines can't be ended by force until it is over.")
	SlowStarts  = form("slow starts on HOSTS by DELAY [for LENGTH]", "A start takes so much longer.")
	Stop        = form("stop MACHINES [through HOSTS]", "A user wants them stopped, and says so to the agent of that host, or of any.")
	Start       = form("start MACHINES [through HOSTS]", "A user wants them running.")
	Protect     = form("protect MACHINES [through HOSTS]", "A user puts them on the protected list, as the scenario declares them.")
	Unprotect   = form("unprotect MACHINES [through HOSTS]", "A user takes them off it.")
	Maintain    = form("maintain HOSTS", "A user begins their maintenance and has their machines moved elsewhere.")
	Unmaintain  = form("end maintenance of HOSTS [returning]", "A user ends it. `returning`: what was moved away is moved back.")
	PauseAll    = form("pause cluster for LENGTH", "A user pauses it for planned work: machines run on in custody whatever storage and network do, and what is lost is not restarted. It ends by itself after so long.")
	EndPause    = form("end pause of cluster", "A user ends it before.")
	RaiseLevel  = form("upgrade cluster", "A user has the cluster use the highest feature level that all hosts know.")
	RemoveHost  = form("remove host HOSTS", "A user takes them out of the cluster.")
	AddHost     = form("add host HOSTS", "A user adds hosts that were removed, with the ids that they had.")
	RemoveStore = form("remove datastore DATASTORES", "A user takes them out of the cluster.")
	AddStore    = form("add datastore DATASTORES", "A user adds datastores that were removed.")
	ConfirmDead = form("confirm HOSTS dead", "An operator looks at the status, sees that the hosts have no power, and confirms it to the master. It does nothing if they have.")
	Heal        = form("heal everything", "Every fault ends, hosts without power boot, agents start.")
)

// Actions are the forms of what may happen.
var Actions = []*Form{
	PowerOff, PowerOn, ShutDown, PowerCycle, Suspend, Resume, KillAgent, StopAgent, StartAgent, PauseAgent, ResumeAgent, KillGuard, KillBoth, InstallNext, UpgradeGuard, ReplaceHost, TwinHost, SetForward, SetBack,
	Cut, CutOneWay, CutNetwork, Isolate, Reconnect, ReconnectAll, Degrade, DegradeLink, FakePings,
	Hang, Break, Slow, HangOps, FailOps, FailShare, DelayOps, DelayReply, LoseReply, LandLate, Mend, Tear, TearWrites, Forget, Stale, Fill, Replace, Snapshot, Restore,
	Crash, GuestOff, TakeAway, Give, FailStarts, HangStarts, LateStarts, SlowStarts, StartBehind, MoveBehind, Migrate, Strand, GiveUp, EndBehind, HangStops, Stop, Start, Protect, Unprotect, Maintain, Unmaintain, PauseAll, EndPause, RaiseLevel, RemoveHost, AddHost, RemoveStore, AddStore, ConfirmDead, Heal,
}

// Conditions are facts that the simulator sees, and what Storebeat says about them.
var (
	Runs          = form("MACHINES runs|run [on HOSTS]", "Each executes on exactly one host, and that is one of these.")
	DoesNotRun    = form("MACHINES does|do not run [on HOSTS]", "None executes, or none executes there.")
	Frozen        = form("MACHINES is|are [not] frozen [on HOSTS]", "Each has a process that is there and executes nothing.")
	Off           = form("MACHINES is|are [not] off", "None has a process anywhere.")
	Started       = form("MACHINES started COUNT [on HOSTS]", "How often each was started since the start of the scenario.")
	Away          = form("MACHINES is|are away at most LENGTH", "No time in which one was wanted and did not execute was longer.")
	Shown         = form("MACHINES is|are [not] shown STATUS [to HOSTS]", "What `storebeat status` says of them on a host that is master, or on these hosts.")
	IsState       = form("HOSTS is|are [not] STATE [to OTHERS]", "What `storebeat status` says of hosts on a host that is master, or on these others.")
	IsMaster      = form("HOSTS is|are [not] master [to OTHERS]", "It leads, by its own word; or these others follow it.")
	OneMaster     = form("one host is master", "All agents that run follow one master, which leads.")
	StoreIs       = form("DATASTORES is|are [not] DSTATE [to HOSTS]", "What `storebeat status` says of datastores on a host that is master, or on these hosts.")
	EventSeen     = form("event KIND [by HOSTS] [about ABOUT]", "An event was journaled since the start: by these hosts, about any of these.")
	EventCount    = form("event KIND COUNT [by HOSTS] [about ABOUT]", "How often it was.")
	LastSucceeded = form("last command succeeded", "The newest command of a user was carried out.")
	LastRefused   = form("last command refused [saying TEXT]", "It was refused, with such words in the answer.")
	WriteRefused  = form("late guest write refused", "After a takeover, a write of a former instance came to the datastore, and its barrier refused it.")
	WriteLanded   = form("late guest write landed", "It reached the machine's disk. Behind a write barrier that breaks an invariant.")
	AtRest        = form("cluster at rest", "One master, every wanted machine runs once, nothing is under way.")
)

// Conditions are the forms of what can be waited for and expected.
var Conditions = []*Form{
	Runs, DoesNotRun, Frozen, Off, Started, Away, Shown, IsState, IsMaster, OneMaster, StoreIs, EventSeen, EventCount, LastSucceeded, LastRefused, WriteRefused, WriteLanded, AtRest,
}

// Moments at which something happens.
var (
	At    = form("at TIME", "At that time.")
	When  = form("when", "The first time that the CONDITION after it holds.")
	After = form("LENGTH after", "So long after the CONDITION after it held for the first time.")
)

// Moments are the forms that stand before the colon of an action. When and
// After are followed by a condition.
var Moments = []*Form{At, When, After}

// Moments at which something is expected.
var (
	ExpectAt     = form("expect at TIME", "It holds at that time.")
	ExpectAtEnd  = form("expect at end", "It holds when the scenario ends.")
	ExpectBy     = form("expect by TIME", "It holds at that time or has held before.")
	ExpectWithin = form("expect within LENGTH after", "It holds, at some instant, within that time after the CONDITION held for the first time.")
	ExpectEver   = form("expect eventually", "It holds at some instant before the end.")
	ExpectAlways = form("expect always [from FROM] [to TO]", "It holds at every instant.")
	ExpectNever  = form("expect never [from FROM] [to TO]", "It holds at no instant.")
)

// Expecting are the forms that stand before the colon of an expectation.
// ExpectWithin is followed by a condition.
var Expecting = []*Form{ExpectAt, ExpectAtEnd, ExpectBy, ExpectWithin, ExpectEver, ExpectAlways, ExpectNever}
