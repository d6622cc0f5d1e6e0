package poweron

import (
	"errors"
	"fmt"
	"slices"

	"storebeat/datastorehb"
)

// Bounds of a machine's rules. With all of them reached, an entry still has room
// for the largest definition.
const (
	// MaxGroups is the most groups that a machine belongs to.
	MaxGroups = 8
	// MaxNamed is the most machines and groups that one rule names.
	MaxNamed = 32
	// MaxRuleHosts is the most hosts that one rule names.
	MaxRuleHosts = 256
)

// Rules say with which machines and on which hosts a machine must run, and had
// better run. They are order and no right: whoever plans and whoever starts a
// machine keeps to them, but they do not stop a machine that runs.
//
// A name in a rule means the machine of that name, and every machine of the
// group of that name, except the machine itself. Rules between machines hold both
// ways, so it is enough that one of the two has them.
type Rules struct {
	Groups []string `json:"groups,omitempty"` // names that the machine shares with others
	Must   Affinity `json:"must,omitzero"`    // hard: a machine waits rather than break it
	Prefer Affinity `json:"prefer,omitzero"`  // soft: decides between hosts that could take the machine
}

// Affinity is what one machine asks, hard or soft, of the place where it runs.
type Affinity struct {
	Apart    []string             `json:"apart,omitempty"`    // names of machines and groups not to share a host with
	Together []string             `json:"together,omitempty"` // names of machines and groups to share a host with
	Hosts    []datastorehb.HostID `json:"hosts,omitempty"`    // to run on, the best first; none means any
}

// IsZero reports whether there is no rule and no group.
func (r Rules) IsZero() bool { return len(r.Groups) == 0 && r.Must.IsZero() && r.Prefer.IsZero() }

// IsZero reports whether nothing is asked.
func (a Affinity) IsZero() bool { return len(a.Apart)+len(a.Together)+len(a.Hosts) == 0 }

// Equal reports whether two machines with the same name would have the same rules.
func (r Rules) Equal(o Rules) bool {
	return slices.Equal(r.Groups, o.Groups) && r.Must.Equal(o.Must) && r.Prefer.Equal(o.Prefer)
}

// Equal reports whether the same is asked.
func (a Affinity) Equal(o Affinity) bool {
	return slices.Equal(a.Apart, o.Apart) && slices.Equal(a.Together, o.Together) && slices.Equal(a.Hosts, o.Hosts)
}

// Named returns the names of other machines and groups in all rules, in their order.
func (r Rules) Named() (names []string) {
	for _, name := range slices.Concat(r.Must.Apart, r.Must.Together, r.Prefer.Apart, r.Prefer.Together) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Allows reports whether a hard rule about hosts, if there is one, names the host.
func (r Rules) Allows(h datastorehb.HostID) bool {
	return len(r.Must.Hosts) == 0 || slices.Contains(r.Must.Hosts, h)
}

// Validate returns every error in the rules of the machine called name, joined,
// or nil. What contradicts the rules of other machines is found by Conflicts.
func (r Rules) Validate(name string) error {
	errs := []error{wrap("groups", checkNames(r.Groups, MaxGroups)), wrap("must", r.Must.validate()), wrap("prefer", r.Prefer.validate())}
	apart, together := slices.Concat(r.Must.Apart, r.Prefer.Apart), slices.Concat(r.Must.Together, r.Prefer.Together)
	for _, other := range apart {
		if slices.Contains(together, other) {
			errs = append(errs, fmt.Errorf("rules name %q both under apart and under together: choose one", other))
		}
	}
	if (slices.Contains(apart, name) || slices.Contains(together, name)) && !slices.Contains(r.Groups, name) {
		errs = append(errs, fmt.Errorf("rules of %q name the machine itself: name others, or a group", name))
	}
	for _, h := range r.Prefer.Hosts {
		if !r.Allows(h) {
			errs = append(errs, fmt.Errorf("rules prefer host %d, and must.hosts does not allow it: add it there, or leave it out", h))
		}
	}
	return errors.Join(errs...)
}

func (a Affinity) validate() error {
	errs := []error{wrap("apart", checkNames(a.Apart, MaxNamed)), wrap("together", checkNames(a.Together, MaxNamed))}
	if n := len(a.Hosts); n > MaxRuleHosts {
		errs = append(errs, fmt.Errorf("hosts has %d entries: use at most %d", n, MaxRuleHosts))
	}
	for i, h := range a.Hosts {
		if h == 0 {
			errs = append(errs, errors.New("hosts has host 0: a host's id is 1 or more"))
		} else if slices.Contains(a.Hosts[:i], h) {
			errs = append(errs, fmt.Errorf("hosts has host %d twice: name each once", h))
		}
	}
	return errors.Join(errs...)
}

func checkNames(names []string, most int) error {
	if len(names) > most {
		return fmt.Errorf("%d names: use at most %d, or give machines a group", len(names), most)
	}
	for i, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%q stands there twice: name each once", name)
		}
	}
	return nil
}

// carries reports whether rules that name other mean a machine of that name and
// these groups.
func carries(name string, groups []string, other string) bool {
	return name == other || slices.Contains(groups, other)
}

// Ruled is a machine as far as rules between machines are concerned.
type Ruled struct {
	Name  string
	Rules Rules
}

// MustPart reports whether a hard rule of either machine keeps the two apart, and
// by which name.
func MustPart(a, b Ruled) (rule string, must bool) {
	return linked(a, b, func(r *Rules) []string { return r.Must.Apart })
}

// MustJoin reports whether a hard rule of either machine keeps the two together,
// and by which name.
func MustJoin(a, b Ruled) (rule string, must bool) {
	return linked(a, b, func(r *Rules) []string { return r.Must.Together })
}

func linked(a, b Ruled, named func(*Rules) []string) (rule string, is bool) {
	for _, name := range named(&a.Rules) {
		if carries(b.Name, b.Rules.Groups, name) {
			return name, true
		}
	}
	for _, name := range named(&b.Rules) {
		if carries(a.Name, a.Rules.Groups, name) {
			return name, true
		}
	}
	return "", false
}
