package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestQueueHangsAlone lets an operation hang: what is behind it waits in order,
// another queue goes on, and the hanging operation is named while it hangs.
func TestQueueHangsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hung, other queue
		release := make(chan struct{})
		var done []string
		hung.add("first", func() { <-release; done = append(done, "first") })
		hung.add("second", func() { done = append(done, "second") })
		other.add("elsewhere", func() { done = append(done, "elsewhere") })
		synctest.Wait()
		if name, _, waiting := hung.state(); name != "first" || waiting != 1 {
			t.Errorf("under way is %q with %d behind it, want first with 1", name, waiting)
		}
		if name, _, _ := other.state(); name != "" {
			t.Errorf("%q is under way in an idle queue", name)
		}
		time.Sleep(time.Hour) // virtual
		close(release)
		synctest.Wait()
		want := []string{"elsewhere", "first", "second"}
		if len(done) != 3 || done[0] != want[0] || done[1] != want[1] || done[2] != want[2] {
			t.Errorf("done in the order %v, want %v", done, want)
		}
		hung.add("third", func() { done = append(done, "third") })
		synctest.Wait()
		if done[len(done)-1] != "third" {
			t.Error("an idle queue does not begin again")
		}
	})
}
