package hypervisor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// The environment variables that mark the processes of a machine.
const (
	// EnvMachine holds the Marker.
	EnvMachine = "STOREBEAT_MACHINE"
	// EnvRun holds the run directory of the agent that started the machine.
	EnvRun = "STOREBEAT_RUN"
	// EnvDriver holds the name of the driver.
	EnvDriver = "STOREBEAT_DRIVER"
	// EnvCgroup holds the machine's own cgroup; it is missing for weak freeze.
	EnvCgroup = "STOREBEAT_CGROUP"
)

// Marker names the machine a process belongs to, and the right it was started under.
type Marker struct {
	Cluster    uuid.UUID
	Host       datastorehb.HostID
	VM         uuid.UUID
	Generation uint64
	Datastore  uuid.UUID
}

// String returns the marker in the form <cluster>/<host>/<vm>/<generation>/<datastore>.
func (m Marker) String() string {
	return fmt.Sprintf("%s/%d/%s/%d/%s", m.Cluster, m.Host, m.VM, m.Generation, m.Datastore)
}

// ParseMarker reads what String writes, and nothing else.
func ParseMarker(s string) (Marker, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 5 {
		return Marker{}, fmt.Errorf("machine marker %.200q has %d parts, not 5", s, len(parts))
	}
	cluster, err1 := uuid.Parse(parts[0])
	host, err2 := strconv.ParseUint(parts[1], 10, 16)
	vm, err3 := uuid.Parse(parts[2])
	generation, err4 := strconv.ParseUint(parts[3], 10, 64)
	datastore, err5 := uuid.Parse(parts[4])
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return Marker{}, fmt.Errorf("machine marker %.200q: %w", s, err)
		}
	}
	m := Marker{Cluster: cluster, Host: datastorehb.HostID(host), VM: vm, Generation: generation, Datastore: datastore}
	if m.String() != s {
		return Marker{}, fmt.Errorf("machine marker %.200q is not in its canonical form %q", s, m)
	}
	return m, nil
}

// Environ returns the variables that mark a process of the machine.
func Environ(driver string, spec Spec, cgroup string) []string {
	env := []string{
		EnvMachine + "=" + spec.Marker().String(),
		EnvRun + "=" + spec.RunDir,
		EnvDriver + "=" + driver,
	}
	if cgroup != "" {
		env = append(env, EnvCgroup+"="+cgroup)
	}
	return env
}

// IsMarker tells whether an environment entry is one of those that mark a process.
func IsMarker(entry string) bool {
	name, _, _ := strings.Cut(entry, "=")
	return name == EnvMachine || name == EnvRun || name == EnvDriver || name == EnvCgroup
}
