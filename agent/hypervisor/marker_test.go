package hypervisor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

func anyUUID(t *rapid.T) uuid.UUID {
	return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
}

func TestMarkerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Marker{
			Cluster: anyUUID(t), Host: datastorehb.HostID(rapid.Uint16().Draw(t, "host")), VM: anyUUID(t),
			Generation: rapid.Uint64().Draw(t, "generation"), Datastore: anyUUID(t),
		}
		got, err := ParseMarker(want.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseMarker(f *testing.F) {
	id := "0b1d6aa2-6c63-4d3c-9c08-3a7b9f2d8e11"
	for _, seed := range []string{
		strings.Join([]string{id, "7", id, "3", id}, "/"),
		strings.Join([]string{id, "07", id, "3", id}, "/"),
		strings.Join([]string{id, "65536", id, "3", id}, "/"),
		strings.Join([]string{"{" + id + "}", "7", id, "3", id}, "/"),
		"", "////", "/////",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMarker(s)
		if err == nil && m.String() != s {
			t.Errorf("%q is read as %v", s, m)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	id := "0b1d6aa2-6c63-4d3c-9c08-3a7b9f2d8e11"
	marker := strings.Join([]string{id, "7", id, "3", id}, "/")
	f.Add([]byte(`{"marker":"` + marker + `","driver":"process","boot":"b","handle":{"pid":77,"start_time":5,"cgroup":"/sys/fs/cgroup/a"}}`))
	f.Add([]byte(`{"marker":"` + marker + `","driver":"process","boot":"b","handle":{"pid":1,"start_time":5}}`))
	f.Add([]byte(`{"marker":"","driver":""}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		if _, err := ParseMarker(r.Marker); err != nil || r.Handle.PID <= 1 || r.Driver == "" {
			t.Errorf("%q is read as %+v", data, r)
		}
	})
}

func TestExpand(t *testing.T) {
	spec := Spec{VM: uuid.Nil, Name: "web", Generation: 4, DatastorePath: "/ds"}
	tests := map[string]struct{ in, out, err string }{
		"none":    {"a } {b", "a } {b", ""},
		"all":     {"{{datastore}}/{{name}}-{{generation}}-{{vm}}", "/ds/web-4-00000000-0000-0000-0000-000000000000", ""},
		"unknown": {"x{{host}}y", "", "{{host}}"},
		"open":    {"x{{name", "", "{{name"},
		"empty":   {"{{}}", "", "{{}}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := spec.Expand(test.in)
			if got != test.out || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %q, %v; want %q, %q", got, err, test.out, test.err)
			}
		})
	}
}

func TestOnDatastoreNeverLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"..", ".", "a", "", "b c", "/", "{{datastore}}", "{{name}}"}), 0, 6).Draw(t, "parts")
		spec := Spec{DatastorePath: "/mnt/ds", Name: "../.."}
		path, err := spec.OnDatastore(strings.Join(parts, "/"))
		if err == nil && path != "/mnt/ds" && !strings.HasPrefix(path, "/mnt/ds/") {
			t.Fatalf("%q leads to %s", parts, path)
		}
	})
}

func TestDecodeDefinitionTooLong(t *testing.T) {
	var into struct{}
	if err := DecodeDefinition([]byte("{}"+strings.Repeat(" ", poweron.MaxDefinition-1)), &into); err == nil {
		t.Error("an oversized definition was accepted")
	}
	if err := DecodeDefinition([]byte("{} \n"), &into); err != nil {
		t.Error(err)
	}
}
