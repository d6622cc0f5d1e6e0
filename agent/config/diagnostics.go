package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Describe renders diagnostics for people, one per line, in the order of the
// file: where, how bad, what, and what to do.
func Describe(diags hcl.Diagnostics) string {
	var b strings.Builder
	for _, d := range diags {
		severity := "error"
		if d.Severity == hcl.DiagWarning {
			severity = "warning"
		}
		fmt.Fprintf(&b, "%s: %s: %s: %s\n", where(d.Subject), severity, d.Summary, strings.ReplaceAll(d.Detail, "\n", " "))
	}
	return b.String()
}

// where writes a place in the form that editors jump to.
func where(r *hcl.Range) string {
	switch {
	case r == nil:
		return "configuration"
	case r.Start.Line == 0:
		return r.Filename
	}
	return fmt.Sprintf("%s:%d:%d", r.Filename, r.Start.Line, r.Start.Column)
}

func problem(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
}

func warning(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	d := problem(at, summary, detail)
	d.Severity = hcl.DiagWarning
	return d
}

// inOrder sorts diagnostics by place, so that the same file always gives the
// same report.
func inOrder(diags hcl.Diagnostics) {
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Or(cmp.Compare(offset(a), offset(b)), cmp.Compare(a.Summary, b.Summary), cmp.Compare(a.Detail, b.Detail))
	})
}

func offset(d *hcl.Diagnostic) int {
	if d.Subject == nil {
		return -1
	}
	return d.Subject.Start.Byte
}

// line names a place within the same file.
func line(r hcl.Range) string {
	if r.Start.Line == 0 {
		return filepath.Base(r.Filename)
	}
	return fmt.Sprintf("line %d", r.Start.Line)
}
