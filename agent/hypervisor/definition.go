package hypervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"storebeat/poweron"
)

// DecodeDefinition reads a driver's JSON definition into the struct that into
// points to. Unknown fields, trailing data and oversize are errors.
func DecodeDefinition(definition []byte, into any) error {
	if err := poweron.CheckDefinition(definition); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(definition))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return misfit(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("definition goes on after the end of its JSON object; remove what follows")
	}
	return nil
}

// misfit says in the words of a machine file what its definition has wrong.
func misfit(err error) error {
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fmt.Errorf("%s is no setting of this driver; docs/machines.md lists those that are", name)
	}
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) && other.Field != "" {
		return fmt.Errorf("%s is given as %s; it must be %s", other.Field, other.Value, kindOf(other.Type.Kind()))
	}
	return fmt.Errorf("definition is not the JSON this driver expects: %w", err)
}

func kindOf(k reflect.Kind) string {
	switch k {
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number without quotes"
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	}
	return "a block of settings"
}

// Expand replaces the placeholders {{datastore}}, {{datastore NAME}}, {{vm}},
// {{name}} and {{generation}}. Any other placeholder is an error.
func (s Spec) Expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", unknownPlaceholder(rest)
		}
		value, err := s.value(name)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after
	}
}

func unknownPlaceholder(rest string) error {
	return fmt.Errorf("unknown placeholder at %.40q; known are {{datastore}}, {{datastore NAME}}, {{vm}}, {{name}} and {{generation}}", "{{"+rest)
}

// value returns what a placeholder stands for.
func (s Spec) value(name string) (string, error) {
	switch name {
	case "datastore":
		return s.DatastorePath, nil
	case "vm":
		return s.VM.String(), nil
	case "name":
		return s.Name, nil
	case "generation":
		return strconv.FormatUint(s.Generation, 10), nil
	}
	if datastore, ok := strings.CutPrefix(name, "datastore "); ok {
		return s.PathOf(datastore)
	}
	return "", unknownPlaceholder(name + "}}")
}

// PathOf returns where a datastore is mounted here; "" names the home datastore.
func (s Spec) PathOf(datastore string) (string, error) {
	if datastore == "" {
		return s.DatastorePath, nil
	}
	if s.Others == nil {
		return filepath.Join("/datastore", datastore), nil
	}
	names := make([]string, 0, len(s.Others))
	for _, at := range s.Others {
		if at.Name == datastore {
			return at.Path, nil
		}
		names = append(names, at.Name)
	}
	return "", fmt.Errorf("datastore %q can't be used on this host; beside the home datastore there are %q", datastore, names)
}

// OnDatastore turns a path of a definition into one on the home datastore.
// A relative path counts from there; a path that leads elsewhere is an error,
// for the lease on the home datastore says nothing about other places.
func (s Spec) OnDatastore(path string) (string, error) { return s.On("", path) }

// On is OnDatastore for the datastore of that name, "" for the home datastore.
func (s Spec) On(datastore, path string) (string, error) {
	expanded, err := s.Expand(path)
	if err != nil {
		return "", err
	}
	if expanded == "" {
		return "", errors.New("path is empty; name a file on the datastore")
	}
	root, err := s.PathOf(datastore)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(expanded) {
		expanded = filepath.Join(root, expanded)
	}
	if !Below(expanded, root) {
		return "", fmt.Errorf("path %q leads to %s, outside of the datastore at %s; give a path relative to the datastore", path, expanded, root)
	}
	return filepath.Clean(expanded), nil
}

// OnAny tells whether an absolute path lies on a datastore that the machine may use.
func (s Spec) OnAny(path string) bool {
	if Below(path, s.DatastorePath) {
		return true
	}
	for _, at := range s.Others {
		if Below(path, at.Path) {
			return true
		}
	}
	return s.Others == nil && Below(path, "/datastore")
}

// Below tells whether an absolute path lies in a directory, as far as its words say.
func Below(path, directory string) bool {
	below, err := filepath.Rel(directory, filepath.Clean(path))
	return err == nil && filepath.IsAbs(path) && filepath.IsLocal(below)
}
