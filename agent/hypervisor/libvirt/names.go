package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// idOf looks a domain up by its name. virsh itself takes a name that is a number for the
// number of a running domain, so it is given UUIDs alone.
func (d *Driver) idOf(ctx context.Context, domainName string) (uuid.UUID, error) {
	out, err := d.virsh.call(ctx, "list", "--all", "--uuid", "--name")
	if err != nil {
		return uuid.Nil, err
	}
	for line := range strings.Lines(out) {
		id, called, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.TrimSpace(called) == domainName {
			return uuid.Parse(id)
		}
	}
	return uuid.Nil, fmt.Errorf("%w: %s", errNoDomain, domainName)
}

// otherNameAway removes the definition that libvirt has of a domain that is off under
// another name than it is to have: it was renamed here and that could not be stored, or on
// another host and this one had kept what it was. libvirt defines no domain of the same UUID
// beside it.
func (d *Driver) otherNameAway(ctx context.Context, vm uuid.UUID, domainName string) error {
	out, err := d.virsh.call(ctx, "domname", vm.String())
	if errors.Is(err, errNoDomain) || err == nil && strings.TrimSpace(out) == domainName {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Forget(ctx, vm)
}

// nameTaken says what to do about a domain of the same name that is another one.
func nameTaken(err error) error {
	if !strings.Contains(err.Error(), "already exists with uuid") {
		return err
	}
	return fmt.Errorf("%w: this host has another guest of that name: rename one of the two (virsh domrename), or remove the other (virsh undefine)", err)
}
