package nfslab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"storebeat/agent/hypervisor/qemu/bootsector"
	"storebeat/test/nfslab"
)

// TestPageOfQEMU types the commands of docs/qemu.md that lead from two hosts with an NFS
// mount to a protected guest, on two computers that have neither configuration nor key.
// What differs is what such a page can't know: names, addresses, the token, the size of
// the guest; packages are there, and without systemd the agent is started by itself.
func TestPageOfQEMU(t *testing.T) {
	if err := nfslab.Available(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	l, err := nfslab.Build(ctx, nfslab.Options{Hosts: 2, Binary: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.End(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	first, second := l.Hosts[0], l.Hosts[1]
	makeGuest(t, filepath.Join(l.Datastores[0].Dir, "shared", "web"))
	run := func(h *nfslab.Host, script string) string {
		t.Helper()
		said, err := h.Run(ctx, script)
		t.Logf("%s# %s\n%s", h.Name, script, said)
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	for _, h := range l.Hosts {
		run(h, "storebeat agent stop --now; sleep 1; killall storebeat; sleep 1; rm -rf /etc/storebeat /run/storebeat /var/lib/storebeat; mkdir -p /mnt/shared; mount --bind /mnt/ds1/shared /mnt/shared")
	}
	token, at := "", first
	for _, command := range commandsOf(t, "../../docs/qemu.md") {
		words := strings.NewReplacer("TOKEN", token, "alpha=10.0.0.1", fmt.Sprintf("%s=%s", first.Name, first.Address), "2GiB", "16MiB").Replace(command)
		switch {
		case strings.HasPrefix(command, "apt "):
			continue
		case strings.HasPrefix(command, "systemctl start "):
			if err := at.StartAgent(ctx); err != nil {
				t.Fatal(err)
			}
			awaitAgent(t, ctx, at)
			continue
		case strings.HasPrefix(command, "storebeat join"):
			at = second
		}
		said := run(at, words)
		if command == "storebeat host token" {
			for line := range strings.Lines(said) {
				if strings.HasPrefix(line, "storebeat-join-") {
					token = strings.TrimSpace(line)
				}
			}
		}
		if strings.HasPrefix(command, "storebeat vm show") && !strings.Contains(said, "running on") {
			t.Errorf("the guest does not run")
		}
	}
}

// makeGuest makes the disk image of which the page speaks.
func makeGuest(t *testing.T, dir string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := bootsector.WriteDisk(raw); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", raw, filepath.Join(dir, "disk.qcow2")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// commandsOf returns the commands of the page before its first section.
func commandsOf(t *testing.T, page string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	beginning, _, _ := strings.Cut(string(text), "\n## ")
	for line := range strings.Lines(beginning) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if len(commands) < 8 || len(commands) > 10 {
		t.Fatalf("%d commands: %q", len(commands), commands)
	}
	return commands
}

// awaitAgent waits until the host's agent knows its cluster.
func awaitAgent(t *testing.T, ctx context.Context, h *nfslab.Host) {
	t.Helper()
	for {
		v, err := h.View(ctx)
		if err == nil && v.Master != 0 {
			return
		}
		select {
		case <-ctx.Done():
			log, _ := h.Run(context.WithoutCancel(ctx), "tail -n 30 "+nfslab.Log)
			t.Fatalf("the agent of %s does not answer: %v\n%s", h.Name, err, log)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
