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
)

// MaxDefinition is the largest definition a driver accepts, in bytes.
const MaxDefinition = 64 << 10

// DecodeDefinition reads a driver's JSON definition into the struct that into
// points to. Unknown fields, trailing data and oversize are errors.
func DecodeDefinition(definition []byte, into any) error {
	if len(definition) > MaxDefinition {
		return fmt.Errorf("definition has %d bytes; at most %d are accepted", len(definition), MaxDefinition)
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

// Expand replaces the placeholders {{datastore}}, {{vm}}, {{name}} and
// {{generation}}. Any other placeholder is an error.
func (s Spec) Expand(text string) (string, error) {
	values := map[string]string{
		"datastore": s.DatastorePath, "vm": s.VM.String(), "name": s.Name,
		"generation": strconv.FormatUint(s.Generation, 10),
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}}")
		value, known := values[name]
		if !closed || !known {
			return "", fmt.Errorf("unknown placeholder at %.40q; known are {{datastore}}, {{vm}}, {{name}} and {{generation}}", "{{"+rest)
		}
		out.WriteString(value)
		text = after
	}
}

// OnDatastore turns a path of a definition into one on the home datastore.
// A relative path counts from there; a path that leads elsewhere is an error,
// for the lease on the home datastore says nothing about other places.
func (s Spec) OnDatastore(path string) (string, error) {
	expanded, err := s.Expand(path)
	if err != nil {
		return "", err
	}
	if expanded == "" {
		return "", errors.New("path is empty; name a file on the home datastore")
	}
	if !filepath.IsAbs(expanded) {
		expanded = filepath.Join(s.DatastorePath, expanded)
	}
	below, err := filepath.Rel(s.DatastorePath, expanded)
	if err != nil || !filepath.IsLocal(below) {
		return "", fmt.Errorf("path %q leads to %s, outside of the home datastore %s; give a path relative to the datastore", path, expanded, s.DatastorePath)
	}
	return filepath.Clean(expanded), nil
}
