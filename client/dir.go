package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/gofrs/flock"
)

// Dir returns a cache in the directory path, for the processes of one user on
// one machine. It makes the directory, and refuses one that other users can
// look into or that is not the user's own.
//
// Each token is a JSON file that only the user can read; a file that others can
// read is refused, never used. A file is replaced in one step, so a process
// that is killed at any moment leaves the old token or the new one; a file
// that is damaged all the same counts as empty. Each key has a lock file that
// the operating system unlocks when its holder ends.
func Dir(path string) (Cache, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("client: make cache directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("client: look at cache directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("client: the cache %s is no directory", path)
	}
	if err := private(info); err != nil {
		return nil, fmt.Errorf("client: cache directory %s: %w: run chmod 700 on it, or name another", path, err)
	}
	return dir(path), nil
}

type dir string

const (
	// maxCacheFile bounds a file of the cache, in bytes.
	maxCacheFile = 2 * maxResponse
	// lockPoll is how often a lock that another holds is asked for.
	lockPoll = 10 * time.Millisecond
)

// stored is a token in a file; counterfoil.Token redacts itself.
type stored struct {
	AccessToken string             `json:"access_token"`
	TokenType   string             `json:"token_type"`
	Scopes      counterfoil.Scopes `json:"scopes,omitempty"`
	Issued      time.Time          `json:"issued"`
	Expires     time.Time          `json:"expires"`
}

// file returns the path of the file of key that ends in ext.
func (d dir) file(key, ext string) (string, error) {
	if key == "" || len(key) > 160 || strings.Trim(key, "0123456789abcdef-") != "" {
		return "", errors.New("client: the key of a cache entry must be hexadecimal digits and hyphens")
	}
	return filepath.Join(string(d), key+ext), nil
}

func (d dir) Load(_ context.Context, key string) (counterfoil.Token, bool, error) {
	name, err := d.file(key, ".json")
	if err != nil {
		return counterfoil.Token{}, false, err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return counterfoil.Token{}, false, nil
	}
	if err != nil {
		return counterfoil.Token{}, false, fmt.Errorf("client: read cached token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = private(info)
	}
	if err != nil {
		return counterfoil.Token{}, false, fmt.Errorf("client: cached token %s: %w: remove the file, and rotate the secret if strangers use this machine", name, err)
	}
	var st stored
	text, err := io.ReadAll(io.LimitReader(f, maxCacheFile))
	if err != nil || json.Unmarshal(text, &st) != nil || st.AccessToken == "" {
		return counterfoil.Token{}, false, nil // damaged: as if there were none
	}
	return counterfoil.Token{Value: counterfoil.Secret(st.AccessToken), Type: st.TokenType, Scopes: st.Scopes, Issued: st.Issued, Expires: st.Expires}, true, nil
}

func (d dir) Renew(ctx context.Context, key string, r Renewal) (counterfoil.Token, error) {
	if current, ok, err := d.Load(ctx, key); err == nil && ok && r.Accept(current) {
		return current, nil
	}
	unlock, err := d.lock(ctx, key)
	if err != nil {
		return counterfoil.Token{}, err
	}
	defer unlock()
	current, _, err := d.Load(ctx, key)
	if err != nil {
		return counterfoil.Token{}, err
	}
	if r.Accept(current) {
		return current, nil
	}
	t, err := r.Fetch(ctx)
	if err != nil {
		return t, err
	}
	return t, d.write(key, t)
}

// Changes returns a counter that stands still: nobody tells of changed files.
func (d dir) Changes(string) *atomic.Uint64 { return new(atomic.Uint64) }

// write replaces the file of key; the caller holds its lock.
func (d dir) write(key string, t counterfoil.Token) error {
	text, err := json.Marshal(stored{t.Value.Reveal(), t.Type, t.Scopes, t.Issued, t.Expires})
	if err != nil {
		return err
	}
	name, _ := d.file(key, ".json")
	temp, _ := d.file(key, ".tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // a killed process may have left one
		return fmt.Errorf("client: store token: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("client: store token: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("client: store token: %w", err)
	}
	return nil
}

func (d dir) Drop(ctx context.Context, key string, rejected counterfoil.Token) error {
	unlock, err := d.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	t, ok, err := d.Load(ctx, key)
	if err != nil || !ok || t.Value != rejected.Value {
		return err
	}
	return d.remove(key)
}

func (d dir) Clear(ctx context.Context, prefix string) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("client: clear cache: %w", err)
	}
	for _, e := range entries {
		key, isLock := strings.CutSuffix(e.Name(), ".lock") // every token has had one
		if !isLock || !strings.HasPrefix(key, prefix) {
			continue
		}
		unlock, err := d.lock(ctx, key)
		if err != nil {
			return err
		}
		err = d.remove(key)
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// remove removes what may hold the token of key; the caller holds its lock.
func (d dir) remove(key string) error {
	for _, ext := range []string{".json", ".tmp"} {
		name, err := d.file(key, ext)
		if err != nil {
			return err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("client: remove cached token: %w", err)
		}
	}
	return nil
}

// lock waits for the lock of key, no longer than ctx, and returns what unlocks
// it. Lock files stay: removing one would let two holders in.
func (d dir) lock(ctx context.Context, key string) (unlock func(), err error) {
	name, err := d.file(key, ".lock")
	if err != nil {
		return nil, err
	}
	l := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	// A wait inside the operating system could not be left, so it is asked again
	// and again.
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("client: lock cached token: %w", err)
	}
	return func() { _ = l.Close() }, nil
}
