package repository_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"storebeat/test/repository"
)

// A repository that breaks every rule: rules that find nothing anywhere would
// pass for ever.
const broken = `
-- go.mod --
module storebeat
-- README.md --
See [the design](docs/a.md), [nothing](docs/missing.md#part) and [elsewhere](https://example.org).
-- docs/a.md --
Goes on in [b](b.md). [This](#part) stays here.
` + "```\n[in a listing](docs/none.md)\n```" + `
-- docs/b.md --
The end.
-- docs/lost.md --
Nobody links here.
-- datastorehb/doc.go --
// Package datastorehb is fine.
package datastorehb
-- datastorehb/bad.go --
package datastorehb

import (
	"math/rand/v2"
	"net"
	"net/netip"
	clock "time"

	"storebeat/agent/core"
)

var _ = clock.Now
var _ = clock.Second
var _ net.Conn
var _ netip.Addr
var _ = rand.Int
var _ = core.X

func f() { go f() }
-- datastorehb/store/store.go --
// Package store may do I/O.
package store

import _ "os"
-- agent/core/core.go --
package core

import "github.com/google/uuid"

var c chan int
var id = uuid.New()
var fixed = uuid.Nil
-- agent/guard/guard.go --
// Guards things.
package guard

import _ "storebeat/datastorehb/store"
-- agent/util/x.go --
// Package util is named badly.
package util
-- agent/x_test.go --
package agent

import (
	"testing"
	"time"

	_ "storebeat/test/sim"
)

func TestX(t *testing.T) { time.Sleep(1) }

func FuzzA(f *testing.F) { f.Add(1); f.Fuzz(nil) }
func FuzzB(f *testing.F) { f.Fuzz(nil) }
func FuzzC(f *testing.F) { f.Fuzz(nil) }
func FuzzD(f *testing.F) { seeds(f); f.Fuzz(nil) }
-- agent/y_test.go --
package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestY(t *testing.T) { synctest.Test(t, func(*testing.T) { time.Sleep(1) }) }
-- cmd/x/main.go --
// Command x contains tests.
package main

import (
	_ "storebeat/test/e2e"
	_ "storebeat/test/sim"
)
-- test/sim/x.go --
// Package sim is contained.
package sim

import _ "testing/quick"
-- agent/testdata/fuzz/FuzzC/1 --
seed
-- agent/testdata/bad.go --
this is no Go
`

func unpack(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, f := range txtar.Parse([]byte(broken)).Files {
		path := filepath.Join(folder, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestBrokenRulesAreFound(t *testing.T) {
	folder := unpack(t)
	files, err := repository.Sources(folder)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := repository.Documents(folder)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		got  []string
		want []string // beginnings
	}{
		{"layers", repository.Layering(files), []string{
			"agent/guard/guard.go imports datastorehb/store: nothing in agent/guard may know",
			"datastorehb/bad.go imports agent/core: nothing in datastorehb may know agent",
		}},
		{"shipped", repository.Shipped(files), []string{
			"cmd/x/main.go imports test/e2e: of the tests",
			"test/sim/x.go imports testing/quick: the program contains",
		}},
		{"purity", repository.Impurities(files), []string{
			"agent/core/core.go:5: uses a channel",
			"agent/core/core.go:6: uses github.com/google/uuid.New",
			"datastorehb/bad.go imports math/rand/v2",
			"datastorehb/bad.go imports net:",
			"datastorehb/bad.go:12: uses time.Now",
			"datastorehb/bad.go:19: starts a goroutine",
		}},
		{"comments", repository.Uncommented(files), []string{
			"agent/core: no package comment",
			`agent/guard/guard.go: the package comment does not begin with "Package guard "`,
		}},
		{"names", repository.EmptyNames(files), []string{`agent/util/x.go: the name "util"`}},
		{"fuzz", repository.SeedlessFuzzTargets(folder, files), []string{"agent/x_test.go:13: FuzzB has no seeds"}},
		{"sleeps", repository.Sleeps(files), []string{"agent/x_test.go:10: sleeps"}},
		{"links", repository.BrokenLinks(folder, documents), []string{"README.md links to docs/missing.md"}},
		{"unlinked", repository.Unlinked(documents), []string{"docs/lost.md can not be reached"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := append([]string(nil), test.got...)
			for i := range min(len(got), len(test.want)) {
				if strings.HasPrefix(got[i], test.want[i]) {
					got[i] = test.want[i]
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
