package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
	"storebeat/agent/hypervisor/qmp"
)

// readLimits bounds what a guest that somebody else has started may take to say what it has.
const readLimits = 10 * time.Second

// running is what a guest says that somebody has started by hand.
type running struct {
	handle hypervisor.Handle
	args   []string // of its command line, without the program
	folder string   // in which its relative paths begin
	Status string
	Name   string
	VM     uuid.UUID
	Type   string // of the machine, with its version
	Memory uint64 // bytes
	KVM    bool
	Disks  []image
}

// image is what QEMU says of a disk's image.
type image struct {
	Device   string `json:"device"`
	QDev     string `json:"qdev"`
	Inserted *struct {
		File    string `json:"file"`
		Backing string `json:"backing_file"`
		Driver  string `json:"drv"`
		RO      bool   `json:"ro"`
		Cache   struct {
			Direct bool `json:"direct"`
		} `json:"cache"`
	} `json:"inserted"`
}

// written tells whether the guest writes to it.
func (i *image) written() bool { return i.Inserted != nil && !i.Inserted.RO }

// rank is 1 for flash memory, and 0 for all others.
func (i *image) rank() int {
	if strings.Contains(i.QDev, "/system.flash") {
		return 1
	}
	return 0
}

// meetGuest connects to the monitor of a guest that runs, and finds its process.
func meetGuest(ctx context.Context, monitor string, hear func(qmp.Event)) (*qmp.Session, hypervisor.Handle, error) {
	session, err := qmp.Dial(ctx, monitor, hear)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: QEMU is stopped, or another program is connected to this monitor (an agent, if the guest is protected already), which serves one at a time: give QEMU a monitor for the agent alone (-qmp unix:PATH,server=on,wait=off)", err)
		}
		return nil, hypervisor.Handle{}, err
	}
	pid, err := session.Peer()
	var h hypervisor.Handle
	if err == nil {
		h, err = freeze.Of(pid, "")
	}
	if err != nil {
		return nil, h, errors.Join(fmt.Errorf("find the process behind monitor %s: %w", monitor, err), session.Close())
	}
	return session, h, nil
}

// readRunning asks a guest what it has.
func readRunning(ctx context.Context, monitor string) (*running, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimits)
	defer cancel()
	session, h, err := meetGuest(ctx, monitor, nil)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	r := &running{handle: h}
	if err := r.readProcess(); err != nil {
		return nil, err
	}
	return r, r.ask(ctx, session)
}

// readProcess reads how QEMU was called.
func (r *running) readProcess() error {
	stat := procfs.Stat{PID: r.handle.PID, Start: r.handle.StartTime}
	said, env := procfs.Arguments([]procfs.Stat{stat})[stat.PID], procfs.Environs([]procfs.Stat{stat})[stat.PID]
	if err := errors.Join(said.Err, env.Err); err != nil {
		return fmt.Errorf("read the command line of process %d: %w", stat.PID, err)
	}
	switch {
	case len(said.Words) == 0 || !strings.Contains(filepath.Base(said.Words[0]), "qemu"):
		return fmt.Errorf("process %d behind the monitor is no QEMU, or was not started as one", stat.PID)
	case slices.ContainsFunc(env.Words, hypervisor.IsMarker):
		return fmt.Errorf("process %d belongs to a machine that is protected already", stat.PID)
	case slices.Contains(said.Words, "chardev=charmonitor,id=monitor,mode=control"):
		return fmt.Errorf("process %d is a guest of libvirt: protect it by its name there (storebeat vm protect NAME)", stat.PID)
	}
	folder, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", stat.PID))
	if err != nil {
		return fmt.Errorf("find the folder of process %d: %w", stat.PID, err)
	}
	r.args, r.folder = said.Words[1:], folder
	return nil
}

// ask asks the monitor for what the command line does not tell for sure.
func (r *running) ask(ctx context.Context, session *qmp.Session) error {
	var state struct {
		Status string `json:"status"`
	}
	var name struct {
		Name string `json:"name"`
	}
	var id struct {
		UUID uuid.UUID `json:"UUID"`
	}
	var memory struct {
		Base    uint64 `json:"base-memory"`
		Plugged uint64 `json:"plugged-memory"`
	}
	var kvm struct {
		Enabled bool `json:"enabled"`
	}
	for _, q := range []struct {
		command   string
		arguments any
		into      any
	}{
		{"query-status", nil, &state}, {"query-name", nil, &name}, {"query-uuid", nil, &id}, {"query-memory-size-summary", nil, &memory},
		{"query-kvm", nil, &kvm}, {"query-block", nil, &r.Disks}, {"qom-get", map[string]string{"path": "/machine", "property": "type"}, &r.Type},
	} {
		if err := session.Execute(ctx, q.command, q.arguments, q.into); err != nil {
			return err
		}
	}
	r.Status, r.Name, r.VM, r.KVM = state.Status, name.Name, id.UUID, kvm.Enabled
	r.Type, r.Memory = strings.TrimSuffix(r.Type, "-machine"), memory.Base+memory.Plugged
	if r.VM == uuid.Nil {
		return r.invent()
	}
	return nil
}

// invent gives a guest without a UUID one that is the same for as long as its process
// lives: a command that was interrupted can be repeated.
func (r *running) invent() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	space, err := uuid.Parse(strings.TrimSpace(string(boot)))
	if err != nil {
		return err
	}
	r.VM = uuid.NewSHA1(space, fmt.Appendf(nil, "process %d started at %d", r.handle.PID, r.handle.StartTime))
	return nil
}
