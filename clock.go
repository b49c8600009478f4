package counterfoil

import (
	"context"
	"time"
)

// Clock tells the time and waits. Configurations have one so that tests can
// advance the time instead of waiting; nil means the system clock. It must be
// safe for concurrent use.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// Sleep returns nil after d, or the context's error if the context ends
	// first. For d <= 0 it returns the context's error, or nil, at once.
	Sleep(ctx context.Context, d time.Duration) error
}
