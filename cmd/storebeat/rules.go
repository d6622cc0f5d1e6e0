package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/zclconf/go-cty/cty"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// placement is a machine's rules as a user writes them: with the names of hosts.
// What is nil was not written.
type placement struct {
	groups       []string
	must, prefer affinity
}

type affinity struct{ apart, together, hosts []string }

// rules puts the ids of hosts in the place of their names.
func (p *placement) rules(host func(string) (datastorehb.HostID, error)) (r poweron.Rules, err error) {
	r.Groups = p.groups
	var errs [2]error
	r.Must, errs[0] = p.must.resolve(host)
	r.Prefer, errs[1] = p.prefer.resolve(host)
	return r, errors.Join(errs[:]...)
}

func (a affinity) resolve(host func(string) (datastorehb.HostID, error)) (poweron.Affinity, error) {
	hosts, err := hostIDs(a.hosts, host)
	return poweron.Affinity{Apart: a.apart, Together: a.together, Hosts: hosts}, err
}

func hostIDs(names []string, host func(string) (datastorehb.HostID, error)) ([]datastorehb.HostID, error) {
	ids := make([]datastorehb.HostID, 0, len(names)) // not nil: an empty list removes a rule
	for _, name := range names {
		id, err := host(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// hostID looks a host up by its name or number.
func (c cluster) hostID(name string) (datastorehb.HostID, error) {
	h, err := c.host(name)
	return h.ID, err
}

// ruleFlags are the flags that give a machine its rules. An empty list removes a rule.
type ruleFlags struct {
	placement
	given *pflag.FlagSet
}

func (a *app) ruleFlags(cmd *cobra.Command) *ruleFlags {
	f := cmd.Flags()
	r := &ruleFlags{given: f}
	f.StringSliceVar(&r.groups, "group", nil, "`names` that it shares with other machines, for rules")
	f.StringSliceVar(&r.must.apart, "apart", nil, "`machines` and groups that it must not share a host with")
	f.StringSliceVar(&r.must.together, "together", nil, "`machines` and groups that it must share a host with")
	f.StringSliceVar(&r.must.hosts, "allow", nil, "`hosts` that it must run on")
	f.StringSliceVar(&r.prefer.hosts, "prefer", nil, "`hosts` that it should run on, the best first")
	f.StringSliceVar(&r.prefer.apart, "prefer-apart", nil, "`machines` and groups that it should not share a host with")
	f.StringSliceVar(&r.prefer.together, "prefer-together", nil, "`machines` and groups that it should share a host with")
	for _, name := range []string{"allow", "prefer"} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completing(func(n names) []string { return n.hosts }))
	}
	for _, name := range []string{"apart", "together", "prefer-apart", "prefer-together"} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completing(func(n names) []string { return n.machines }))
	}
	return r
}

// any reports whether one of the flags was given.
func (r *ruleFlags) any() bool {
	return slices.ContainsFunc([]string{"group", "apart", "together", "allow", "prefer", "prefer-apart", "prefer-together"}, r.given.Changed)
}

// change puts what was given into a change.
func (r *ruleFlags) change(c *poweron.Change, host func(string) (datastorehb.HostID, error)) error {
	rules, err := r.rules(host)
	pick(r.given, "group", &c.Groups, rules.Groups)
	pick(r.given, "apart", &c.Must.Apart, rules.Must.Apart)
	pick(r.given, "together", &c.Must.Together, rules.Must.Together)
	pick(r.given, "allow", &c.Must.Hosts, rules.Must.Hosts)
	pick(r.given, "prefer", &c.Prefer.Hosts, rules.Prefer.Hosts)
	pick(r.given, "prefer-apart", &c.Prefer.Apart, rules.Prefer.Apart)
	pick(r.given, "prefer-together", &c.Prefer.Together, rules.Prefer.Together)
	return err
}

func pick[T any](given *pflag.FlagSet, name string, to **T, value T) {
	if given.Changed(name) {
		*to = &value
	}
}

func newSet(a *app) *cobra.Command {
	var of string
	var policy *policyFlags
	var rules *ruleFlags
	cmd := &cobra.Command{
		Use: "set [NAME…]", Short: "Change where machines may and should run, and their policy",
		Long: `Changes the rules of protected machines, and their policy: what is done with them when
they crash, when their host is isolated or shuts down, and when its proof of life runs
out. A list replaces the one that was there, and an empty one (--apart=) removes it; what
is not named stays as it is, and vm show shows it. It goes for what happens from then on.

A name in a rule means the machine of that name and every machine of the group of that
name, except the machine itself. Rules hold both ways: it is enough that one of the two
has them. A machine waits rather than break one of --apart, --together and --allow;
the others decide between hosts that could take it. Nothing that runs is moved.

Rules that can't be met together with those of others are refused.

A machine whose host shuts down or reboots is stopped in good order. By
--on-host-shutdown it then starts elsewhere at once (restart-elsewhere), or waits for its
host, for --reboot-wait at the longest (wait), or stays off until its host is back
(leave-off). vm start ends the waiting.

A machine whose host loses its proof of life is frozen from outside, which does not stop
the clock by which an emulated watchdog counts: after a long freeze it resets the guest.
By --pause=stop-then-freeze the hypervisor is told to stop the guest, clock and all, just
before that, if it answers in time; auto does so for guests that have a watchdog.`,
		Example: `  storebeat vm set web-1 web-2 --group web --apart web
  storebeat vm set --of web --allow alpha,beta --prefer alpha
  storebeat vm set web-1 --apart=
  storebeat vm set db-1 --on-host-shutdown wait --reboot-wait 10m
  storebeat vm set db-1 --attempts 0 --stop-time 5m`,
		Args: arguments(0, -1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			var change poweron.Change
			if err := policy.in(cmd.Flags(), &change.Policy); err != nil {
				return err
			}
			if !rules.any() && change == (poweron.Change{}) {
				return fail(exitUsage, "nothing to set: name what shall change, such as --apart or --priority (storebeat vm set --help)")
			}
			return a.set(cmd.Context(), args, of, change, rules)
		},
	}
	rules = a.ruleFlags(cmd)
	policy = addPolicyFlags(cmd)
	cmd.Flags().StringVar(&of, "of", "", "also every protected machine of this `group`")
	return cmd
}

