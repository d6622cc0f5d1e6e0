package nfslab_test

import (
	"fmt"
	"strings"
	"testing"

	"storebeat/test/nfslab"
)

// TestCheck has three hosts check a datastore together while it is in use: names
// and locks exclude between real NFS clients, and what one makes the others see at
// once, whatever their clients remember.
func TestCheck(t *testing.T) {
	r := newTrial(t, nfslab.Options{Mount: cachedForAnHour}, 1)
	want := r.Starts()
	for _, h := range r.Hosts[1:] {
		_, err := h.Run(r.ctx, `cat > /run/answer <<'END'
#!/bin/sh
exec storebeat datastore check --answer ds1
END
chmod 755 /run/answer
setsid nc -ll -p 7000 -e /run/answer >/dev/null 2>&1 </dev/null &`)
		r.Do(err)
	}
	_, err := r.Hosts[0].Run(r.ctx, "printf '#!/bin/sh\\nexec nc $1 7000\\n' > /run/rsh; chmod 755 /run/rsh")
	r.Do(err)
	text, err := r.Hosts[0].Run(r.ctx, "storebeat datastore check ds1 --load --rsh /run/rsh --peer "+r.Hosts[1].Address+" --peer "+r.Hosts[2].Address)
	r.Logf("%s", text)
	r.Do(err)
	for _, finding := range []string{
		"ok       exclusive names between hosts: 3 hosts", "ok       heartbeats on other hosts", "ok       file locks between hosts", "ok       new names on other hosts",
		"ok       direct I/O", "ok       rename and fsync", "write latency under load", "ok       write barrier: lock", "ok       restart time",
	} {
		if !strings.Contains(text, finding) {
			t.Errorf("it says nothing of %q", finding)
		}
	}
	r.AwaitCounts(10, r.Machines...)
	r.ExpectStarts(want)
}

// TestCheckVersion3: over NFS 3, names exclude and writes are durable, and still it is unsafe, for the
// server would take the late writes of a host that has lost its locks.
func TestCheckVersion3(t *testing.T) {
	r := newTrial(t, nfslab.Options{Version3: true}, 0)
	text, err := r.Hosts[0].Run(r.ctx, fmt.Sprintf(`mkdir /mnt/three
mount -t nfs -o vers=3,nolock,proto=tcp,port=2049,mountproto=tcp,mountport=20048,addr=%[1]s,mountaddr=%[1]s %[1]s:%[2]s /mnt/three
mkdir /mnt/three/check
storebeat datastore check /mnt/three/check
echo "status $?"
umount /mnt/three`, nfslab.ServerAddress, r.Datastores[0].Dir))
	r.Logf("%s", text)
	r.Do(err)
	for _, finding := range []string{
		"ok       file system: NFS 3, export", "unsafe   mount options: nolock", "ok       exclusive names", "ok       direct I/O", "ok       rename and fsync",
		"unsafe   write barrier: none: NFS 3 does not tie writes to locks", "use NFS 4.1 or later", "status 1",
	} {
		if !strings.Contains(text, finding) {
			t.Errorf("it says nothing of %q", finding)
		}
	}
}
