package hypervisor

// IncidentKind says what happened to a guest.
type IncidentKind uint8

// What a hypervisor tells of a guest beside its end. A panic, and a watchdog that is
// to count as a crash, are followed by the end.
const (
	// GuestPanicked means that the guest's kernel has given up.
	GuestPanicked IncidentKind = iota + 1
	// GuestCrashKernel means that the guest has begun to run its crash kernel.
	GuestCrashKernel
	// GuestWatchdog means that the guest has not fed its emulated watchdog.
	GuestWatchdog
	// GuestReset means that the guest was reset, by itself or by a user.
	GuestReset
	// GuestPaused means that somebody has stopped the guest with the hypervisor's own tools.
	GuestPaused
	// GuestResumed means that such a guest goes on.
	GuestResumed
	// GuestDiskFailed means that the guest stands still because a request to a disk failed.
	GuestDiskFailed
	// GuestDiskRecovered means that it goes on, and no request has failed for a while.
	GuestDiskRecovered
	// GuestJobFailed means that a copy or another job on a disk has failed.
	GuestJobFailed
	// GuestDeviceRemoved means that a device was unplugged.
	GuestDeviceRemoved
	// GuestMemoryFailed means that the host's memory has failed under the guest.
	GuestMemoryFailed
)

// Incident is what a hypervisor told of a guest.
type Incident struct {
	Kind   IncidentKind
	Detail string // for people; may be empty
}
