package journal

import (
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestStoreProcessEndsWithTheAgent: whatever the store is doing, its process ends
// some time after the agent has gone, and not before.
func TestStoreProcessEndsWithTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, agent := io.Pipe()
		var ended atomic.Bool
		requests := whenEnded(in, endTime, func() { ended.Store(true) })
		go func() { _, _ = agent.Write([]byte("ask")) }()
		buffer := make([]byte, 3)
		if _, err := io.ReadFull(requests, buffer); err != nil || string(buffer) != "ask" {
			t.Fatalf("%q, %v", buffer, err)
		}
		time.Sleep(time.Hour) // virtual: the store hangs over the request
		if ended.Load() {
			t.Fatal("ended though the agent is there")
		}
		_ = agent.Close()
		time.Sleep(endTime - time.Nanosecond)
		synctest.Wait()
		if ended.Load() {
			t.Error("no time to close in good order")
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		if !ended.Load() {
			t.Error("goes on without the agent")
		}
		if n, err := requests.Read(buffer); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
	})
}
