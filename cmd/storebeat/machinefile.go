package main

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"storebeat/poweron"
)

// maxMachineFile bounds a machine file: an entry's definition is far smaller.
const maxMachineFile = 1 << 20

// wish is one machine as a user wants it, with the place where each thing stands.
type wish struct {
	poweron.Entry
	datastore string     // name of the home datastore
	placement *placement // nil when the user says nothing of it
	places    map[string]hcl.Range
	block     hcl.Range
}

// at returns the place of an attribute, or else of the machine.
func (w *wish) at(name string) hcl.Range {
	if r, ok := w.places[name]; ok {
		return r
	}
	return w.block
}

var fileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "machine", LabelNames: []string{"name"}}}}

var machineSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{
		{Name: "driver", Required: true}, {Name: "datastore", Required: true}, {Name: "definition", Required: true},
		{Name: "memory"}, {Name: "uuid"},
	},
	Blocks: []hcl.BlockHeaderSchema{{Type: "policy"}, {Type: "placement"}},
}

// readMachines reads a machine file; policy is what a machine gets that has no
// wishes of its own. All errors are returned, each with its place.
func readMachines(path string, in io.Reader, policy poweron.Policy) ([]*wish, error) {
	content, err := readFileOr(path, in)
	if err != nil {
		return nil, err
	}
	body, diags := parseMachines(path, content)
	if diags.HasErrors() {
		return nil, badConfig(diags)
	}
	blocks, diags := body.Content(fileSchema)
	var wishes []*wish
	for _, b := range blocks.Blocks {
		w, more := readMachine(b, policy)
		wishes, diags = append(wishes, w), append(diags, more...)
	}
	diags = append(diags, duplicates(wishes)...)
	switch {
	case diags.HasErrors():
		return nil, badConfig(diags)
	case len(wishes) == 0:
		return nil, fail(exitUsage, "%s describes no machine: write a block such as machine \"web\" { … } (docs/machines.md)", path)
	}
	return wishes, nil
}

func readFileOr(path string, in io.Reader) ([]byte, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(io.LimitReader(in, maxMachineFile+1))
	} else {
		content, err = readSome(path, maxMachineFile+1)
	}
	switch {
	case err != nil:
		return nil, fail(exitUsage, "reading the machine file: %w: give a file as in docs/machines.md", err)
	case len(content) > maxMachineFile:
		return nil, fail(exitUsage, "%s is larger than %s: keep large data on the datastore", path, humanize.IBytes(maxMachineFile))
	}
	return content, nil
}

// parseMachines takes HCL, or JSON if the content begins like it.
func parseMachines(path string, content []byte) (hcl.Body, hcl.Diagnostics) {
	p := hclparse.NewParser()
	parse := p.ParseHCL
	if strings.HasPrefix(strings.TrimSpace(string(content)), "{") {
		parse = p.ParseJSON
	}
	file, diags := parse(content, path)
	if file == nil || diags.HasErrors() {
		return nil, diags
	}
	return file.Body, nil
}

func duplicates(wishes []*wish) (diags hcl.Diagnostics) {
	for i, w := range wishes {
		if slices.ContainsFunc(wishes[:i], func(o *wish) bool { return o.Name == w.Name || o.VM != uuid.Nil && o.VM == w.VM }) {
			diags = append(diags, wrong(w.block, "Duplicate machine", "name %q or its uuid stands in this file already; give each machine its own.", w.Name))
		}
	}
	return diags
}

func readMachine(b *hcl.Block, policy poweron.Policy) (*wish, hcl.Diagnostics) {
	w := &wish{places: map[string]hcl.Range{}, block: b.DefRange}
	w.Entry = poweron.Entry{Name: b.Labels[0], Protected: true, Desired: poweron.Running, Policy: policy}
	content, diags := b.Body.Content(machineSchema)
	if err := poweron.CheckName(w.Name); err != nil {
		diags = append(diags, wrong(b.DefRange, "Invalid name", "%v.", err))
	}
	set := map[string]func(cty.Value) error{
		"driver": textInto(&w.Driver), "datastore": textInto(&w.datastore), "uuid": uuidInto(&w.VM),
		"memory": bytesInto(&w.Memory), "definition": w.define,
	}
	diags = append(diags, w.read(content.Attributes, set)...)
	return w, append(diags, w.readBlocks(content.Blocks)...)
}

func (w *wish) readBlocks(blocks hcl.Blocks) (diags hcl.Diagnostics) {
	seen := map[string]bool{}
	for _, b := range blocks {
		if seen[b.Type] {
			diags = append(diags, wrong(b.DefRange, "Duplicate "+b.Type, "machine %q has a %s block already; write one.", w.Name, b.Type))
		}
		seen[b.Type] = true
		if b.Type == "policy" {
			diags = append(diags, w.readPolicy(b.Body)...)
		} else {
			diags = append(diags, w.readPlacement(b)...)
		}
	}
	return diags
}

