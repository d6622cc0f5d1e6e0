package hypervisor

import (
	"strings"
	"testing"

	"storebeat/poweron"
)

func TestDecodeDefinitionSaysWhatIsWrong(t *testing.T) {
	for definition, want := range map[string]string{
		`{"memory_mib": 64, "disks": ["a"]}`: "",
		`{"memory": 64}`:                     `"memory" is no setting of this driver`,
		`{"memory_mib": "64"}`:               "memory_mib is given as string; it must be a whole number without quotes",
		`{"memory_mib": 1.5}`:                "memory_mib is given as number 1.5; it must be a whole number without quotes",
		`{"disks": "a"}`:                     "disks is given as string; it must be a list",
		`{"disks": [7]}`:                     "is given as number; it must be a text in quotes",
		`{"boot": 1}`:                        "boot is given as number; it must be true or false",
		`[]`:                                 "not the JSON this driver expects",
		`{} {}`:                              "goes on after the end",
		`{"disks": "` + strings.Repeat("x", poweron.MaxDefinition) + `"}`: "definition has 184333 bytes, and may have 184320 at the most",
	} {
		var into struct {
			MemoryMiB int      `json:"memory_mib"`
			Disks     []string `json:"disks"`
			Boot      bool     `json:"boot"`
		}
		err := DecodeDefinition([]byte(definition), &into)
		if got := text(err); (want == "") != (err == nil) || !strings.Contains(got, want) {
			t.Errorf("%.40s: %q, want %q", definition, got, want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
