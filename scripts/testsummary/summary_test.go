package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const stream = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"a","Test":"TestLate","Output":"=== RUN   TestLate\n"}
{"Action":"output","Package":"a","Test":"TestLate","Output":"    a_test.go:7: needs root\n"}
{"Action":"output","Package":"a","Test":"TestLate","Output":"--- SKIP: TestLate (0.00s)\n"}
{"Action":"skip","Package":"a","Test":"TestLate","Elapsed":0}
{"Action":"pass","Package":"a","Elapsed":1.5}
{"Action":"output","Package":"b","Test":"TestBad/sub","Output":"    b_test.go:9: wrong\n"}
{"Action":"output","Package":"b","Test":"TestBad/sub","Output":"    lab_test.go:90: log of a:\n        1\n        2\n        3\n        4\n        5\n"}
{"Action":"output","Package":"b","Test":"TestBad/sub","Output":"--- FAIL: TestBad/sub (0.00s)\n"}
{"Action":"fail","Package":"b","Test":"TestBad/sub","Elapsed":0}
{"Action":"fail","Package":"b","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"b","Output":"FAIL\n"}
{"Action":"fail","Package":"b","Elapsed":0.2}
plain words
{"ImportPath":"c","Action":"build-output","Output":"c.go:1: no such thing\n"}
{"ImportPath":"c","Action":"build-fail"}
{"Action":"output","Package":"c","Output":"FAIL\tc [build failed]\n"}
{"Action":"fail","Package":"c","Elapsed":0,"FailedBuild":"c"}
{"Action":"output","Package":"d","Output":"panic: in TestMain\n"}
{"Action":"fail","Package":"d","Elapsed":0}
{"Action":"output","Package":"e","Test":"TestHangs","Output":"=== RUN   TestHangs\n"}
{"Action":"output","Package":"e","Test":"TestEnds","Output":"=== RUN   TestEnds\n"}
{"Action":"pass","Package":"e","Test":"TestEnds","Elapsed":0.1}
{"Action":"output","Package":"e","Output":"FAIL\te\t1440.0s\n"}
{"Action":"fail","Package":"e","Elapsed":1440}
`

func TestSummary(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	s.print(&out)
	refused := s.refused(&out)
	want := `ok   a                                                     1.5 s
--- b TestBad/sub
    b_test.go:9: wrong
    lab_test.go:90: log of a:
        1
        2
        3
        4
        5
--- FAIL: TestBad/sub (0.00s)
--- b TestBad
--- b failed
FAIL
plain words
--- c failed
c.go:1: no such thing
--- c failed
FAIL	c [build failed]
--- d failed
panic: in TestMain
--- e TestHangs did not end
=== RUN   TestHangs
--- e failed
FAIL	e	1440.0s
failed b TestBad/sub
    b_test.go:9: wrong
    lab_test.go:90: log of a:
        1
        2
        3
failed b TestBad
skipped a TestLate: a_test.go:7: needs root
2 passed, 5 failed, 1 skipped
not allowed with -no-skips: a TestLate: a_test.go:7: needs root
`
	if diff := cmp.Diff(want, out.String()); diff != "" || !refused {
		t.Errorf("refused %t, output (-want +got):\n%s", refused, diff)
	}
}

func TestWhichSkipsAreRefused(t *testing.T) {
	for reason, want := range map[string]bool{
		"a_test.go:7: needs root":                     true,
		"a_test.go:7: nasm is not installed":          true,
		"a_test.go:7: mount: operation not permitted": true,
		"no reason given":                             true,
		"a_test.go:7: no IPv6 on this machine":        false,
		"a_test.go:7: left out with -short":           false,
	} {
		s := newSummary(&strings.Builder{})
		s.skips = []skip{{"a TestLate", reason}}
		if got := s.refused(s.out); got != want {
			t.Errorf("%q: refused %t", reason, got)
		}
	}
}

func TestOwnFlagsAreTakenOut(t *testing.T) {
	o, rest := split([]string{"-race", "-no-skips", "-last=./b/...", "./..."})
	if diff := cmp.Diff([]string{"-race", "./..."}, rest); diff != "" || o != (options{noSkips: true, last: "./b/..."}) {
		t.Errorf("options %+v, rest (-want +got):\n%s", o, diff)
	}
	if o, _ := split([]string{"./..."}); o != (options{}) {
		t.Errorf("found flags that are not there: %+v", o)
	}
}

func TestTurns(t *testing.T) {
	packages := func(patterns ...string) ([]string, error) {
		var all []string
		for _, p := range patterns {
			all = append(all, map[string][]string{"./...": {"m/a", "m/b", "m/b/c", "m/d"}, "./b/...": {"m/b", "m/b/c"}}[p]...)
		}
		if len(all) == 0 {
			return nil, errors.New("no packages")
		}
		return all, nil
	}
	for _, c := range []struct {
		last      string
		arguments []string
		want      [][]string
	}{
		{"./b/...", []string{"-race", "./...", "-args", "-all"}, [][]string{{"-race", "m/a", "m/d", "-args", "-all"}, {"-race", "m/b", "m/b/c", "-args", "-all"}}},
		{"./b/...", []string{"./b/..."}, [][]string{{"m/b", "m/b/c"}}},
		{"./b/...", []string{"-v"}, [][]string{{"-v"}}},
		{"", []string{"./..."}, [][]string{{"./..."}}},
	} {
		turns, err := options{last: c.last}.turns(c.arguments, packages)
		if diff := cmp.Diff(c.want, turns); diff != "" || err != nil {
			t.Errorf("%q %q: %v (-want +got):\n%s", c.last, c.arguments, err, diff)
		}
	}
	if _, err := (options{last: "./none"}).turns([]string{"./..."}, packages); err == nil {
		t.Error("a pattern of no packages is no error")
	}
}
