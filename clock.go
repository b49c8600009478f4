package counterfoil

import (
	"context"
	"time"
)

// Clock tells the time and waits. Configurations have one so that tests turn
// the clock instead of waiting; left nil it is the machine's. It must be safe
// for concurrent use.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// Sleep returns nil after d, or earlier with the context's error. It does
	// not wait for d <= 0: it returns the context's error, or nil.
	Sleep(ctx context.Context, d time.Duration) error
}
