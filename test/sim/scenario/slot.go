package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"storebeat/agent/core"
	"storebeat/partition"
	"storebeat/poweron"
)

// Value is what stands in a slot. What it holds depends on the slot.
type Value struct {
	Names  []string
	Span   Span
	Number float64
	Text   string
	Count  Count
}

// Span is a time, or a range of times out of which each seed draws one.
type Span struct{ Least, Most time.Duration }

// String returns the span as it is written in a file.
func (s Span) String() string {
	if s.Least == s.Most {
		return s.Least.String()
	}
	return s.Least.String() + ".." + s.Most.String()
}

// Count says how often something happened.
type Count struct{ Least, Most int }

// Holds reports whether n is allowed.
func (c Count) Holds(n int) bool { return n >= c.Least && n <= c.Most }

// Words with a meaning of their own among names.
const (
	Master = "master" // the host that is master when it matters
	Others = "others" // every host that is not named on the other side
	all    = "all"
)

var reserved = []string{Master, Others, all, "network", "hosts", "machines", "datastores", "addresses", "and", "or"}

// names are what a file declares, by what it is, in order.
type names struct {
	hosts, datastores, machines, addresses []string
}

func (n *names) of(what string) *[]string {
	switch what {
	case "hosts":
		return &n.hosts
	case "datastores":
		return &n.datastores
	case "machines":
		return &n.machines
	}
	return &n.addresses
}

// slot is something that a form leaves to the file.
type slot struct {
	Holds string // for the page
	read  func(r *reader, i int) (v Value, next int, ok bool)
}

// slots are all there are, by name.
var slots = map[string]*slot{
	"NAMES":           {"new names, in a list", newNames(false)},
	"ADDRESSES":       {"new names or IP addresses, in a list", newNames(true)},
	"HOSTS":           {"hosts, in a list", listOf("a host", []string{Master, Others}, "hosts")},
	"OTHERS":          {"hosts, in a list", listOf("a host", []string{Master, Others}, "hosts")},
	"NODES":           {"hosts or isolation addresses, in a list", listOf("a host or an isolation address", []string{Master, Others}, "hosts", "addresses")},
	"DATASTORES":      {"datastores, in a list", listOf("a datastore", nil, "datastores")},
	"MACHINES":        {"machines, in a list", listOf("a machine", nil, "machines")},
	"GROUPS":          {"names of groups, in a list", readLoose},
	"APART":           {"names of machines or groups, in a list", readLoose},
	"TOGETHER":        {"names of machines or groups, in a list", readLoose},
	"PLACES":          {"hosts, in a list", listOf("a host", nil, "hosts")},
	"RATHER_APART":    {"names of machines or groups, in a list", readLoose},
	"RATHER_TOGETHER": {"names of machines or groups, in a list", readLoose},
	"RATHER_PLACES":   {"hosts, in a list, the best first", listOf("a host", nil, "hosts")},
	"THINGS":          {"names of things that machines need and hosts have, in a list", readLoose},
	"ABOUT":           {"hosts, datastores or machines, in a list", listOf("a host, a datastore or a machine", []string{Master}, "hosts", "datastores", "machines")},

	"TIME":     {"a time after the start", readSpan},
	"FROM":     {"a time after the start", readSpan},
	"TO":       {"a time after the start", readSpan},
	"LENGTH":   {"a length of time", readSpan},
	"DELAY":    {"a length of time", readSpan},
	"JITTER":   {"a length of time", readSpan},
	"INTERVAL": {"a fixed length of time", readFixed},
	"LEASE":    {"a fixed length of time", readFixed},
	"FREEZE":   {"a fixed length of time", readFixed},
	"TAKEOVER": {"a fixed length of time", readFixed},
	"WINDOW":   {"a fixed length of time", readFixed},
	"STOPTIME": {"a fixed length of time", readFixed},
	"REBOOT":   {"a fixed length of time", readFixed},

	"SHARE":    {"a share from 0% to 100%", readShare},
	"LOSS":     {"a share from 0% to 100%", readShare},
	"COPIES":   {"a share from 0% to 100%", readShare},
	"DRIFT":    {"a drift from -2% to +2%", readDrift},
	"SIZE":     {"an amount of memory such as 2GiB", readSize},
	"PRIORITY": {"a number from 1 to 5", numberIn(1, 5)},
	"ATTEMPTS": {"a number from 0 to 100", numberIn(0, 100)},
	"LIMIT":    {"a number from 1 to 1000", numberIn(1, 1000)},
	"COUNT":    {`"never", "once", "twice", "N times", "at least N times" or "at most N times"`, readCount},
	"TEXT":     {"a text in double quotes", readText},
	"WORD":     {"a word", readWord},
	"WORD2":    {"a word", readWord},

	"PROFILE":    {"a profile", wordOf("fast", "default", "relaxed")},
	"BARRIER":    {"a write barrier", wordOf("lock", "cluster-fs", "fence", "none")},
	"RESPONSE":   {"an isolation response", wordOf("leave", "shut-down", "power-off")},
	"GUEST":      {"what a guest's own shut-down means", wordOf("stay-off", "start-again")},
	"SHUTDOWN":   {"what becomes of a machine when its host shuts down", wordOf("restart-elsewhere", "wait", "leave-off")},
	"YESNO":      {"yes or no", wordOf("yes", "no")},
	"STATE":      {"a host state", wordOf(hostStates()...)},
	"DSTATE":     {"a datastore's state", wordOf("available", "unavailable", "failing", "distrusted")},
	"STATUS":     {"a machine's status", wordOf("running", "frozen", "starting", "stopping", "stopped", "waiting", "left-off", "held", "undetermined", "unknown")},
	"KIND":       {"a kind of event", wordOf(eventKinds()...)},
	"OPERATIONS": {"kinds of operations", wordOf(operations(false)...)},
	"CHANGES":    {"kinds of operations that change something", wordOf(operations(true)...)},
}

