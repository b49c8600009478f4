package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// defaultDir is the default data directory of 'up'.
const defaultDir = "./counterfoil-data"

// missionProviders are the realms that every data directory has.
var missionProviders = []string{"ahotu", "altrata", "engagifii", "a55"}

// dataDir is a directory of 'up':
//
//	counterfoil.db         clients, keys, audit record, the APIs' rows
//	master.key             what the signing keys in the database are sealed under
//	tls/                   development certificate, and the authority that signed it
//	env/PROVIDER.env       settings of the development client, with its secrets
//	providers/*.yaml       further providers, or *.yml, one realm each; yours to fill
//	consumer.yaml          client configuration with a connection for each
//	tokens/                cache of the tokens that the command line got
type dataDir string

func (d dataDir) database() string           { return filepath.Join(string(d), "counterfoil.db") }
func (d dataDir) tls() string                { return filepath.Join(string(d), "tls") }
func (d dataDir) env(provider string) string { return filepath.Join(string(d), "env", provider+".env") }
func (d dataDir) keyFile() string            { return filepath.Join(string(d), "master.key") }
func (d dataDir) consumer() string           { return filepath.Join(string(d), "consumer.yaml") }

// masterKey returns the directory's master key, and makes it if it is missing.
func (d dataDir) masterKey() (counterfoil.Secret, error) {
	path := d.keyFile()
	text, err := readBounded(path)
	key := counterfoil.Secret(strings.TrimSpace(string(text)))
	if errors.Is(err, fs.ErrNotExist) {
		key = seal.NewKey()
		return key, files.Write(path, []byte(key.Reveal()+"\n"), 0o600)
	}
	if err == nil {
		_, err = seal.ParseKey(key)
	}
	if err != nil {
		err = withHint(
			fmt.Errorf("master key %s: %w", path, err),
			"restore a copy of the file, or move %s away and start again: new clients, keys and data are made", d,
		)
	}
	return key, err
}

// keyed refuses a directory whose master key is lost while its database has keys
// sealed under it, before anything is written.
func (d dataDir) keyed(ctx context.Context) error {
	if _, err := os.Stat(d.keyFile()); !errors.Is(err, fs.ErrNotExist) {
		return nil // reading it reports what is wrong
	}
	if _, err := os.Stat(d.database()); err != nil {
		return nil
	}
	stored, err := sqlite.Inspect(ctx, d.database())
	if err != nil {
		return nil // opening it reports what is wrong
	}
	for _, k := range stored.Keys {
		if _, sealed := seal.Sealed([]byte(k.Private.Reveal())); sealed {
			return withHint(
				fmt.Errorf("the master key %s is lost: the file is missing, and the keys in the database are sealed under it", d.keyFile()),
				"restore a copy of the file, or move %s away and start again: new clients, keys and data are made",
				d,
			)
		}
	}
	return nil
}

// uses are the files of the directory whose modes matter.
func (d dataDir) uses() []files.Use {
	uses := []files.Use{
		{Path: string(d)}, {Path: d.keyFile(), Secret: true}, {Path: d.consumer()},
		{Path: d.tls()}, {Path: filepath.Join(d.tls(), "server.pem"), Secret: true}, {Path: filepath.Join(d.tls(), "ca.pem")},
	}
	secrets, _ := filepath.Glob(filepath.Join(string(d), "env", "*.env"))
	for _, file := range secrets {
		uses = append(uses, files.Use{Path: file, Secret: true})
	}
	for _, file := range d.descriptions() {
		uses = append(uses, files.Use{Path: file})
	}
	return uses
}

// create makes the directory and its subdirectories, for this user only.
func (d dataDir) create() error {
	for _, sub := range []string{"", "env", "providers", "tls"} {
		dir := filepath.Join(string(d), sub)
		if err := files.MkdirAllFor(dir, 0o700); err != nil {
			return withHint(fmt.Errorf("make the data directory: %w", err), "name a directory that you may write to with --dir")
		}
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o002 != 0 {
			return withHint(
				fmt.Errorf("others may write to the data directory %s (mode %o)", dir, mode),
				"check its content, then run chmod 700 on it",
			)
		}
	}
	probe, err := os.CreateTemp(string(d), ".probe.*")
	if err != nil {
		return withHint(fmt.Errorf("write to the data directory: %w", err), "name a directory that you may write to with --dir")
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// providers returns the providers of the directory's realms: the four of the
// catalog, then those of its providers folder by file name.
func (d dataDir) providers() ([]*provider.Provider, error) {
	sources := slices.Clone(missionProviders)
	own := d.descriptions()
	var all []*provider.Provider
	seen := map[string]string{}
	for _, source := range append(sources, own...) {
		p, err := openProvider(source)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[p.Name]; twice {
			return nil, withHint(
				fmt.Errorf("%s and %s both describe a provider called %q", other, source, p.Name),
				"give one of them another name",
			)
		}
		seen[p.Name] = source
		all = append(all, p)
	}
	return all, nil
}

// descriptions are the files of further providers, by name.
func (d dataDir) descriptions() []string {
	entries, _ := os.ReadDir(filepath.Join(string(d), "providers")) // if it cannot be read, making a file there has failed
	var all []string
	for _, e := range entries {
		if isDescription(e.Name()) {
			all = append(all, filepath.Join(string(d), "providers", e.Name()))
		}
	}
	return all
}

func isDescription(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml")
}

// passedOver reports the files of the providers folder whose names are not those
// of descriptions.
func (d dataDir) passedOver() []string {
	entries, _ := os.ReadDir(filepath.Join(string(d), "providers"))
	var doubts []string
	for _, e := range entries {
		if name := e.Name(); !isDescription(name) && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~") {
			doubts = append(
				doubts,
				fmt.Sprintf("%s is not read: the name of a description ends in .yaml or .yml", filepath.Join(string(d), "providers", name)),
			)
		}
	}
	return doubts
}

// open opens the directory's database for a command that works with or without a
// running 'up'.
func (d dataDir) open(ctx context.Context) (*sqlite.Store, error) { return d.openWith(ctx, toWrite) }

func (d dataDir) openWith(ctx context.Context, open opener) (*sqlite.Store, error) {
	if _, err := os.Stat(d.database()); errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("%s has no database", d), "run 'counterfoil up' first, or name its directory with --dir")
	}
	return d.storeWith(ctx, open)
}

func (d dataDir) store(ctx context.Context) (*sqlite.Store, error) { return d.storeWith(ctx, toWrite) }

func (d dataDir) storeWith(ctx context.Context, open opener) (*sqlite.Store, error) {
	afresh := fmt.Sprintf("restore a copy of the file, or move %s away and start again: new clients, keys and data are made", d)
	// The client configuration is written last: with it, there was a database.
	_, err := os.Stat(d.consumer())
	if used := err == nil; used {
		if info, err := os.Stat(d.database()); errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0) {
			return nil, withHint(
				fmt.Errorf("the database %s is lost: the file is missing or empty, and the directory was in use", d.database()),
				"%s", afresh,
			)
		}
	}
	store, err := open.open(ctx, d.database())
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, withHint(err, "make the file readable and writable for this user, or name another directory with --dir")
	case errors.Is(err, sqlite.ErrIndex):
		return nil, err // it says what to do, and the data is intact
	case err != nil:
		return nil, withHint(err, "%s", afresh)
	}
	return store, nil
}

// The bounds of files, in bytes: of keys and certificates, and of settings.
const (
	maxKeys   = 1 << 20
	maxConfig = 1 << 20
)

// readBounded reads a file of keys or certificates.
func readBounded(file string) ([]byte, error) { return files.Read(file, maxKeys) }
