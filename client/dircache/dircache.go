// Package dircache is a client.Cache in a directory, for the processes of one
// user on one machine, consecutive or concurrent.
//
// Whenever it uses the directory it refuses one that other users can read or that
// is not the user's own: the path may change. Each token is a JSON file that only
// the user can read; a file that others can read is refused, never used. A file
// is replaced in one step, so if a process is killed or a machine loses power,
// the file holds the old token or the new one, and the new one once it was
// stored. A damaged file counts as empty, and so does a token with impossible
// times: obtained later than now by the machine's clock, expired before it was
// obtained, or with a lifetime over 30 days. Each key has a lock file that the
// operating system unlocks when its holder ends. Storing a token removes some of
// the files of keys whose tokens have expired.
package dircache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
)

// Open returns the cache in the directory path, which it makes. A relative path
// is resolved against the current working directory.
func Open(path string) (client.Cache, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	d := dir(path)
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	return d, root.Close()
}

// dir is the absolute path.
type dir string

const (
	// maxFile bounds a file of the cache, in bytes: twice a token response.
	maxFile = 128 << 10
	// maxLifetime is the longest that a Source lets a token live.
	maxLifetime = 30 * 24 * time.Hour
	// lockPoll is how often a lock that another process holds is tried.
	lockPoll = 10 * time.Millisecond
	// maxAhead is how far in the future a token may have been obtained:
	// processors of one machine need not agree.
	maxAhead = 2 * time.Second
	// sweepNames and sweepKeys bound what storing a token examines beside its
	// own files. Storing adds at most one key, so examining as many keeps
	// expired ones fewer than live ones.
	sweepNames = 4096
	sweepKeys  = 16
)

// open opens the directory, makes it if it is missing, and checks it. Everything
// done through the result is done in that directory, wherever the path leads
// meanwhile.
func (d dir) open() (*os.Root, error) {
	if err := files.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	if info, err := os.Lstat(string(d)); err != nil || !info.IsDir() {
		return nil, errors.Join(fmt.Errorf("the cache %s is not a directory", d), err)
	}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fmt.Errorf("open cache directory: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = private(info)
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("cache directory %s: %w: run chmod 700 on it, or name another", d, err)
	}
	return root, nil
}

// stored is a token in a file; counterfoil.Token redacts itself.
type stored struct {
	AccessToken string             `json:"access_token"`
	TokenType   string             `json:"token_type"`
	Scopes      counterfoil.Scopes `json:"scopes,omitempty"`
	Issued      time.Time          `json:"issued"`
	Expires     time.Time          `json:"expires"`
}

// token returns the token that st holds, unless its values are impossible.
func (st *stored) token() (counterfoil.Token, bool) {
	if st.AccessToken == "" || !st.Issued.Before(st.Expires) || st.Expires.Sub(st.Issued) > maxLifetime ||
		st.Issued.After(clock.System.Now().Add(maxAhead)) {
		return counterfoil.Token{}, false
	}
	return counterfoil.Token{
		Value:   counterfoil.Secret(st.AccessToken),
		Type:    st.TokenType,
		Scopes:  st.Scopes,
		Issued:  st.Issued,
		Expires: st.Expires,
	}, true
}

// checkKey refuses a key that could be a path.
func checkKey(key string) error {
	if key == "" || len(key) > 160 || strings.Trim(key, "0123456789abcdef-") != "" {
		return errors.New("the key of a cache entry must be hexadecimal digits and hyphens")
	}
	return nil
}

func (d dir) Load(_ context.Context, key string) (counterfoil.Token, bool, error) {
	if err := checkKey(key); err != nil {
		return counterfoil.Token{}, false, err
	}
	root, err := d.open()
	if err != nil {
		return counterfoil.Token{}, false, err
	}
	defer root.Close()
	return loadFile(root, key)
}

// loadFile returns the token of key, and whether there is one.
func loadFile(root *os.Root, key string) (counterfoil.Token, bool, error) {
	var none counterfoil.Token
	f, err := root.Open(key + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return none, false, nil
	}
	if err != nil {
		return none, false, fmt.Errorf("read cached token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = private(info)
	}
	if err != nil {
		return none, false, fmt.Errorf(
			"cached token %s: %w: remove the file, and rotate the secret if others use this machine",
			filepath.Join(root.Name(), key+".json"), err,
		)
	}
	var st stored
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil || json.Unmarshal(text, &st) != nil {
		return none, false, nil // damaged: treated as missing
	}
	t, ok := st.token()
	return t, ok, nil
}

func (d dir) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	if current, ok, err := d.Load(ctx, key); err == nil && ok && r.Accept(current) {
		return current, nil
	}
	l, err := d.lock(ctx, key)
	if _, away := errors.AsType[*fs.PathError](err); away { // the disk is full or gone; the file is not readable by others
		err = fmt.Errorf("%w: %w", client.ErrCacheLost, err)
	}
	if err != nil {
		return counterfoil.Token{}, err
	}
	defer l.unlock()
	current, _, err := loadFile(l.root, key)
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
	if err := l.write(t); err != nil {
		return t, err
	}
	d.sweep(l, t.Issued)
	return t, nil
}

// Changes returns a counter that never increases: changes of files are not
// reported.
func (d dir) Changes(string) *atomic.Uint64 { return new(atomic.Uint64) }

func (d dir) Drop(ctx context.Context, key string, rejected counterfoil.Token) error {
	l, err := d.lock(ctx, key)
	if err != nil {
		return err
	}
	defer l.unlock()
	t, ok, err := loadFile(l.root, key)
	if err != nil || !ok || t.Value != rejected.Value {
		return err
	}
	return l.remove()
}

func (d dir) Clear(ctx context.Context, prefix string) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	keys, err := keysIn(root, -1)
	if err != nil {
		return fmt.Errorf("clear cache: %w", err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		l, err := d.lock(ctx, key)
		if err != nil {
			return err
		}
		err = l.remove()
		l.unlock()
		if err != nil {
			return err
		}
	}
	if err := syncEntries(root); err != nil {
		return fmt.Errorf("clear cache: %w", err)
	}
	return nil
}

// keysIn returns the keys that have files, in no order, from at most n files; -1
// for all.
func keysIn(root *os.Root, n int) ([]string, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	seen := map[string]bool{}
	for _, name := range names {
		if key, ext, _ := strings.Cut(name, "."); checkKey(key) == nil && (ext == "json" || ext == "tmp" || ext == "lock") {
			seen[key] = true
		}
	}
	return slices.Collect(maps.Keys(seen)), nil
}

// sweep removes the files of some keys whose tokens have expired, or that have
// none, and that nobody holds. Its errors are ignored: it tries again when the
// next token is stored.
func (d dir) sweep(own *locked, now time.Time) {
	keys, _ := keysIn(own.root, sweepNames)
	// A map is iterated in no order, so all keys get their turn.
	for i, key := range keys {
		if i == sweepKeys {
			return
		}
		if t, ok, err := loadFile(own.root, key); key == own.key || err != nil || ok && now.Before(t.Expires) {
			continue
		}
		l, err := d.tryLock(key)
		if l == nil || err != nil {
			continue
		}
		if t, ok, err := loadFile(l.root, key); err == nil && (!ok || !now.Before(t.Expires)) && l.remove() == nil {
			_ = l.root.Remove(key + ".lock")
		}
		l.unlock()
	}
}
