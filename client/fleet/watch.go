package fleet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// condition is what OnState was told last.
type condition struct {
	mu   sync.Mutex
	lost bool
	text string
}

// turned records that the server was lost by a command at key, or found. A
// server that is found may have lost its data, also one node of a cluster, whose
// restart is not noticed otherwise.
func (c *Cache) turned(err error, key string) {
	c.tell()
	if err == nil {
		c.later(c.entries.list("")...)
		return
	}
	select {
	case c.lost <- key:
	default: // it is being looked for already
	}
}

// noted records the state of what the server has under the key of e.
func (c *Cache) noted(e *entry, trouble error) {
	if e.met(trouble) {
		c.tell()
	}
}

// tell calls OnState with the current state, if that differs from the last one.
// Calls are sequential, so that the last is the current state.
func (c *Cache) tell() {
	c.told.mu.Lock()
	defer c.told.mu.Unlock()
	err, text := c.server.circuit.lost(), ""
	lost := err != nil
	if !lost {
		if err = c.entries.trouble(); err != nil {
			text = err.Error()
		}
	}
	if lost == c.told.lost && (lost || text == c.told.text) || c.ctx.Err() != nil {
		return
	}
	c.told.lost, c.told.text = lost, text
	if c.cfg.OnState != nil {
		c.cfg.OnState(err)
	}
}

// find tries a lost server until it is found, even if there are no callers,
// until Close.
func (c *Cache) find() {
	for {
		var key string
		select {
		case key = <-c.lost:
		case <-c.ctx.Done():
			return
		}
		for pause := minPause; c.server.circuit.lost() != nil; pause = min(2*pause, maxPause) {
			if c.cfg.Clock.Sleep(c.ctx, pause/2+rand.N(pause)) != nil {
				return
			}
			if key == "" { // the connection that listens was lost: any entry says whether commands work
				if all := c.entries.list(""); len(all) > 0 {
					key = all[0].key
				}
			}
			if key != "" && c.server.circuit.lost() != nil {
				_, _ = c.server.try(c.ctx, probe, key)
			}
		}
	}
}

// compare compares everything from time to time, until Close: notifications may
// be lost, and evictions are not notified.
func (c *Cache) compare() {
	for c.cfg.Clock.Sleep(c.ctx, comparison/2+rand.N(comparison)) == nil {
		all := c.entries.list("")
		for _, e := range all {
			e.lookAgain()
		}
		c.later(all...)
	}
}

// comparison is the average time until everything is compared again.
const comparison = time.Minute
