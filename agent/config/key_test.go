package config_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"storebeat/agent/config"
)

func TestKeySurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	key := config.NewKey()
	if err := config.WriteKey(path, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
	}
	got, err := config.ReadKey(path)
	if err != nil || got != key {
		t.Errorf("read %t, error %v", got == key, err)
	}
	if err := config.WriteKey(path, config.NewKey()); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("overwriting a key: %v", err)
	}
	if got, _ := config.ReadKey(path); got != key {
		t.Error("the refused second key has replaced the first")
	}
}

func TestReadKeyRefuses(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 4)
	tests := []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"readable by the group", digits, 0o640, "chmod 600"},
		{"readable by all", digits, 0o604, "chmod 600"},
		{"empty", "", 0o600, "0 characters"},
		{"short", digits[:62], 0o600, "62 characters"},
		{"long", digits + "0", 0o600, "65 characters"},
		{"endless", strings.Repeat("0", 1<<20), 0o600, "128 characters"},
		{"not hexadecimal", strings.Repeat("xy", 32), 0o600, "other than hexadecimal"},
		{"zeros", strings.Repeat("0", 64), 0o600, "all zeros"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(test.content), test.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := config.ReadKey(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want it to name %q and the file", err, test.want)
			}
			if strings.Contains(err.Error(), digits[:16]) {
				t.Errorf("the error gives the key away: %v", err)
			}
		})
	}
}

func TestReadKeyRefusesWhatIsNoFile(t *testing.T) {
	folder := t.TempDir()
	if _, err := config.ReadKey(filepath.Join(folder, "none")); err == nil || !strings.Contains(err.Error(), "storebeat init") {
		t.Errorf("missing: %v", err)
	}
	if _, err := config.ReadKey(folder); err == nil || !strings.Contains(err.Error(), "not an ordinary file") {
		t.Errorf("folder: %v", err)
	}
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadKey(pipe); err == nil || !strings.Contains(err.Error(), "not an ordinary file") {
		t.Errorf("pipe: %v", err)
	}
}

// Were these to change, hosts of two versions would not understand each other.
func TestDerivedKeysAreFixed(t *testing.T) {
	var key config.Key
	for i := range key {
		key[i] = byte(i)
	}
	for purpose, want := range map[string]string{
		config.ForHeartbeats: "a12aff422822e7c1d74e2a4ffe59e785c3bd16e54e98c24fa5426dc985e76bf5",
		config.ForTLS:        "5ebdba187cb410855e9d93ca31f11a9ceaeb52398f57428cf8325e1340286507",
	} {
		got := config.Derive(key, purpose)
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: got %x, want %s", purpose, got, want)
		}
	}
}

func TestKeyIsNeverShown(t *testing.T) {
	key := config.NewKey()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		if shown := fmt.Sprintf(format, key); shown != "[cluster key]" {
			t.Errorf("%s shows %q", format, shown)
		}
	}
}
