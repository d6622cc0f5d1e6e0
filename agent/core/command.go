package core

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// command is a user's wish on its way to the datastore.
type command struct {
	Command
	vm    uuid.UUID
	home  *footing
	tries int
	seen  bool // the catalogues were read again, because the name was not known
}

// commandTries is how often a lost race for the next revision is run again.
const commandTries = 5

func (c *Core) onCommand(o Command) {
	cmd := &command{Command: o}
	c.commands = append(c.commands, cmd)
	c.beginCommand(cmd)
}

// beginCommand finds the machine that the user means and reads its entry.
func (c *Core) beginCommand(cmd *command) {
	if cmd.Verb == Protect {
		c.beginProtect(cmd)
		return
	}
	var found []*info
	for _, f := range c.footings {
		for _, i := range f.infos {
			if i.EntryState == datastorehb.Valid && (i.Entry.Name == cmd.VM && i.Entry.Protected || i.vm.String() == cmd.VM) {
				found = append(found, i)
				cmd.home, cmd.vm = f, i.vm
			}
		}
	}
	switch {
	case len(found) > 1:
		c.refuse(cmd, fmt.Sprintf("%d machines are called %s: give the UUID of the one you mean", len(found), cmd.VM))
	case len(found) == 1:
		c.readForCommand(cmd)
	case cmd.seen:
		c.refuse(cmd, fmt.Sprintf("no machine %s is protected on a datastore that can be read: `storebeat vm list` shows all", cmd.VM))
	default:
		c.searchAgain(cmd)
	}
}

// searchAgain reads every catalogue once before a name is called unknown.
func (c *Core) searchAgain(cmd *command) {
	cmd.seen = true
	for _, f := range c.footings {
		f.nextScan = c.now
		c.scan(f)
	}
	if !slices.ContainsFunc(c.footings, func(f *footing) bool { return f.scanning }) {
		c.beginCommand(cmd)
	}
}

func (c *Core) retryCommands() {
	if slices.ContainsFunc(c.footings, func(f *footing) bool { return f.scanning }) {
		return
	}
	for _, cmd := range slices.Clone(c.commands) {
		if cmd.home == nil && cmd.seen {
			c.beginCommand(cmd)
		}
	}
}

func (c *Core) beginProtect(cmd *command) {
	f := c.footing(cmd.Datastore)
	if f == nil || !f.usable() {
		c.refuse(cmd, "the home datastore can't be used: `storebeat datastore list` tells why")
		return
	}
	if err := cmd.Entry.Validate(); err != nil {
		c.refuse(cmd, err.Error())
		return
	}
	if why := c.taken(f, &cmd.Entry); why != "" {
		c.refuse(cmd, why)
		return
	}
	cmd.home, cmd.vm = f, cmd.Entry.VM
	c.readForCommand(cmd)
}

// taken says why a machine can't have the name or the UUID it asks for. Two home
// datastores with registers for one UUID could each let it run.
func (c *Core) taken(home *footing, e *poweron.Entry) string {
	for _, g := range c.footings {
		for _, i := range g.infos {
			switch {
			case i.vm == e.VM && g != home && i.EntryState != datastorehb.Absent:
				return fmt.Sprintf("the UUID %s belongs to machine %s on %s: give a machine on %s a UUID of its own", e.VM, i.Entry.Name, g.Name, home.Name)
			case i.vm == e.VM || i.EntryState != datastorehb.Valid || i.Entry.Name != e.Name:
			case i.Entry.Protected:
				return fmt.Sprintf("the name %s is taken by machine %s on %s: choose another", e.Name, i.vm, g.Name)
			case c.placeOf(g, i) != 0:
				return fmt.Sprintf("the name %s is that of machine %s on %s, which was taken off the list and still runs on %s, as far as is known: protect it again by its uuid, stop it first, or choose another name",
					e.Name, i.vm, g.Name, c.HostName(c.placeOf(g, i)))
			}
		}
	}
	return ""
}

func (c *Core) readForCommand(cmd *command) {
	if !cmd.home.usable() {
		c.refuse(cmd, fmt.Sprintf("the home datastore %s can't be used: %s", cmd.home.Name, cmd.home.why))
		return
	}
	c.do(ReadMachine{Datastore: cmd.home.ID, VM: cmd.vm, Purpose: ForCommand})
}

func (c *Core) onCommandRead(f *footing, o MachineRead) {
	for _, cmd := range slices.Clone(c.commands) {
		if cmd.home == f && cmd.vm == o.VM {
			c.changeEntry(cmd, o)
		}
	}
}

