package config

import (
	"bytes"
	"fmt"
)

// Format writes a configuration as a file without comments, leaving out what has
// its default. Parsing the file gives the same configuration.
func Format(c *Config) []byte {
	var b bytes.Buffer
	usual := Default()
	usual.Path, usual.Profile, usual.Timing = c.Path, c.Profile, c.Profile.Timing()
	usual.RunDirectory = c.RunDirectory // the sockets' defaults follow from it
	usual.complete()
	usual.Profile, usual.RunDirectory = Normal, Default().RunDirectory
	formatSettings(&b, "", topLevel(c), topLevel(usual))
	usualSections := sections(usual)
	for i, s := range sections(c) {
		formatBlock(&b, s.name, s.settings, usualSections[i].settings)
	}
	for _, h := range c.Hosts {
		formatBlock(&b, fmt.Sprintf("%s %q", hostBlock, h.Name), hostSettings(&h), hostSettings(&Host{}))
	}
	for _, d := range c.Datastores {
		formatBlock(&b, fmt.Sprintf("%s %q", datastoreBlock, d.Name), datastoreSettings(&d), datastoreSettings(&Datastore{}))
	}
	for _, n := range c.Notify {
		unset := newNotify(n.Name)
		formatBlock(&b, fmt.Sprintf("%s %q", notifyBlock, n.Name), notifySettings(&n), notifySettings(&unset))
	}
	return b.Bytes()
}

func formatBlock(b *bytes.Buffer, header string, settings, usual []setting) {
	var inside bytes.Buffer
	formatSettings(&inside, "  ", settings, usual)
	if inside.Len() > 0 {
		fmt.Fprintf(b, "%s {\n%s}\n", header, inside.Bytes())
	}
}

func formatSettings(b *bytes.Buffer, indent string, settings, usual []setting) {
	for i, s := range settings {
		if shown := s.String(); shown != usual[i].String() {
			fmt.Fprintf(b, "%s%s = %s\n", indent, s.name, shown)
		}
	}
}
