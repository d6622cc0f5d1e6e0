package check

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/test/faultfs"
)

// TestFaults checks a folder on storage that is ill. What is found names the illness, and
// a remedy for that rather than for what the step was about.
func TestFaults(t *testing.T) {
	const healthy, room, exclusive = "see whether the server or the disk", "make room there", "exclusive link(2)"
	for _, c := range []struct {
		name   string
		fault  faultfs.Fault
		what   map[string]string // by finding
		remedy map[string]string
	}{
		{"writes fail", faultfs.Fault{Kind: faultfs.Error, Ops: []faultfs.Op{faultfs.Write}},
			map[string]string{"exclusive names": "input/output error", "write latency": "input/output error"},
			map[string]string{"exclusive names": healthy, "exclusive names between processes": healthy, "direct I/O": healthy, "write latency": healthy, "rename and fsync": healthy}},
		{"writes are torn", faultfs.Fault{Kind: faultfs.Torn, Bytes: 3},
			map[string]string{"direct I/O": "input/output error"}, map[string]string{"direct I/O": healthy}},
		{"it is full", faultfs.Fault{Kind: faultfs.Error, Ops: []faultfs.Op{faultfs.Write}, Errno: unix.ENOSPC},
			map[string]string{"write latency": "no space left"}, map[string]string{"exclusive names": room, "direct I/O": room, "write latency": room}},
		{"it lies", faultfs.Fault{Kind: faultfs.Lying, Ops: []faultfs.Op{faultfs.Write}},
			map[string]string{"direct I/O": "less is there than was written", "exclusive names": "nobody won"}, map[string]string{"exclusive names": exclusive}},
		{"links are no links", faultfs.Fault{Kind: faultfs.Error, Ops: []faultfs.Op{faultfs.Link}, Errno: unix.EPERM},
			map[string]string{"exclusive names": "operation not permitted"}, map[string]string{"exclusive names": exclusive}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := map[string]Finding{}
			for _, f := range ill(t, c.fault, Options{Writes: 5}).Findings {
				found[f.Name] = f
			}
			for name, what := range c.what {
				if f := found[name]; f.Status != Unsafe || !strings.Contains(f.What, what) {
					t.Errorf("%s: %v, %q, not %q", name, f.Status, f.What, what)
				}
			}
			for name, remedy := range c.remedy {
				if f := found[name]; !strings.Contains(f.Remedy, remedy) {
					t.Errorf("%s: remedy %q, not %q", name, f.Remedy, remedy)
				}
			}
		})
	}
}

// TestSlowStorage checks a folder where everything takes a while: what is done many times
// over is done fewer times, and the check comes to its end.
func TestSlowStorage(t *testing.T) {
	const delay = 20 * time.Millisecond
	r := ill(t, faultfs.Fault{Kind: faultfs.Slow, Delay: delay}, Options{Budget: 4 * delay})
	if !r.Complete || r.Latency == nil || r.Latency.Min < delay || r.Latency.Writes > 4 {
		t.Errorf("complete %v, %+v", r.Complete, r.Latency)
	}
	for _, name := range []string{"exclusive names", "exclusive names between processes"} {
		if status, ok := worst(r)[name]; !ok || status != OK {
			t.Errorf("%s: %v, %v", name, ok, status)
		}
	}
	for _, f := range r.Findings {
		if strings.Contains(f.What, "20 rounds") {
			t.Errorf("%s: %s", f.Name, f.What)
		}
	}
}

// ill checks a folder on storage with a fault, to the end.
func ill(t *testing.T, fault faultfs.Fault, o Options) Report {
	t.Helper()
	if err := faultfs.Available(); err != nil {
		t.Skip(err)
	}
	m, err := faultfs.New(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Inject(fault); err != nil {
		t.Fatal(err)
	}
	r, err := Run(withDeadline(t), m.Path(), o)
	m.Heal()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
