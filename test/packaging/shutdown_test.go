package packaging

import (
	"fmt"
	"strings"
	"testing"
)

// TestShutdown shuts systems down on which the agent is a service, by the real login
// manager: what it grants, what an agent does that is told, and in which order.
func TestShutdown(t *testing.T) {
	t.Parallel()
	needs(t, "make", "dpkg-deb", "dbus-daemon", "busctl", "systemd-inhibit")
	deb, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func(*system)
	}{
		{"everything is given up before anything else is stopped", shutsDown},
		{"an agent that the login manager does not wait for goes on", shutsDownInAHurry},
		{"without a login manager the stop of the unit does it", shutsDownUnannounced},
	} {
		t.Run(step.name, func(t *testing.T) {
			s := start(t)
			s.run("systemctl start dbus.socket dbus.service systemd-logind.service")
			s.install(deb)
			s.run(setUp + slowToStop)
			s.until("systemd-inhibit --list --no-pager | grep 'storebeat.*shutdown.*delay'")
			defer func() {
				if t.Failed() {
					said, _ := s.try("journalctl --no-pager --lines 200; systemctl status --no-pager 'storebeat*' systemd-logind")
					t.Log(said)
				}
			}()
			step.do(s)
		})
	}
}

// slowToStop protects a machine that takes two seconds to shut down. A service
// beside it notes what of the machine is there when the shutdown stops services. Switching
// the power off is replaced by a file, so that there is something to look at afterwards.
const slowToStop = `
storebeat vm protect slow --datastore first --memory 16MiB --wait=60s -- /bin/sh -c 'trap "sleep 2; exit 0" TERM; while :; do sleep 0.1; done'
cat >/etc/systemd/system/systemd-poweroff.service <<END
[Unit]
DefaultDependencies=no
Requires=shutdown.target umount.target final.target
After=shutdown.target umount.target final.target
[Service]
Type=oneshot
ExecStart=/bin/touch /run/powered-off
END
cat >/etc/systemd/system/witness.service <<END
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'pgrep --full "sleep 2; exi[t]" >/run/witness; true'
END
systemctl daemon-reload
systemctl start witness
`

// powersOff shuts the system down, and checks in which order the agent tells of it.
func (s *system) powersOff(order ...string) {
	s.Helper()
	s.run("systemctl poweroff")
	s.until("test -e /run/powered-off")
	eventually(s.T, "the journal to tell of the shutdown", func() error {
		lines, at := strings.Split(s.run("journalctl --no-pager --output cat --unit storebeat"), "\n"), 0
		for _, word := range order {
			for at < len(lines) && !strings.Contains(lines[at], word) {
				at++
			}
			if at == len(lines) {
				return fmt.Errorf("%q does not come after what is before it in %q:\n%s", word, order, strings.Join(lines, "\n"))
			}
		}
		return nil
	})
	s.wants("pgrep --full 'sleep 2; exi[t]'", "")
	s.wants("test -e /run/witness && echo it was stopped", "it was stopped")
}

func shutsDown(s *system) {
	s.run("busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager InhibitDelayMaxUSec | grep 't 120000000'")
	s.until("systemd-inhibit --list --no-pager | grep 'storebeat.*sleep.*block'")
	s.until("! storebeat status | grep 'no delay'")

	// The host may sleep while no machine runs.
	s.run("storebeat vm stop slow --wait=60s")
	s.until("! systemd-inhibit --list --no-pager | grep sleep")
	s.run("storebeat vm start slow --wait=60s")
	s.until("systemd-inhibit --list --no-pager | grep sleep")

	// A login manager that is restarted, or killed, is asked anew.
	s.run("systemctl restart systemd-logind && systemctl kill --signal=KILL systemd-logind")
	s.until("systemd-inhibit --list --no-pager | grep 'storebeat.*shutdown.*delay' && systemd-inhibit --list --no-pager | grep 'storebeat.*sleep.*block'")
	s.until("! storebeat status | grep 'no delay'")

	// The remedy for a machine that takes longer, as the event gives it.
	s.run("storebeat cluster set machine_defaults.stop_time=10m && storebeat vm protect patient --datastore first --memory 16MiB --wait=60s -- /usr/bin/sleep infinity")
	s.until("storebeat events --kind shutdown-delay-short | grep 'patient may take 10m0s'")
	s.run("mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nInhibitDelayMaxSec=600\\n' >/etc/systemd/logind.conf.d/storebeat.conf && systemctl restart systemd-logind")
	s.until("busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager InhibitDelayMaxUSec | grep 't 600000000'")
	s.wants("storebeat events --kind shutdown-delay-short | wc -l", "1")

	s.powersOff("this host shuts down", "gave slow up: host shutdown", "its shutdown goes on", "this host's agent ends")
	s.wants("cat /run/witness", "") // nothing was stopped before the machine was gone
}

// shutsDownInAHurry: the login manager waits for half a second.
func shutsDownInAHurry(s *system) {
	s.run("mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nInhibitDelayMaxSec=500ms\\n' >/etc/systemd/logind.conf.d/storebeat.conf && systemctl restart systemd-logind")
	s.until("storebeat events --kind shutdown-delay-short | grep 'slow may take'")
	s.powersOff("this host shuts down", "gave slow up: host shutdown", "this host's agent ends")
	s.until("journalctl --no-pager --unit systemd-logind | grep 'inhibitor timeout is reached'")
	s.run("! journalctl --no-pager --unit storebeat | grep 'its shutdown goes on'")
}

func shutsDownUnannounced(s *system) {
	s.run("systemctl mask --now --runtime systemd-logind dbus-org.freedesktop.login1.service")
	s.until("storebeat status | grep 'no delay.*systemd-logind'")
	s.until("storebeat events --kind host-not-inhibited | grep -c . | grep -x 1")
	s.powersOff("this host shuts down", "gave slow up: host shutdown", "this host's agent ends")
}