// read gives each attribute's value to the function of its name.
func (w *wish) read(attributes hcl.Attributes, set map[string]func(cty.Value) error) (diags hcl.Diagnostics) {
	for name, attribute := range attributes {
		w.places[name] = attribute.Range
		v, more := attribute.Expr.Value(nil)
		if diags = append(diags, more...); more.HasErrors() {
			continue
		}
		if err := set[name](v); err != nil {
			diags = append(diags, wrong(attribute.Range, "Unusable "+name, "%v.", err))
		}
	}
	slices.SortFunc(diags, func(x, y *hcl.Diagnostic) int { return x.Subject.Start.Byte - y.Subject.Start.Byte })
	return diags
}

func (w *wish) readPolicy(body hcl.Body) hcl.Diagnostics {
	p := &w.Policy
	set := map[string]func(cty.Value) error{
		"priority": intInto(&p.Priority), "restart": boolInto(&p.Restart), "isolation": textInto(&p.Isolation),
		"attempts": intInto(&p.Attempts), "limit": intInto(&p.Limit), "window": durationInto(&p.Window),
		"stop_time": durationInto(&p.StopTime), "on_guest_shut_down": textInto(&p.OnGuestShutDown),
		"on_host_shutdown": textInto(&p.OnHostShutdown), "reboot_wait": durationInto(&p.RebootWait),
		"pause": textInto(&p.Pause),
	}
	schema := &hcl.BodySchema{}
	for name := range set {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	content, diags := body.Content(schema)
	diags = append(diags, w.read(content.Attributes, set)...)
	if err := p.Validate(); err != nil && !diags.HasErrors() {
		diags = append(diags, wrong(body.MissingItemRange(), "Unusable policy", "%s.", oneLine(strings.ReplaceAll(err.Error(), "\n", "; "))))
	}
	return diags
}

// define turns the definition into the JSON that drivers read.
func (w *wish) define(v cty.Value) error {
	if !v.Type().IsObjectType() {
		return errors.New("it is no object; write definition = { … } with what the driver needs (docs/machines.md)")
	}
	raw, err := ctyjson.Marshal(v, v.Type())
	w.Definition = raw
	return err
}

func wrong(at hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at}
}

func textInto[T ~string](to *T) func(cty.Value) error {
	return func(v cty.Value) error {
		if v.IsNull() || v.Type() != cty.String {
			return errors.New(`it is no text; write it in quotes`)
		}
		*to = T(v.AsString())
		return nil
	}
}

func uuidInto(to *uuid.UUID) func(cty.Value) error {
	return func(v cty.Value) error {
		var text string
		if err := textInto(&text)(v); err != nil {
			return err
		}
		id, err := uuid.Parse(text)
		if err != nil || id == uuid.Nil {
			return fmt.Errorf("%q is not a UUID; leave it out to get a new one", text)
		}
		*to = id
		return nil
	}
}

func bytesInto(to *uint64) func(cty.Value) error {
	return func(v cty.Value) error {
		var text string
		if err := textInto(&text)(v); err != nil {
			return errors.New(`it is no amount of memory; write it with its unit, such as "2GiB"`)
		}
		n, err := parseMemory(text)
		*to = n
		return err
	}
}

// parseMemory wants a unit: of a bare number, nobody knows what was meant.
func parseMemory(text string) (uint64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || !strings.ContainsAny(text, "bB") {
		return 0, fmt.Errorf("%q is no amount of memory; write it with its unit, such as \"2GiB\"", text)
	}
	return n, nil
}

func intInto(to *int) func(cty.Value) error {
	return func(v cty.Value) error {
		if v.IsNull() || v.Type() != cty.Number {
			return errors.New("it is no number; write it without quotes")
		}
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != big.Exact || int64(int(n)) != n {
			return errors.New("it is no whole number")
		}
		*to = int(n)
		return nil
	}
}

func boolInto(to *bool) func(cty.Value) error {
	return func(v cty.Value) error {
		if v.IsNull() || v.Type() != cty.Bool {
			return errors.New("it is neither true nor false")
		}
		*to = v.True()
		return nil
	}
}

func durationInto(to *time.Duration) func(cty.Value) error {
	return func(v cty.Value) error {
		var text string
		if err := textInto(&text)(v); err != nil {
			return errors.New(`it is no duration; write it with its unit in quotes, such as "90s"`)
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration; write it with its unit, such as \"90s\" or \"10m\"", text)
		}
		*to = d
		return nil
	}
}
