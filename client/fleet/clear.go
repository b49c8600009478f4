package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// Clear removes the tokens whose key starts with prefix, everywhere, and the
// remembered failures. An entry that cannot be removed does not stop it. While
// the server is away it removes those known here, and there later.
func (c *Cache) Clear(ctx context.Context, prefix string) error {
	known := c.entries.list(prefix)
	for _, e := range known {
		e.drop("")
	}
	keys, err := c.server.keys(ctx, prefix)
	failures := 0
	for _, key := range keys {
		if _, failed := c.server.run(ctx, drop, key, ""); failed != nil {
			failures++
			err = cmp.Or(err, failed)
		}
	}
	if err != nil {
		c.later(known...)
		return fmt.Errorf("fleet: clear: %d of the %d entries found are left on the server: %w", failures, len(keys), err)
	}
	return nil
}

// keys returns the keys of entries that start with prefix, on all nodes that
// answer, and the first error of the others.
func (s *server) keys(ctx context.Context, prefix string) ([]string, error) {
	if strings.Trim(prefix, keyDigits) != "" {
		return nil, nil // no key starts like this
	}
	if err := s.circuit.enter(s.clock.Now()); err != nil {
		return nil, err
	}
	c := s.connected()
	if c == nil {
		return nil, s.unconnected()
	}
	found := map[string]struct{}{}
	var first error
	for _, node := range c.Nodes() {
		first = cmp.Or(first, s.scan(ctx, node, prefix, found))
	}
	return slices.Collect(maps.Keys(found)), first
}

// scan adds the keys on one node to found.
func (s *server) scan(ctx context.Context, node valkey.Client, prefix string, found map[string]struct{}) error {
	for cursor := uint64(0); ; {
		limited, cancel := context.WithTimeout(ctx, s.timeout)
		page, err := node.Do(limited, node.B().Scan().Cursor(cursor).Match(s.prefix+"{"+prefix+"*}").Count(1000).Build()).AsScanEntry()
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return lost(err)
		}
		for _, name := range page.Elements {
			if key := strings.TrimSuffix(strings.TrimPrefix(name, s.prefix+"{"), "}"); isKey(key) {
				found[key] = struct{}{}
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}
