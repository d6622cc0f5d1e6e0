package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/agent/hypervisor/qemu/bootsector"
)

const libvirtPage = "../../docs/libvirt.md"

// TestTenCommands runs what docs/libvirt.md says of two stock Debian hosts, on two of them,
// and ends one at a blow.
func TestTenCommands(t *testing.T) {
	t.Parallel()
	libvirttest.Need(t)
	needs(t, "make", "dpkg-deb")
	commands := tenCommands(t)
	deb, err := built()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.MkdirTemp("", "sb-ten") // not t.TempDir: QEMU's user has to get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shared) })
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	alpha, beta := startNamed(t, "alpha", shared), startNamed(t, "beta", shared)
	connect(t, alpha, beta)
	guest(alpha, shared)
	token, begun := "", time.Now()
	for i, line := range commands {
		on := []*system{alpha}
		switch {
		case i < 3:
			on = append(on, beta)
		case strings.HasPrefix(line, "storebeat join"):
			alpha.run("storebeat cluster set datastore.nfs1.accept_no_barrier=true")
			on[0] = beta
		case i == 8:
			on[0] = beta
		case i == 9:
			alpha.until("storebeat host list | grep -c live | grep -q 2")
		}
		for _, s := range on {
			line := strings.NewReplacer("/mnt/nfs1", "/srv/shared", "TOKEN", token).Replace(line)
			switch {
			case i == 0:
				s.install(deb)
			case i == 6:
				s.until(line) // "a few seconds later"
				said := s.run(line)
				token = said[strings.LastIndex(said, "\n")+1:]
			default:
				s.run(line)
			}
			t.Logf("%v %s", time.Since(begun).Round(time.Second), line)
		}
	}
	alpha.wants("storebeat vm list | grep -c '^web *running *alpha'", "1")
	ticks := func() uint64 { return hypervisortest.CountIn(t, filepath.Join(shared, "tick.log")).Last }
	hypervisortest.Until(t, "the guest ticks", func() bool { return ticks() > 2 })
	alpha.die()
	beta.until("virsh list --name | grep -qx web")
	eventually(t, "the guest begins anew", func() error {
		if c := hypervisortest.CountIn(t, filepath.Join(shared, "tick.log")); c.Boots != 2 || c.Last < 2 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// tenCommands reads them from the page, in their order.
func tenCommands(t *testing.T) (commands []string) {
	text, err := os.ReadFile(libvirtPage)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## In ten commands")
	section, _, _ = strings.Cut(section, "\n## ")
	for i, block := range strings.Split(section, "```") {
		if i%2 == 1 {
			commands = append(commands, strings.Split(strings.TrimSpace(block), "\n")...)
		}
	}
	if len(commands) != 10 {
		t.Fatalf("the page gives %d commands: %q", len(commands), commands)
	}
	return commands
}

// connect gives two systems a network of their own.
func connect(t *testing.T, alpha, beta *system) {
	t.Helper()
	a, b := fmt.Sprintf("sba%d", alpha.init), fmt.Sprintf("sbb%d", alpha.init)
	for _, line := range [][]string{
		{"ip", "link", "add", a, "type", "veth", "peer", "name", b},
		{"ip", "link", "set", a, "netns", strconv.Itoa(alpha.init)},
		{"ip", "link", "set", b, "netns", strconv.Itoa(beta.init)},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", line, err, out)
		}
	}
	alpha.run(fmt.Sprintf("ip address add 10.0.0.1/24 dev %s && ip link set %s up", a, a))
	beta.run(fmt.Sprintf("ip address add 10.0.0.2/24 dev %s && ip link set %s up", b, b))
}

// guest has a guest run on a system, as its user made it with libvirt's tools.
func guest(s *system, shared string) {
	s.Helper()
	if err := bootsector.WriteDisk(filepath.Join(shared, "disk.img")); err != nil {
		s.Fatal(err)
	}
	text := libvirttest.Domain("web", uuid.New(), "/srv/shared/disk.img", "/run/web.sock")
	if err := os.WriteFile(filepath.Join(shared, "web.xml"), []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	s.run("systemctl start libvirtd && virsh define /srv/shared/web.xml && virsh autostart web && virsh start web")
}

// die ends a system at a blow, as when its power fails.
func (s *system) die() {
	s.Helper()
	if err := unix.Kill(s.init, unix.SIGKILL); err != nil {
		s.Fatal(err)
	}
}
