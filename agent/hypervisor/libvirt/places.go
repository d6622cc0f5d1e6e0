package libvirt

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"storebeat/agent/hypervisor"
)

// placeholder stands in a definition for the path of a datastore with the slash behind it;
// without a name it is the home datastore.
var placeholder = regexp.MustCompile(`\{\{datastore(?: ([^{}]*))?\}\}/`)

// escaped is a text as it stands in libvirt's XML.
var escaped = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

// portable puts placeholders in the place of the datastores' paths, wherever a value of the
// XML begins with one.
func portable(text string, spec hypervisor.Spec) string {
	put := func(path, placeholder string) {
		begins := regexp.MustCompile(`(['">])` + regexp.QuoteMeta(escaped.Replace(filepath.Clean(path))+"/"))
		text = begins.ReplaceAllString(text, "${1}"+strings.ReplaceAll(placeholder, "$", "$$"))
	}
	put(spec.DatastorePath, "{{datastore}}/")
	for _, at := range spec.Others {
		put(at.Path, "{{datastore "+at.Name+"}}/")
	}
	return text
}

// placed is the reverse of portable. A datastore that can't be used here is an error.
func placed(text string, spec hypervisor.Spec) (string, error) {
	var wrong error
	text = placeholder.ReplaceAllStringFunc(text, func(found string) string {
		path, err := spec.PathOf(placeholder.FindStringSubmatch(found)[1])
		if err != nil {
			wrong = err
		}
		return escaped.Replace(filepath.Clean(path)) + "/"
	})
	return text, wrong
}

// namedPlaces lists the datastores beside its home that a definition names.
func namedPlaces(text string) (names []string) {
	for _, found := range placeholder.FindAllStringSubmatch(text, -1) {
		if name := found[1]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// below tells whether a path lies on a datastore.
func below(path, datastore string) bool {
	return hypervisor.Below(path, datastore) && filepath.Clean(path) != filepath.Clean(datastore)
}

// specAt is a spec of the home datastore and all others, for judging.
func specAt(home string, datastores []hypervisor.Place) (spec hypervisor.Spec) {
	spec.Others = []hypervisor.Place{} // not nil: these are all there are
	for _, at := range datastores {
		if at.Name == home {
			spec.DatastorePath = at.Path
		} else {
			spec.Others = append(spec.Others, at)
		}
	}
	return spec
}

// home picks the datastore of the first disk that lies on one, "" if none does. A machine
// that has a home keeps it: its right to run is there.
func (d *domain) home(datastores []hypervisor.Place, former string) string {
	for _, k := range d.Devices.Disks {
		for _, at := range datastores {
			if k.Device != "cdrom" && k.Device != "floppy" && below(k.Source.File, at.Path) {
				if slices.ContainsFunc(datastores, func(at hypervisor.Place) bool { return at.Name == former }) {
					return former
				}
				return at.Name
			}
		}
	}
	return ""
}

// where names the datastores for people.
func where(spec hypervisor.Spec) string {
	all := []string{spec.DatastorePath}
	for _, at := range spec.Others {
		all = append(all, fmt.Sprintf("%s (%s)", at.Path, at.Name))
	}
	return strings.Join(all, ", ")
}

// scattered warns of a guest that depends on more than its home datastore.
func (d *domain) scattered(spec hypervisor.Spec) []string {
	var names []string
	for _, at := range spec.Others {
		if slices.ContainsFunc(d.files(), func(file string) bool { return below(file, at.Path) }) {
			names = append(names, at.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("it has disks on %s beside its home datastore: it starts only where all of them can be used, and is not moved when a host loses one that is not its home", strings.Join(names, ", "))}
}
