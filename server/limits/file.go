package limits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server/alerts"
)

const (
	// maxFile bounds the file, in bytes: all that is kept, with the longest client
	// IDs.
	maxFile = 256 << 20
	// saveEvery is how long a change waits to be written, and saveLater how long
	// the renewal of a known client does.
	saveEvery = 2 * time.Second
	saveLater = 10 * time.Minute
	// writing is at most one part in this many of the time.
	writingPart = 10
)

// file says what of a Limiter is not written yet.
type file struct {
	soon, later atomic.Bool

	mu   sync.Mutex
	last time.Time     // of the last write
	took time.Duration // by it
}

// changed notes a change; urgent is one that matters within minutes.
func (f *file) changed(urgent bool) {
	if urgent {
		f.soon.Store(true)
	} else {
		f.later.Store(true)
	}
}

// kept is the content of the file.
type kept struct {
	// Saved is when it was written.
	Saved time.Time `json:"saved"`
	// Waits are those in force, Known the clients that are known somewhere.
	Waits []keptWait   `json:"waits"`
	Known []keptClient `json:"known"`
}

type keptWait struct {
	keptKey
	Until    time.Time `json:"until"`
	Forgiven time.Time `json:"forgiven"`
}

type keptClient struct {
	keptKey
	Until time.Time `json:"until"`
}

type keptKey struct {
	Realm    string       `json:"realm,omitempty"`
	ClientID string       `json:"client_id,omitempty"`
	Prefix   netip.Prefix `json:"prefix"`
}

func (k keptKey) key() Key { return Key(k) }

// readFile reads a file; one that does not exist is empty.
func readFile(path string) (kept, error) {
	var k kept
	text, err := files.Read(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return kept{}, fmt.Errorf("read the state of limits: %w", err)
	}
	return k, nil
}

// load takes over what the file has. Nothing lasts longer than it can from now
// on, whatever the clocks said.
func (l *Limiter) load() error {
	k, err := readFile(l.config.File)
	if err != nil {
		return err
	}
	wall, now := l.clock.Now().Round(0), l.tick()
	ahead := func(t time.Time, most time.Duration) int64 { return now + int64(min(t.Sub(wall), most)) }
	for _, w := range k.Waits {
		if !w.Until.After(wall) || !w.Prefix.IsValid() {
			continue
		}
		store := l.prefixes
		if w.ClientID != "" || w.Realm != "" {
			store = l.pairs
		}
		store.Update(w.key(), func(failures) failures {
			return failures{forgiven: ahead(w.Forgiven, maxForgiven), until: ahead(w.Until, l.config.Guesses.Block)}
		})
	}
	for _, c := range k.Known {
		if c.Until.After(wall) && c.Prefix.IsValid() {
			l.known.Update(c.key(), func(known) known { return known(ahead(c.Until, l.config.Guesses.KnownFor)) })
		}
	}
	return nil
}

// maxForgiven is when the last failure is forgiven at the latest.
const maxForgiven = 24 * time.Hour

// save writes the file.
func (l *Limiter) save() error {
	l.file.mu.Lock()
	defer l.file.mu.Unlock()
	l.file.soon.Store(false)
	l.file.later.Store(false)
	begun := l.clock.Now()
	wall, now := begun.Round(0), l.tick()
	at := func(tick int64) time.Time { return wall.Add(time.Duration(tick - now)).UTC() }
	k := kept{Saved: wall.UTC(), Waits: []keptWait{}, Known: []keptClient{}}
	for _, store := range []Store[failures]{l.prefixes, l.pairs} {
		store.Each(func(key Key, f failures) {
			if f.until > now {
				k.Waits = append(k.Waits, keptWait{keptKey(key), at(f.until), at(f.forgiven)})
			}
		})
	}
	l.known.Each(func(key Key, until known) {
		if int64(until) > now {
			k.Known = append(k.Known, keptClient{keptKey(key), at(int64(until))})
		}
	})
	text, err := json.Marshal(k)
	if err == nil {
		err = files.Write(l.config.File, append(text, '\n'), 0o600)
	}
	l.file.last = l.clock.Now()
	l.file.took = l.file.last.Sub(begun)
	if err != nil {
		l.file.soon.Store(true)
		return fmt.Errorf("write the state of limits: %w", err)
	}
	return nil
}

// due reports whether it is time to write the file.
func (l *Limiter) due() bool {
	l.file.mu.Lock()
	defer l.file.mu.Unlock()
	since := l.clock.Now().Sub(l.file.last)
	return l.file.soon.Load() && since >= max(saveEvery, writingPart*l.file.took) || l.file.later.Load() && since >= saveLater
}

// MaintainEvery is how often Maintain should be called.
const MaintainEvery = time.Second

// Maintain lifts what operators have asked to lift with File.Lift, and writes
// the file if it is time. Failures are logged.
func (l *Limiter) Maintain(ctx context.Context) {
	if l.config.File == "" {
		return
	}
	err := l.takeLifts()
	if err == nil && l.due() {
		err = l.save()
	}
	if err != nil && ctx.Err() == nil {
		l.failed.Warn(ctx, l.clock, l.log, "limits are not kept over a restart", alerts.Trouble(alerts.KindStore), "error", err)
	}
}

// Close writes the file if something has changed.
func (l *Limiter) Close() error {
	if l.config.File == "" || !l.file.soon.Load() && !l.file.later.Load() {
		return nil
	}
	return l.save()
}

// lifted is the suffix of a file with a Lift, before what makes it unique.
const lifted = ".lift-"

// liftFiles returns the files with lifts that no server has taken.
func liftFiles(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+lifted) {
			all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return all, nil
}

// readLift reads a file with a Lift.
func readLift(path string) (Lift, error) {
	var lift Lift
	text, err := files.Read(path, 64<<10)
	if err == nil {
		err = json.Unmarshal(text, &lift)
	}
	return lift, err
}

// takeLifts does what is asked in the files beside the state, writes the state
// and removes them.
func (l *Limiter) takeLifts() error {
	found, err := liftFiles(l.config.File)
	if err != nil || len(found) == 0 {
		return err
	}
	var problems []error
	for _, path := range found {
		lift, err := readLift(path)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		l.lift(lift)
	}
	if err := l.save(); err != nil {
		return err
	}
	for _, path := range found {
		problems = append(problems, os.Remove(path))
	}
	return errors.Join(problems...)
}

// Lift asks the server, or the next one, to lift blocks, and waits a few seconds
// until one does: done says so.
func (f File) Lift(ctx context.Context, lift Lift) (done bool, err error) {
	text, err := json.Marshal(lift)
	if err != nil {
		return false, err
	}
	by := f.clock()
	own := f.Path + lifted + fmt.Sprint(by.Now().UnixNano(), "-", os.Getpid())
	if err := files.Write(own, text, 0o600); err != nil {
		return false, err
	}
	const every = MaintainEvery / 10
	for range 3 * MaintainEvery / every {
		if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err := by.Sleep(ctx, every); err != nil {
			return false, err
		}
	}
	return false, nil
}
