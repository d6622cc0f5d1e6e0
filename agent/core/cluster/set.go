package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Assignment gives one setting of the record a new value.
type Assignment struct {
	Setting string `json:"setting"` // as in the configuration file, such as timing.lease
	Value   string `json:"value"`
}

// String returns the assignment as a user writes it.
func (a Assignment) String() string { return a.Setting + "=" + a.Value }

// setting is one value of the record that a user can set.
type setting struct {
	name string
	set  func(r *Record, value string) error
	show func(r *Record) string
}

// settings are all of them. They have the names of the configuration file.
// timing.profile stands before the single values, which go over it. The freeze
// time is not among them: guards go by their hosts' files, before there is an agent or a
// record, and a record that promised more than they do would break R9.
var settings = []setting{
	{"timing.profile", setProfile, profileOf},
	duration("timing.interval", func(r *Record) *time.Duration { return &r.Timing.Interval }),
	duration("timing.lease", func(r *Record) *time.Duration { return &r.Timing.Lease }),
	duration("timing.takeover", func(r *Record) *time.Duration { return &r.Timing.Takeover }),
	word("isolation.response", func(r *Record) *poweron.IsolationResponse { return &r.Machines.Isolation }),
	number("machine_defaults.priority", func(r *Record) *int { return &r.Machines.Priority }),
	truth("machine_defaults.restart", func(r *Record) *bool { return &r.Machines.Restart }),
	number("machine_defaults.attempts", func(r *Record) *int { return &r.Machines.Attempts }),
	number("machine_defaults.limit", func(r *Record) *int { return &r.Machines.Limit }),
	duration("machine_defaults.window", func(r *Record) *time.Duration { return &r.Machines.Window }),
	duration("machine_defaults.stop_time", func(r *Record) *time.Duration { return &r.Machines.StopTime }),
	word("machine_defaults.on_guest_shut_down", func(r *Record) *poweron.GuestShutDownResponse { return &r.Machines.OnGuestShutDown }),
	word("machine_defaults.on_host_shutdown", func(r *Record) *poweron.HostShutdownResponse { return &complete(r).OnHostShutdown }),
	duration("machine_defaults.reboot_wait", func(r *Record) *time.Duration { return &complete(r).RebootWait }),
	word("machine_defaults.pause", func(r *Record) *poweron.PauseResponse { return &complete(r).Pause }),
}

// complete returns the machine defaults with what a record leaves open that was
// made before there was a choice.
func complete(r *Record) *poweron.Policy {
	r.Machines = r.Machines.Complete()
	return &r.Machines
}

// settingsOf are all settings of a record: those of the cluster, and those of each datastore.
func settingsOf(r *Record) []setting {
	all := slices.Clone(settings)
	for i := range r.Datastores {
		prefix := "datastore." + r.Datastores[i].Name + "."
		all = append(all,
			words(prefix+"path", func(r *Record) *string { return &r.Datastores[i].Path }),
			truth(prefix+"preferred", func(r *Record) *bool { return &r.Datastores[i].Preferred }),
			truth(prefix+"excluded", func(r *Record) *bool { return &r.Datastores[i].Excluded }),
			truth(prefix+"accept_no_barrier", func(r *Record) *bool { return &r.Datastores[i].AcceptNoBarrier }))
	}
	return all
}

// Settings returns the names of the settings that are not those of one datastore,
// in the order in which they are shown.
func Settings() (names []string) {
	for _, s := range settings {
		names = append(names, s.name)
	}
	return names
}

// Show returns the present value of a setting, "" if there is no such setting.
func (r *Record) Show(name string) string {
	for _, s := range settings {
		if s.name == name {
			shown := *r
			return s.show(&shown)
		}
	}
	return ""
}

// Assign carries assignments out, all or none. The error names the value and the
// remedy.
func (r *Record) Assign(all []Assignment) error {
	next := *r
	next.Datastores = slices.Clone(r.Datastores)
	known := settingsOf(r)
	for _, a := range all {
		if !slices.ContainsFunc(known, func(s setting) bool { return s.name == a.Setting }) {
			return fmt.Errorf("the cluster record has no setting %q: it has %s, and datastore.NAME.path, .preferred, .excluded and .accept_no_barrier", a.Setting, strings.Join(Settings(), ", "))
		}
	}
	for _, s := range known { // in their order, since single timings go over the profile
		for _, a := range all {
			if a.Setting != s.name {
				continue
			}
			if err := s.set(&next, a.Value); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
	}
	if err := next.Timing.Validate(); err != nil {
		return fmt.Errorf("the timings don't fit together: %w", err)
	}
	if err := errors.Join(next.Machines.Validate(), next.validateDatastores()); err != nil {
		return err
	}
	*r = next
	return nil
}

func setProfile(r *Record, value string) error {
	p := datastorehb.Profile(value)
	if p != datastorehb.Fast && p != datastorehb.Normal && p != datastorehb.Relaxed {
		return fmt.Errorf("use %s, %s or %s", datastorehb.Fast, datastorehb.Normal, datastorehb.Relaxed)
	}
	freeze := r.Timing.Freeze
	r.Timing = p.Timing()
	r.Timing.Freeze = freeze
	return nil
}

// profileOf returns the profile that the timings are those of.
func profileOf(r *Record) string {
	for _, p := range []datastorehb.Profile{datastorehb.Fast, datastorehb.Normal, datastorehb.Relaxed} {
		if r.Timing == p.Timing() {
			return string(p)
		}
	}
	return "none"
}

func duration(name string, of func(*Record) *time.Duration) setting {
	return setting{name, func(r *Record, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("write a duration such as 90s or 1.5s")
		}
		*of(r) = d
		return nil
	}, func(r *Record) string { return of(r).String() }}
}

func number(name string, of func(*Record) *int) setting {
	return setting{name, func(r *Record, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("write a whole number")
		}
		*of(r) = n
		return nil
	}, func(r *Record) string { return strconv.Itoa(*of(r)) }}
}

func truth(name string, of func(*Record) *bool) setting {
	return setting{name, func(r *Record, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("write true or false")
		}
		*of(r) = b
		return nil
	}, func(r *Record) string { return strconv.FormatBool(*of(r)) }}
}

// words is a setting that any text may be, as far as the record allows it.
func words(name string, of func(*Record) *string) setting {
	return setting{name, func(r *Record, value string) error {
		*of(r) = value
		return nil
	}, func(r *Record) string { return *of(r) }}
}

// word is a setting whose values poweron.Policy.Validate judges.
func word[T ~string](name string, of func(*Record) *T) setting {
	return setting{name, func(r *Record, value string) error {
		*of(r) = T(value)
		return nil
	}, func(r *Record) string { return string(*of(r)) }}
}