// changeEntry claims the next revision of the entry, changed as the user wants it.
func (c *Core) changeEntry(cmd *command, o MachineRead) {
	s := o.Machine
	switch {
	case o.Err != "":
		c.refuse(cmd, "the machine's entry could not be read: "+o.Err)
		return
	case s.EntryState == datastorehb.Corrupt || s.EntryState == datastorehb.Unreadable:
		c.refuse(cmd, fmt.Sprintf("the machine's newest entry is %s", s.EntryState))
		return
	case s.EntryState == datastorehb.Absent && cmd.Verb != Protect:
		c.refuse(cmd, "the machine is not protected")
		return
	}
	next, err := cmd.next(s)
	if err != nil {
		c.refuse(cmd, err.Error())
		return
	}
	if why := c.unfit(cmd.home, &s, &next); why != "" {
		c.refuse(cmd, why)
		return
	}
	c.do(ClaimEntry{Datastore: cmd.home.ID, Revision: s.Revision + 1, Entry: next})
}

// next returns the entry as the user wants it.
func (cmd *command) next(s MachineState) (poweron.Entry, error) {
	next := s.Entry
	switch cmd.Verb {
	case Protect:
		next = cmd.Entry
		next.Protected, next.Asked = true, s.Entry.Asked
	case Unprotect:
		next.Protected = false
	case Start:
		next = poweron.AskStart(next, s.Revision+1)
		next.Protected = true
	case Stop:
		next.Desired = poweron.Stopped
	case Set:
		if !next.Protected {
			return next, fmt.Errorf("%s is not protected: protect it again first", next.Name)
		}
		return cmd.Change.Of(next)
	case Redefine:
		if !next.Protected {
			return next, fmt.Errorf("%s is not protected any more", next.Name)
		}
		next.Name, next.Definition, next.Memory = cmd.Entry.Name, cmd.Entry.Definition, cmd.Entry.Memory
		return next, next.Validate()
	}
	return next, nil
}

// unfit says why a change can't be made though the entry itself is valid: another
// machine has its name, or rules contradict each other. What was so before the
// change does not stand in its way.
func (c *Core) unfit(home *footing, s *MachineState, next *poweron.Entry) string {
	if !next.Protected {
		return ""
	}
	if !s.Entry.Protected || s.Entry.Name != next.Name {
		if why := c.taken(home, next); why != "" {
			return why
		}
	}
	if s.Entry.Protected && s.Entry.Name == next.Name && s.Entry.Rules.Equal(next.Rules) {
		return ""
	}
	return c.impossible(next)
}

func (c *Core) onEntryClaimed(o EntryClaimed) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	if o.Outcome == datastorehb.ClaimWon {
		f.learn(o.Entry.VM, MachineState{EntryState: datastorehb.Valid, Entry: o.Entry, Revision: o.Revision, Needs: o.Needs}, o.Returned, false)
		if i := f.info(o.Entry.VM); i.GenerationState == datastorehb.Unreadable {
			c.do(ReadMachine{Datastore: f.ID, VM: i.vm, Purpose: ForCatalogue})
		}
		c.tellChanged(f, o.Entry.VM, true)
	}
	for _, cmd := range slices.Clone(c.commands) {
		if cmd.home == f && cmd.vm == o.Entry.VM {
			c.entryClaimed(cmd, o)
			return
		}
	}
}

func (c *Core) entryClaimed(cmd *command, o EntryClaimed) {
	switch {
	case o.Outcome == datastorehb.ClaimWon:
		c.journal(Event{Kind: userKind(cmd.Verb), Datastore: cmd.home.ID, VM: cmd.vm, Text: cmd.done(o)})
		c.finish(cmd, Reply{Text: fmt.Sprintf("%s %s: recorded on %s as revision %d", cmd.Verb, o.Entry.Name, cmd.home.Name, o.Revision) + c.nobody(&o.Entry)})
	case o.Outcome == datastorehb.ClaimLost && cmd.tries < commandTries:
		cmd.tries++
		c.readForCommand(cmd)
	default:
		c.refuse(cmd, fmt.Sprintf("it is not known whether the change was recorded (%s %s): look with `storebeat vm show` and repeat it", o.Outcome, o.Err))
	}
}

// done says what was recorded.
func (cmd *command) done(o EntryClaimed) string {
	if cmd.Verb == Redefine {
		return fmt.Sprintf("a user of the hypervisor changed the definition of %s: it is stored (revision %d), and every host starts it with the change", o.Entry.Name, o.Revision)
	}
	return fmt.Sprintf("a user asked: %s %s (revision %d)", cmd.Verb, o.Entry.Name, o.Revision)
}

func (c *Core) refuse(cmd *command, why string) { c.finish(cmd, Reply{Err: why}) }

func (c *Core) finish(cmd *command, r Reply) {
	r.Command, r.Text, r.Err = cmd.ID, c.named(r.Text), c.named(r.Err)
	c.commands = slices.DeleteFunc(c.commands, func(o *command) bool { return o == cmd })
	c.do(r)
}
