package process

import (
	"context"

	"storebeat/poweron"
)

// Needs returns nothing but the driver itself: a command may need anything, and says nothing of it.
func (*Driver) Needs([]byte) poweron.Needs { return poweron.Needs{Driver: name} }

// Capabilities returns a driver that always works: a shell is all it takes.
func (*Driver) Capabilities(context.Context) poweron.DriverState {
	return poweron.DriverState{Name: name}
}
