package hypervisor

// Handle names a machine's leading process to whoever freezes it.
type Handle = struct {
	PID       int
	StartTime uint64
	Cgroup    string
}