func (a *app) set(ctx context.Context, machines []string, of string, change poweron.Change, rules *ruleFlags) error {
	v, err := a.view(ctx, false)
	if err != nil {
		return err
	}
	if err := rules.change(&change, v.hostID); err != nil {
		return err
	}
	members, err := v.group(of)
	if err != nil {
		return err
	}
	machines = append(slices.Clone(machines), members...)
	if len(machines) == 0 {
		return fail(exitUsage, "no machine given: name machines, or a group with --of")
	}
	return a.changeEach(ctx, machines, func(name string) core.Command { return core.Command{Verb: core.Set, VM: name, Change: change} })
}

// group returns the protected machines of a group.
func (c cluster) group(name string) (members []string, err error) {
	if name == "" {
		return nil, nil
	}
	var groups []string
	for i := range c.Machines {
		m := &c.Machines[i]
		for _, group := range m.Rules.Groups {
			if !slices.Contains(groups, group) {
				groups = append(groups, group)
			}
		}
		if m.Protected && slices.Contains(m.Rules.Groups, name) {
			members = append(members, m.VM.String())
		}
	}
	if members == nil {
		return nil, notFound("group", name, groups, "storebeat vm list")
	}
	return members, nil
}

var placementSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "groups"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "must"}, {Type: "prefer"}},
}

var affinitySchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "apart"}, {Name: "together"}, {Name: "hosts"}}}

// readPlacement reads a machine's rules. Hosts are looked up later, when it is
// known which there are.
func (w *wish) readPlacement(b *hcl.Block) hcl.Diagnostics {
	p := &placement{}
	w.placement, w.places["placement"] = p, b.DefRange
	content, diags := b.Body.Content(placementSchema)
	diags = append(diags, w.read(content.Attributes, map[string]func(cty.Value) error{"groups": textsInto(&p.groups)})...)
	for _, block := range content.Blocks {
		to := map[string]*affinity{"must": &p.must, "prefer": &p.prefer}[block.Type]
		body, more := block.Body.Content(affinitySchema)
		diags = append(append(diags, more...), w.read(body.Attributes, map[string]func(cty.Value) error{
			"apart": textsInto(&to.apart), "together": textsInto(&to.together), "hosts": textsInto(&to.hosts),
		})...)
	}
	return diags
}

// judgePlacement judges what can be judged without asking the cluster, which
// alone knows its hosts.
func (w *wish) judgePlacement() hcl.Diagnostics {
	if w.placement == nil {
		return nil
	}
	must, prefer := w.placement.must, w.placement.prefer
	err := poweron.Rules{Groups: w.placement.groups, Must: poweron.Affinity{Apart: must.apart, Together: must.together},
		Prefer: poweron.Affinity{Apart: prefer.apart, Together: prefer.together}}.Validate(w.Name)
	for _, host := range prefer.hosts {
		if len(must.hosts) > 0 && !slices.Contains(must.hosts, host) {
			err = errors.Join(err, fmt.Errorf("prefer names host %q, and must.hosts does not allow it: add it there, or leave it out", host))
		}
	}
	if err != nil {
		return hcl.Diagnostics{wrong(w.at("placement"), "Unusable placement", "%s.", oneLine(strings.ReplaceAll(err.Error(), "\n", "; ")))}
	}
	return nil
}

func textsInto(to *[]string) func(cty.Value) error {
	return func(v cty.Value) error {
		if v.IsNull() || !v.Type().IsTupleType() && !v.Type().IsListType() {
			return errors.New(`it is no list; write names in brackets, such as ["web-1", "web-2"]`)
		}
		for _, element := range v.AsValueSlice() {
			var text string
			if err := textInto(&text)(element); err != nil {
				return err
			}
			*to = append(*to, text)
		}
		return nil
	}
}

// rulesOf says in words what rules ask, one line each.
func (c cluster) rulesOf(a poweron.Affinity) (lines []string) {
	add := func(what string, names []string) {
		if len(names) > 0 {
			lines = append(lines, what+" "+strings.Join(names, ", "))
		}
	}
	add("apart from", a.Apart)
	add("together with", a.Together)
	hosts := make([]string, len(a.Hosts))
	for i, id := range a.Hosts {
		hosts[i] = c.hostName(id)
	}
	add("on", hosts)
	return lines
}

// rulesBroken are a machine's rules that are broken where it is, or can't be met.
func rulesBroken(m *core.MachineView) (lines []string) {
	lines = append(lines, m.Breaches...)
	for _, why := range m.Conflicts {
		lines = append(lines, fmt.Sprintf("can't be met: %s", why))
	}
	return lines
}
