// Package diskfault is what drivers need for a guest that was stopped because a disk failed:
// whether its disks can be read by others again, and when its own hold on them is lost.
package diskfault

import (
	"fmt"
	"os"
	"sync"
	"time"

	"storebeat/agent/hypervisor"
)

const (
	// VainTries is how often a guest is let go on in vain, while its disks can be opened
	// and read by others, until its own hold on them is taken for lost: an NFS client
	// fails every request under a lock that the server has given up, until the file is
	// opened anew.
	VainTries = 6
	// readLimit is how long a look at a disk may take.
	readLimit = 2 * time.Second
)

// Lost is the end of a guest whose hold on its disks is lost.
func Lost(detail string) hypervisor.Exit {
	return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: fmt.Sprintf("the guest could not go on (%s), though its disks can be read: "+
		"its hold on them is lost, as it is when the file server has given its locks up", detail)}
}

// looks are the files of which a read is under way. One that hangs is left behind with
// its thread, so there is one for each file and no more.
var looks sync.Map

// Answers reads the beginning of a file, and tells whether that succeeded in time.
func Answers(path string) bool {
	if _, underWay := looks.LoadOrStore(path, true); underWay {
		return false
	}
	read := make(chan error, 1)
	go func() {
		defer looks.Delete(path)
		f, err := os.Open(path)
		if err == nil {
			_, err = f.Read(make([]byte, 512))
			_ = f.Close()
		}
		read <- err
	}()
	select {
	case err := <-read:
		return err == nil
	case <-time.After(readLimit):
		return false
	}
}
