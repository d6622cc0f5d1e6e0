package guard

import (
	"os"
	"sync"
	"testing"
)

// TestGuardsLeaveTheProcessors starts more guards at once than there are processors,
// and makes their memory be collected. Their threads go before every ordinary
// process, and wait for each other; no guard may keep the processors meanwhile.
func TestGuardsLeaveTheProcessors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to take real-time priority")
	}
	const guards, pings = 8, 100
	var all sync.WaitGroup
	for range guards {
		socket := newSocket(t)
		all.Go(func() {
			client, err := Spawn(patient(t), os.Args[0], socket, "--harden", "yes", "--garbage", "300000")
			if err != nil {
				t.Error(err)
				return
			}
			defer client.Close()
			inventory, err := client.Hello(patient(t), 1)
			if err != nil {
				t.Error(err)
				return
			}
			for range pings {
				if err := client.Ping(patient(t)); err != nil {
					t.Error(err)
				}
			}
			if err := inventory.Guard.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