func hostStates() (states []string) {
	for s := partition.Undetermined; s <= partition.Dead; s++ {
		states = append(states, s.String())
	}
	return states
}

func eventKinds() (kinds []string) {
	for _, k := range core.Kinds() {
		kinds = append(kinds, string(k.Kind))
	}
	return kinds
}

// Operations are the kinds of calls on a datastore that a fault may pick out, with
// the words with which the simulator's operations begin.
var Operations = map[string][]string{
	"operations":        {""},
	"heartbeats":        {"slot"},
	"claims":            {"claim of "},
	"term-claims":       {"claim of term"},
	"generation-claims": {"claim of generation"},
	"entry-claims":      {"claim of entry"},
	"lists":             {"power-on list"},
	"writes":            {"slot", "power-on list"},
	"reads":             {"region", "terms", "machine", "catalogue", "list", "identity", "open"},
	"heartbeat-reads":   {"region"},
}

// reading are those of them that change nothing, or not only.
var reading = []string{"operations", "reads", "heartbeat-reads"}

func operations(changes bool) (names []string) {
	for name := range Operations {
		if !changes || !slices.Contains(reading, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// listOf reads names that are declared, or words that stand for some.
func listOf(what string, special []string, kinds ...string) func(*reader, int) (Value, int, bool) {
	return func(r *reader, i int) (v Value, next int, ok bool) {
		for {
			found, n, ok := r.item(i, what, special, kinds)
			if !ok {
				return v, i, false
			}
			for _, name := range found {
				if !slices.Contains(v.Names, name) {
					v.Names = append(v.Names, name)
				}
			}
			if i = n; !r.goesOn(i) {
				return v, i, true
			}
			i++
		}
	}
}

// goesOn reports whether a list goes on after a token.
func (r *reader) goesOn(i int) bool {
	t := r.at(i)
	return t.kind == comma || t.kind == word && (t.text == "and" || t.text == "or")
}

func (r *reader) item(i int, what string, special, kinds []string) (found []string, next int, ok bool) {
	t := r.at(i)
	if t.kind != word {
		r.want(i, what)
		return nil, i, false
	}
	if slices.Contains(special, t.text) {
		return []string{t.text}, i + 1, true
	}
	if t.text == all {
		if k := r.at(i + 1); k.kind == word && slices.Contains(kinds, k.text) {
			return *r.names.of(k.text), i + 2, true
		}
		r.wantWords(i+1, kinds)
		return nil, i, false
	}
	var known []string
	for _, k := range kinds {
		known = append(known, *r.names.of(k)...)
	}
	wanted, isRange, err := expand(t.text)
	if err != nil {
		r.refuse(i, "%v", err)
		return nil, i, false
	}
	for _, name := range wanted {
		if slices.Contains(known, name) {
			continue
		}
		if isRange {
			r.refuse(i, "%q of %q is not %s of this scenario", name, t.text, what)
		} else {
			r.wantWords(i, append(slices.Clone(known), special...))
			r.refuse(i, "there is no %q: %s", name, declared(what, known))
			r.nameless = r.far == i
		}
		return nil, i, false
	}
	return wanted, i + 1, true
}

func declared(what string, known []string) string {
	if len(known) == 0 {
		return "the scenario declares none; where its name stands there should be " + what
	}
	return "where it stands there should be " + what + ", such as " + known[0]
}

// maxNames bounds how many hosts, datastores or machines one scenario may have.
const maxNames = 500

// expand writes a range such as h1..h4 out.
func expand(text string) (all []string, isRange bool, err error) {
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		return []string{text}, false, nil
	}
	stem := strings.TrimRight(from, "0123456789")
	a, errA := strconv.Atoi(from[len(stem):])
	b, errB := strconv.Atoi(strings.TrimPrefix(to, stem))
	if errA != nil || errB != nil || !strings.HasPrefix(to, stem) || a > b || b-a >= maxNames {
		return nil, true, fmt.Errorf("%.60q is no range of names: write one such as h1..h4, with at most %d", text, maxNames)
	}
	for n := a; n <= b; n++ {
		all = append(all, stem+strconv.Itoa(n))
	}
	return all, true, nil
}

// newNames reads names that are declared here.
func newNames(digits bool) func(*reader, int) (Value, int, bool) {
	return func(r *reader, i int) (v Value, next int, ok bool) {
		for {
			found, ok := r.newItem(i, digits, v.Names)
			if !ok {
				return v, i, false
			}
			v.Names = append(v.Names, found...)
			if i++; r.at(i).kind != comma {
				return v, i, true
			}
			i++
		}
	}
}

// readLoose reads names of machines, which may be declared later.
func readLoose(r *reader, i int) (v Value, next int, ok bool) {
	for {
		t := r.at(i)
		if t.kind != word {
			r.want(i, "a machine")
			return v, i, false
		}
		found, _, err := expand(t.text)
		if err != nil {
			r.refuse(i, "%v", err)
			return v, i, false
		}
		v.Names = append(v.Names, found...)
		if i++; !r.goesOn(i) {
			return v, i, true
		}
		i++
	}
}

// newItem reads a new name or a range of such, which may begin with digits or may not.
func (r *reader) newItem(i int, digits bool, before []string) (found []string, ok bool) {
	t := r.at(i)
	if t.kind != word {
		r.want(i, "a name")
		return nil, false
	}
	found, _, err := expand(t.text)
	for _, name := range found {
		if err = r.declare(name); err == nil && slices.Contains(before, name) {
			err = fmt.Errorf("%q stands here twice", name)
		}
		if c := name[0]; err == nil && !digits && c >= '0' && c <= '9' {
			err = fmt.Errorf("%q begins with a digit: begin names with a letter", name)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		r.refuse(i, "%v", err)
	}
	return found, err == nil
}

// declare refuses a name that can't be one, or is one already.
func (r *reader) declare(name string) error {
	if err := poweron.CheckName(name); err != nil {
		return err
	}
	if slices.Contains(reserved, name) {
		return fmt.Errorf("%q has a meaning of its own: choose another name", name)
	}
	for _, known := range [][]string{r.names.hosts, r.names.datastores, r.names.machines, r.names.addresses} {
		if slices.Contains(known, name) {
			return fmt.Errorf("%q is declared already: choose another name", name)
		}
	}
	return nil
}

// maxTime bounds every time in a scenario.
const maxTime = 24 * time.Hour

func readSpan(r *reader, i int) (v Value, next int, ok bool) {
	t := r.at(i)
	if t.kind != word {
		r.want(i, "a time such as 5s")
		return v, i, false
	}
	least, most, isRange := strings.Cut(t.text, "..")
	if !isRange {
		most = least
	}
	a, errA := parseTime(least)
	b, errB := parseTime(most)
	if errA != nil || errB != nil || a > b {
		r.refuse(i, "%s is no time: write one such as 500ms, 1.5s, 2m or, for one that each seed draws, 3s..6s; at most %v", t.show(), maxTime)
		return v, i, false
	}
	v.Span = Span{a, b}
	return v, i + 1, true
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > maxTime) {
		err = fmt.Errorf("out of bounds")
	}
	return d, err
}

func readFixed(r *reader, i int) (v Value, next int, ok bool) {
	if v, next, ok = readSpan(r, i); ok && v.Span.Least != v.Span.Most {
		r.refuse(i, "%s is a range: write one length of time", r.at(i).show())
		return v, i, false
	}
	return v, next, ok
}

func readText(r *reader, i int) (v Value, next int, ok bool) {
	if v.Text = r.at(i).text; r.at(i).kind != quoted {
		r.want(i, "a text in double quotes")
		return v, i, false
	}
	return v, i + 1, true
}

func readWord(r *reader, i int) (v Value, next int, ok bool) {
	if v.Text = r.at(i).text; r.at(i).kind != word {
		r.want(i, "a word")
		return v, i, false
	}
	return v, i + 1, true
}

// wordOf reads one of some words.
func wordOf(words ...string) func(*reader, int) (Value, int, bool) {
	return func(r *reader, i int) (v Value, next int, ok bool) {
		if !r.isWord(i, words) {
			r.wantWords(i, words)
			return v, i, false
		}
		v.Text = r.at(i).text
		return v, i + 1, true
	}
}
