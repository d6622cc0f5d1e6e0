package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestTheDeathOfTheMasterIsToldOnce kills the master of a cluster in which every
// host tells of lost hosts: the next master does, and nobody else.
func TestTheDeathOfTheMasterIsToldOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Hosts: 4, Datastores: 1})
	l.awaitMaster()
	told := filepath.Join(shortDir(t), "told")
	for _, h := range l.Hosts {
		l.tell(h, `echo "$STOREBEAT_EVENT $STOREBEAT_HOST by $STOREBEAT_BY" >> `+told, "host-agent-down", "host-dead")
	}
	victim, others := l.master()
	if _, err := victim.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.await("somebody to tell of it", func() (bool, string) {
		return len(lines(told)) > 0, "nobody did"
	})
	next := ""
	for _, h := range others { // once a host follows the next master, it tells nothing about the one before
		l.await(h.Name+" to have a master again", func() (bool, string) {
			v, err := h.View(l.ctx, true)
			next = v.MasterName
			return err == nil && v.Master != 0 && v.Master != victim.ID && (v.Leading || v.Master != h.ID), fmt.Sprint(v.MasterName, err)
		})
	}
	want := fmt.Sprintf("%s by %s", victim.Name, next)
	if got := lines(told); len(got) != 1 || !strings.HasSuffix(got[0], want) {
		t.Errorf("told was %q; want one line, about %s", got, want)
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
