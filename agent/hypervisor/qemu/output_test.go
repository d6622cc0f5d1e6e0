package qemu

import "testing"

// A reason goes into the journal and into a machine's generation: it is to say
// what went wrong, not how QEMU was called.
func TestAReasonIsBrief(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`qemu-system-x86_64: -blockdev {"driver":"raw","node-name":"disk0","file":{"driver":"file","filename":"/mnt/a: b}"}}: Could not open '/mnt/a: b}': No such file or directory`,
			`disk0: Could not open '/mnt/a: b}': No such file or directory`},
		{`/usr/bin/qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory`, `cannot set up guest memory 'pc.ram': Cannot allocate memory`},
		{`qemu: -blockdev {"driver":"raw`, `-blockdev {"driver":"raw`},
		{`:"disk0"}: Could not open`, `:"disk0"}: Could not open`},
		{``, ``},
	} {
		if got := briefly(c.line); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.line, got, c.want)
		}
	}
}
