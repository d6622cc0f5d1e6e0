package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is what "go test -json" reports, as far as it matters here.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build that failed, in place of Package
	Test       string
	// FailedBuild names the build for want of which a package failed.
	FailedBuild string
	Elapsed     float64
	Output      string
}

// skip is one test that did not run, with its reason.
type skip struct{ name, reason string }

// failure is one test that failed, with what it said of the reasons.
type failure struct {
	name string
	said []string
}

// summary counts tests. A test with subtests counts like each of these.
type summary struct {
	out                     io.Writer
	passed, failed, skipped int
	failures                map[string]int         // of each package's tests
	output                  map[[2]string][]string // of tests and packages that have not ended
	skips                   []skip
	reasons                 []failure // why tests failed, in their order
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, failures: map[string]int{}, output: map[[2]string][]string{}}
}

func (s *summary) take(e event) {
	id := [2]string{e.Package + e.ImportPath, e.Test}
	switch e.Action {
	case "output", "build-output":
		s.output[id] = append(s.output[id], e.Output)
		return
	case "pass", "fail", "skip", "build-fail":
	default:
		return
	}
	output := s.output[id]
	delete(s.output, id)
	if e.Test == "" {
		s.ended(e, output)
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		s.skips = append(s.skips, skip{e.Package + " " + e.Test, reason(output)})
	case "fail":
		s.failed++
		s.failures[e.Package]++
		s.reasons = append(s.reasons, failure{e.Package + " " + e.Test, messages(output)})
		fmt.Fprintf(s.out, "--- %s %s\n%s", e.Package, e.Test, strings.Join(output, ""))
	}
}

// ended reports on a whole package. One that failed without a failed test, by a
// panic or a build error, counts as one failure.
func (s *summary) ended(e event, output []string) {
	switch e.Action {
	case "fail", "build-fail":
		if s.failures[e.Package] == 0 && e.FailedBuild == "" {
			s.failed++
		}
		s.unended(e.Package)
		fmt.Fprintf(s.out, "--- %s%s failed\n%s", e.Package, e.ImportPath, strings.Join(output, ""))
	case "pass":
		fmt.Fprintf(s.out, "ok   %-50s %6.1f s\n", e.Package, e.Elapsed)
	}
}

// unended shows the tests that a package was at when it ended: who caused a panic
// or hung is among them.
func (s *summary) unended(pkg string) {
	var tests []string
	for id := range s.output {
		if id[0] == pkg && id[1] != "" {
			tests = append(tests, id[1])
		}
	}
	slices.Sort(tests)
	for _, test := range tests {
		id := [2]string{pkg, test}
		fmt.Fprintf(s.out, "--- %s %s did not end\n%s", pkg, test, strings.Join(s.output[id], ""))
		delete(s.output, id)
	}
}

// reason finds what a test said when it skipped itself.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}

// message is the first line of what a test reports: place and text.
var message = regexp.MustCompile(`^\s+\w+\.go:[0-9]+: `)

// messages returns the beginning of each message of a test: its logs may be so long
// that the reason is lost where only the end of the output is kept.
func messages(output []string) (said []string) {
	const lines, length = 4, 1000 // shown of each message, of each line
	left := 0
	for line := range strings.Lines(strings.Join(output, "")) {
		if message.MatchString(line) {
			left = lines
		}
		if left > 0 && !strings.HasPrefix(line, "---") {
			said = append(said, fmt.Sprintf("%.*s", length, strings.TrimRight(line, "\n")))
		}
		left--
	}
	return said
}

// print sums up, with what matters most at the end.
func (s *summary) print(out io.Writer) {
	for _, f := range s.reasons {
		fmt.Fprintf(out, "failed %s\n", f.name)
		for _, line := range f.said {
			fmt.Fprintln(out, line)
		}
	}
	for _, skip := range s.skips {
		fmt.Fprintf(out, "skipped %s: %s\n", skip.name, skip.reason)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}

// wanting are the words of a skip for want of privileges or packages. Other
// reasons are facts about a computer, such as a kernel without IPv6.
var wanting = []string{"needs ", "not installed", "permission denied", "operation not permitted", "executable file not found", "no reason given"}

// refused reports whether something was skipped that the computer could be made
// to do.
func (s *summary) refused(out io.Writer) bool {
	refused := false
	for _, skip := range s.skips {
		if slices.ContainsFunc(wanting, func(w string) bool { return strings.Contains(skip.reason, w) }) {
			fmt.Fprintf(out, "not allowed with -no-skips: %s: %s\n", skip.name, skip.reason)
			refused = true
		}
	}
	return refused
}
