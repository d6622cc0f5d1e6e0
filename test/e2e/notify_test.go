package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestTheDeathOfTheMasterIsToldOnce kills the master of a cluster in which every
// host tells of lost hosts: the next master does, and nobody else.
func TestTheDeathOfTheMasterIsToldOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Hosts: 4, Datastores: 1, Profile: "default"})
	l.awaitMaster()
	told := filepath.Join(shortDir(t), "told")
	for _, h := range l.Hosts {
		l.tell(h, `echo "$STOREBEAT_EVENT $STOREBEAT_HOST by $STOREBEAT_BY" >> `+told, "host-agent-down", "host-dead")
	}
	victim, others := l.master()
	at := time.Now()
	if _, err := victim.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.await("somebody to tell of it", func() (bool, string) {
		return slices.ContainsFunc(lines(told), func(line string) bool { return strings.Contains(line, " "+victim.Name+" by ") }), "nobody did"
	})
	for _, h := range others { // once a host follows the next master, it tells nothing about the one before
		l.await(h.Name+" to have a master again", func() (bool, string) {
			v, err := h.View(l.ctx, true)
			return err == nil && v.Master != 0 && v.Master != victim.ID && (v.Leading || v.Master != h.ID), fmt.Sprint(v.MasterName, err)
		})
	}
	masters := map[string]bool{} // one, unless it was slow enough to lose its office at once
	for _, h := range others {
		for _, e := range l.since(h, at) {
			if e.Kind == "election" && e.Host != 0 {
				masters[l.host(e.Host).Name] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, line := range lines(told) {
		about, by, _ := strings.Cut(line, " by ")
		if strings.HasSuffix(about, " "+victim.Name) && (seen[line] || !masters[by]) {
			t.Errorf("%q was told twice, or by a host that is not master; masters were %v", line, masters)
		}
		seen[line] = true
	}
}

// tell lets a running host run a shell command for kinds of events, and waits until it does.
func (l *lab) tell(h *cluster.Host, command string, kinds ...core.Kind) {
	l.Helper()
	var quoted []string
	for _, k := range kinds {
		quoted = append(quoted, fmt.Sprintf("%q", k))
	}
	config, err := os.ReadFile(h.Config)
	l.do(err)
	l.do(os.WriteFile(h.Config, fmt.Appendf(config, "\nnotify \"told\" {\n  events  = [%s]\n  command = [\"/bin/sh\", \"-c\", %q]\n}\n", strings.Join(quoted, ", "), command), 0o644))
	l.awaitLog(h, `notify \"told\"`)
}

func lines(path string) []string {
	content, _ := os.ReadFile(path)
	return strings.FieldsFunc(string(bytes.TrimSpace(content)), func(r rune) bool { return r == '\n' })
}
