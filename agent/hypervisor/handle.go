package hypervisor

import "storebeat/agent/freeze"

// Handle names a machine's processes to whoever freezes them.
type Handle = freeze.Handle
