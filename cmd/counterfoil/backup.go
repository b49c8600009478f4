package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/backupfile"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// keeper is the shared part of 'backup' and 'restore', which work on the
// database's file and so on its machine.
type keeper struct {
	*program
	dir, serveConfig string
}

func (k *keeper) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.dir, "dir", defaultDir, "data directory of 'up'")
	f.StringVar(&k.serveConfig, "serve-config", "", "configuration of 'serve': work on its database")
	cmd.MarkFlagsMutuallyExclusive("dir", "serve-config")
	completeFlags(cmd)
}

// kept is a database and what is kept apart from it.
type kept struct {
	database string
	// master and previous are the master keys; keys are all of them, the first is
	// the present one.
	master   counterfoil.Secret
	previous []counterfoil.Secret
	keys     []*seal.Key
	// checkpoint is the file that checkpoints are written to; empty for none.
	checkpoint string
}

// find finds the database that the flags name, which need not exist. With look, the
// master keys of a configuration must be those of the database.
func (k *keeper) find(ctx context.Context, look inspector) (found kept, err error) {
	if k.serveConfig != "" {
		config, err := serveConfig(ctx, k.serveConfig, k.getenv, look)
		if err != nil {
			return found, err
		}
		if config.Postgres {
			return found, withHint(
				fmt.Errorf("the database of %s is not a file", k.serveConfig),
				"use PostgreSQL's own backups, as docs/postgres.md says",
			)
		}
		found = kept{
			database: config.Database, master: config.Server.MasterKey, previous: config.Server.PreviousMasterKeys,
			checkpoint: config.Audit.CheckpointFile,
		}
	} else {
		dir := dataDir(k.dir)
		found.database = dir.database()
		if _, err := os.Stat(dir.keyFile()); errors.Is(err, fs.ErrNotExist) {
			return found, withHint(
				fmt.Errorf("%s has no master key: the file %s is missing", dir, dir.keyFile()),
				"put a copy of the file there, or name another directory with --dir",
			)
		}
		if found.master, err = dir.masterKey(); err != nil {
			return found, err
		}
	}
	for _, text := range append([]counterfoil.Secret{found.master}, found.previous...) {
		key, err := seal.ParseKey(text)
		if err != nil {
			return found, err
		}
		found.keys = append(found.keys, key)
	}
	// What takes its place stands beside the file itself.
	if real, err := filepath.EvalSymlinks(found.database); err == nil {
		found.database = real
	}
	return found, nil
}

func (p *program) backupCommand() *cobra.Command {
	k := &keeper{program: p}
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy the database into a file, while the server runs",
		Long: `Copy one state of the database into FILE, that of the moment at which it begins,
whether or not a server runs. Requests are not held up. - is standard output, for
a pipe to a program that encrypts or stores it.

FILE is complete or not there; one that has an earlier backup is replaced. It has
clients, hashes of secrets, sealed keys and the audit record, but not the master
key, without which it cannot be restored: keep that one elsewhere. Of a data
directory, it has the database only.`,
		Example: `  counterfoil backup /srv/backup/counterfoil.backup --serve-config /etc/counterfoil/serve.yaml
  counterfoil backup - --serve-config serve.yaml | age -r age1… > counterfoil.backup.age`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return k.backup(cmd.Context(), args[0]) },
	}
	k.flags(cmd)
	return cmd
}

func (k *keeper) backup(ctx context.Context, file string) error {
	found, err := k.find(ctx, toRead.look)
	if err != nil {
		return err
	}
	if _, err := os.Stat(found.database); err != nil {
		return withHint(fmt.Errorf("the database: %w", err), "name another one with --dir or --serve-config")
	}
	if file == "-" {
		return k.backupToOutput(ctx, &found)
	}
	if err := replaceable(file); err != nil {
		return err
	}
	prefix := "." + filepath.Base(file) + "."
	k.removeLeft(filepath.Dir(file), prefix)
	tmp, m, err := k.copyOf(ctx, &found, filepath.Dir(file), prefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	// Root makes it for the owner of the directory, who may have to replace it.
	dir, err := os.Stat(filepath.Dir(file))
	if err == nil {
		err = files.Adopt(tmp, dir)
	}
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	if err := files.SyncDir(filepath.Dir(file)); err != nil {
		return err
	}
	return k.print(m, func(w io.Writer) {
		fmt.Fprintf(w, "%s has the database %s with %d audit records: %d bytes\n", oneLine(file), oneLine(found.database), m.Records, m.Size)
		fmt.Fprintf(w, "to restore it, the master key %s is needed, which is not in it: keep that one elsewhere\n", m.MasterKey)
	})
}

// leftFor is for how long nothing was written into a file that a killed backup has
// left.
const leftFor = time.Hour

// removeLeft removes what killed backups of that name have left: they would fill
// the disk in the end.
func (k *keeper) removeLeft(dir, prefix string) {
	all, _ := os.ReadDir(dir)
	for _, e := range all {
		number, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || strings.Trim(strings.TrimSuffix(number, "-journal"), "0123456789") != "" {
			continue
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && k.clock.Now().Sub(info.ModTime()) > leftFor {
			_ = os.Remove(filepath.Join(dir, e.Name())) // one that cannot be removed is no reason to make no backup
		}
	}
}

// copyOf makes a backup under a name of its own in a directory.
func (k *keeper) copyOf(ctx context.Context, found *kept, dir, pattern string) (tmp *os.File, m *backupfile.Manifest, err error) {
	if tmp, err = os.CreateTemp(dir, pattern); err != nil {
		return nil, nil, withHint(err, "name a file in a directory that exists and that you may write to")
	}
	m = &backupfile.Manifest{Made: k.clock.Now().UTC(), Program: buildVersion()}
	var c sqlite.Contents
	if c, err = sqlite.Backup(ctx, found.database, tmp.Name()); err == nil {
		m.Schema, m.Records, m.Checkpoint = c.Schema, c.Records, c.Checkpoint
		err = backupfile.Finish(tmp, m, found.keys[0])
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = errors.Join(tmp.Close(), os.Remove(tmp.Name()), remove(tmp.Name()+"-journal"))
		return nil, nil, err
	}
	return tmp, m, nil
}

// backupToOutput makes the backup in a temporary file first: a slow reader must
// not make the server's log grow.
func (k *keeper) backupToOutput(ctx context.Context, found *kept) error {
	if out, ok := k.Out.(*checkedWriter); ok {
		if f, ok := out.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("a backup is not for a terminal: redirect the output, or name a file")
		}
	}
	tmp, _, err := k.copyOf(ctx, found, "", "counterfoil-backup-*")
	if err != nil {
		return err
	}
	defer tmp.Close()
	if err := os.Remove(tmp.Name()); err != nil {
		return err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(k.Out, tmp)
	return err
}

// replaceable refuses to write over what is no backup.
func replaceable(file string) error {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular():
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if backupfile.Is(f, info.Size()) {
			return nil
		}
	}
	return withHint(fmt.Errorf("%s is there, and is no backup", file), "name another file: only a backup is replaced")
}

// remove removes a file, if there is one.
func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
