package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"storebeat/agent/freeze"
)

// FreezeAll freezes machines from this very process: the agent's way when its
// guard is gone or hangs. It issues all freezes, then waits until each machine
// is seen frozen or gone. The error names those that were not when the context ended.
func FreezeAll(ctx context.Context, handles []freeze.Handle) error {
	pending := handles
	for {
		var err error
		pending, err = freezeOnce(pending)
		if len(pending) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d machines are not seen frozen: %w", len(pending), errors.Join(err, ctx.Err()))
		case <-time.After(confirmPeriod):
		}
	}
}

// freezeOnce issues the freeze for all and returns those not seen frozen, with
// the reasons.
func freezeOnce(handles []freeze.Handle) ([]freeze.Handle, error) {
	var errs []error
	for _, h := range handles {
		if err := h.Freeze(); err != nil && !errors.Is(err, freeze.ErrGone) {
			errs = append(errs, fmt.Errorf("freeze %v: %w", h, err))
		}
	}
	var pending []freeze.Handle
	for i, sight := range freeze.States(handles) {
		if sight.Err == nil && (sight.State == freeze.Frozen || sight.State == freeze.Gone) {
			continue
		}
		pending = append(pending, handles[i])
		if sight.Err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", handles[i], sight.Err))
		} else {
			errs = append(errs, fmt.Errorf("%v is %v", handles[i], sight.State))
		}
	}
	return pending, errors.Join(errs...)
}
