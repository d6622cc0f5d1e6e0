package process

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"storebeat/agent/hypervisor"
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Definition says what command a machine is.
type Definition struct {
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	Dir     string            `json:"dir,omitempty"`
	Output  string            `json:"output,omitempty"`
}

// plan is a definition with its placeholders filled in.
type plan struct {
	argv, env   []string
	dir, output string
}

// decode reads a definition and checks what doesn't depend on this host.
func decode(definition []byte, spec hypervisor.Spec) (plan, error) {
	var d Definition
	if err := hypervisor.DecodeDefinition(definition, &d); err != nil {
		return plan{}, err
	}
	if len(d.Command) == 0 || d.Command[0] == "" {
		return plan{}, errors.New(`command is empty; give the program and its arguments, such as "command": ["/usr/bin/worker"]`)
	}
	var p plan
	var errs []error
	for i, arg := range d.Command {
		p.argv = append(p.argv, expand(spec, fmt.Sprintf("command[%d]", i), arg, &errs))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		// A shell that hands the environment on drops names it could not have itself.
		if !variable.MatchString(name) || strings.HasPrefix(name, "STOREBEAT_") {
			errs = append(errs, fmt.Errorf("env: %q can't be set; a name is made of letters, digits and underscores, and does not begin with a digit or STOREBEAT_", name))
		}
		p.env = append(p.env, name+"="+expand(spec, "env "+name, d.Env[name], &errs))
	}
	p.dir = onDatastore(spec, "dir", d.Dir, &errs)
	p.output = onDatastore(spec, "output", d.Output, &errs)
	return p, errors.Join(errs...)
}

func expand(spec hypervisor.Spec, field, text string, errs *[]error) string {
	out, err := spec.Expand(text)
	if err == nil && strings.ContainsRune(out, 0) {
		err = errors.New("holds a zero byte; remove it")
	}
	if err != nil {
		*errs = append(*errs, fmt.Errorf("%s: %w", field, err))
	}
	return out
}

func onDatastore(spec hypervisor.Spec, field, path string, errs *[]error) string {
	if path == "" {
		return ""
	}
	out, err := spec.OnDatastore(path)
	if err != nil {
		*errs = append(*errs, fmt.Errorf("%s: %w", field, err))
	}
	return out
}

// locate finds the program now: once the machine is frozen it is too late for a
// clean error.
func locate(program, dir string) (string, error) {
	if strings.ContainsRune(program, '/') && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("find the machine's command %q: %w; install it on every host or put it on the datastore", program, err)
	}
	return filepath.Abs(path)
}
