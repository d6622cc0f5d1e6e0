package nfslab_test

import (
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
