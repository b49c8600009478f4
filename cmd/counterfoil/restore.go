package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/backupfile"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
)

func (p *program) restoreCommand() *cobra.Command {
	k := &keeper{program: p}
	var keepTokens, check bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database, while no server runs",
		Long: `Put the database of a backup in the place of the present one, which is kept beside
it. No server and no other command may have it open. - is standard input. A
backup that is not whole, was changed, is of a newer program or needs another
master key is refused; until the last step, the present database stays.

What happened after the backup was made is lost: changes of clients and keys, and
the audit record of that time. They are listed where the present database can
still be read. Revocations are among them, so all tokens that were issued until
now are revoked, and every client requests a new one; with --keep-tokens they stay
valid, also those that were revoked since. The restore is recorded.`,
		Example: `  counterfoil restore /srv/backup/counterfoil.backup --serve-config /etc/counterfoil/serve.yaml
  counterfoil restore --check /srv/backup/counterfoil.backup
  age -d -i backup.key counterfoil.backup.age | counterfoil restore - --serve-config serve.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case check && args[0] == "-":
				return usagef("--check reads a file: name it")
			case check:
				return k.check(cmd.Context(), args[0])
			}
			return k.restore(cmd.Context(), args[0], keepTokens)
		},
	}
	cmd.Flags().BoolVar(
		&keepTokens, "keep-tokens", false, "revoke no tokens: those that were revoked after the backup was made are accepted again",
	)
	cmd.Flags().BoolVar(&check, "check", false, "read the whole backup and say what it is, and change nothing")
	k.flags(cmd)
	return cmd
}

// check reads a whole backup.
func (k *keeper) check(ctx context.Context, file string) error {
	found, err := k.find(ctx, nil)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := opened(f, file, found.keys)
	if err != nil {
		return err
	}
	return k.print(m, func(w io.Writer) {
		fmt.Fprintf(w, "%s is whole: a backup of %s with %d audit records, made by counterfoil %s\n",
			oneLine(file), m.Made.Format(time.RFC3339), m.Records, oneLine(m.Program))
	})
}

// opened reads a whole backup and refuses one that this program cannot use.
func opened(f *os.File, file string, keys []*seal.Key) (m backupfile.Manifest, err error) {
	info, err := f.Stat()
	if err == nil {
		m, err = backupfile.Open(f, info.Size(), keys)
	}
	if err == nil && m.Schema > sqlite.Migrations() {
		err = fmt.Errorf("its schema has version %d and this program knows versions up to %d: use counterfoil %s, which made it, or a newer one",
			m.Schema, sqlite.Migrations(), m.Program)
	}
	if err != nil {
		return m, withHint(fmt.Errorf("%s: %w", file, err), "nothing was changed")
	}
	return m, nil
}

// maxChanges bounds the changes that 'restore' lists.
const maxChanges = 200

// undone are the types of events that a restore undoes, beside tokens.
var undone = []string{
	counterfoil.EventClientCreated, counterfoil.EventClientRotated, counterfoil.EventClientDisabled, counterfoil.EventClientEnabled,
	counterfoil.EventClientDeleted, counterfoil.EventClientChanged, counterfoil.EventClientImported, counterfoil.EventSecretEnded,
	counterfoil.EventSecretLeaked, counterfoil.EventTokenRevoked, counterfoil.EventTokensRevoked, counterfoil.EventKeyCreated, counterfoil.EventKeyRemoved,
	counterfoil.EventKeysResealed,
}

// replaysFor is how long an assertion that was used may be accepted again when
// that is forgotten.
const replaysFor = time.Hour + time.Minute

// restored is what 'restore' says.
type restored struct {
	Database string              `json:"database"`
	Backup   backupfile.Manifest `json:"backup"`
	At       time.Time           `json:"restored"`
	// Kept is where the database is that was in its place; empty when there was none.
	Kept string `json:"kept,omitempty"`
	// TokensBefore: all tokens dated before it are revoked; zero when they are kept.
	TokensBefore time.Time `json:"tokens_revoked_before,omitzero"`
	// ReplaysUntil is until when an assertion could be used a second time.
	ReplaysUntil time.Time `json:"replays_until"`
	lost
}

// lost is what the present database has and the backup has not.
type lost struct {
	// LostUpTo is the last record that is lost; 0 when that is not known.
	LostUpTo int64 `json:"lost_up_to,omitempty"`
	// Changes are the first of those that are lost; More is how many others are.
	Changes []store.RecordedEvent `json:"changes,omitempty"`
	More    int                   `json:"more_changes,omitempty"`
	// Unread is why the present database could not be read.
	Unread string `json:"unread,omitempty"`
}

func (k *keeper) restore(ctx context.Context, file string, keepTokens bool) error {
	found, err := k.find(ctx, nil)
	if err != nil {
		return err
	}
	if k.serveConfig == "" {
		unlock, err := dataDir(k.dir).lock()
		if err != nil {
			return err
		}
		defer unlock()
	}
	if err := sqlite.InUse(found.database); err != nil {
		return withHint(fmt.Errorf("the database %s: %w", found.database, err), "nothing was changed")
	}
	copied := found.database + ".restoring"
	m, err := k.spool(ctx, file, copied, &found)
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(remove(copied), beside(copied)) }()
	r := restored{Database: found.database, Backup: m, At: k.clock.Now().UTC()}
	r.ReplaysUntil = r.At.Add(replaysFor).Truncate(time.Second)
	if !keepTokens {
		r.TokensBefore = sqlite.EndOfTokens(r.At)
	}
	checkpoint, err := k.settle(ctx, copied, &found, &r)
	if err != nil {
		return withHint(err, "nothing was changed")
	}
	if r.Kept, err = k.exchange(ctx, copied, checkpoint, &found, r.At); err != nil {
		return err
	}
	return k.print(r, func(w io.Writer) { k.tell(w, &r) })
}

// spool copies a backup beside the database and unpacks it.
func (k *keeper) spool(ctx context.Context, file, to string, found *kept) (m backupfile.Manifest, err error) {
	in := io.NopCloser(k.In)
	if file != "-" {
		if in, err = os.Open(file); err != nil {
			return m, err
		}
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return m, withHint(
			fmt.Errorf("%s is there: another 'restore' is under way, or one was killed", to), "when none is under way, remove the file and repeat",
		)
	}
	if err != nil {
		return m, err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			_ = remove(to)
		}
	}()
	// SQLite would take the log of one that was killed for that of this file.
	if err := beside(to); err != nil {
		return m, err
	}
	like, err := os.Stat(found.database)
	if err != nil {
		like, err = os.Stat(filepath.Dir(found.database))
	}
	if err == nil {
		err = files.Adopt(out, like)
	}
	if err == nil {
		_, err = io.Copy(out, reader{ctx, in})
	}
	if err != nil {
		return m, withHint(fmt.Errorf("copy the backup: %w", err), "nothing was changed")
	}
	if m, err = opened(out, file, found.keys); err != nil {
		return m, err
	}
	if err = out.Truncate(m.Size); err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = sqlite.Unpack(ctx, to)
	}
	return m, err
}

// beside removes what SQLite has left beside a file.
func beside(file string) error {
	return errors.Join(remove(file+"-wal"), remove(file+"-shm"), remove(file+"-journal"))
}

// reader ends with a context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// settle makes an unpacked copy one that can take the place of the present
// database: it forgets no more than it must, and says in its audit log what that
// is. It returns the checkpoint with that record.
func (k *keeper) settle(ctx context.Context, copied string, found *kept, r *restored) (checkpoint string, err error) {
	db, err := sqlite.Open(ctx, copied)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	state, err := db.Log(ctx)
	if err != nil {
		return "", err
	}
	r.lost = lostIn(ctx, found.database, state)
	sealer, err := signing.NewSealer(found.master, found.previous)
	if err != nil {
		return "", err
	}
	key, err := signing.LogKey(ctx, db, k.clock, sealer)
	if err != nil {
		return "", err
	}
	log, err := audit.New(ctx, audit.Config{Store: db, Clock: k.clock, Logger: slog.New(slog.DiscardHandler), Key: key})
	if err != nil {
		return "", err
	}
	e := counterfoil.Event{
		Type: counterfoil.EventDatabaseRestored, Time: r.At, Success: true, Actor: actor(),
		Detail: log.RestoreDetail(audit.Restore{Kept: state.Recorded, Lost: r.LostUpTo, Made: r.Backup.Made}),
	}
	if err := db.Restored(ctx, e, r.TokensBefore); err != nil {
		return "", err
	}
	if err := log.Extend(ctx); err != nil {
		return "", err
	}
	state, err = db.Log(ctx)
	return state.Checkpoint.Note, err
}

// lostIn returns what the database at path has since another state of its log.
func lostIn(ctx context.Context, path string, since store.LogState) (l lost) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		l.Unread = "there was none"
		return l
	}
	old, err := sqlite.OpenReadOnly(ctx, path)
	if err != nil {
		l.Unread = err.Error()
		return l
	}
	defer old.Close()
	was, err := old.Log(ctx)
	if err == nil && was.ID != since.ID {
		err = errors.New("it is not the one that the backup was made of")
	}
	after := since.Recorded
	for page := make([]store.RecordedEvent, 1); err == nil && len(page) > 0; {
		if page, err = old.Events(ctx, after, auditPage); err != nil {
			break
		}
		for i := range page {
			after = page[i].Sequence
			switch {
			case !slices.Contains(undone, page[i].Type):
			case len(l.Changes) == maxChanges:
				l.More++
			default:
				page[i].Commitment, page[i].Opening = store.Commitment{}, nil
				l.Changes = append(l.Changes, page[i])
			}
		}
	}
	if err != nil {
		l.Unread = err.Error()
	}
	if after > since.Recorded {
		l.LostUpTo = after
	}
	return l
}

// exchange puts the copy in place. The checkpoint is given away before: a server
// refuses to go on with a log that is shorter than the one that it gave away.
func (k *keeper) exchange(ctx context.Context, copied, checkpoint string, found *kept, at time.Time) (keep string, err error) {
	name := found.database + ".before-restore-" + at.Format("20060102T150405Z")
	keep = name
	for n := 2; ; n++ { // of several in one second
		if _, err := os.Lstat(keep); err != nil {
			break
		}
		keep = fmt.Sprintf("%s-%d", name, n)
	}
	before, read := []byte(nil), errors.New("no checkpoint file")
	if found.checkpoint != "" {
		before, read = os.ReadFile(found.checkpoint)
		if err := files.Write(found.checkpoint, []byte(checkpoint), 0o644); err != nil {
			return "", withHint(fmt.Errorf("audit.checkpoint_file: %w", err), "nothing was changed")
		}
	}
	there, err := sqlite.Exchange(ctx, copied, found.database, keep)
	if err != nil {
		if read == nil {
			err = errors.Join(err, files.Write(found.checkpoint, before, 0o644))
		}
		return "", withHint(fmt.Errorf("the database %s: %w", found.database, err), "the database is as it was")
	}
	if !there {
		return "", nil
	}
	return keep, nil
}

// tell says what was restored and what is forgotten.
func (k *keeper) tell(w io.Writer, r *restored) {
	made := r.Backup.Made.Format(time.RFC3339)
	fmt.Fprintf(w, "restored    %s from the backup of %s, which has the audit records up to %d\n", oneLine(r.Database), made, r.Backup.Records)
	if r.Kept != "" {
		fmt.Fprintf(w, "kept        %s is the database as it was: remove it when it is not needed any more\n", oneLine(r.Kept))
	}
	if r.TokensBefore.IsZero() {
		fmt.Fprintf(w, "tokens      kept: those that were revoked after %s are accepted again until they expire\n", made)
		fmt.Fprintln(w, "            'counterfoil key rotate REALM --compromised' ends all tokens of a realm")
	} else {
		fmt.Fprintf(w, "tokens      revoked: all that are dated before %s\n", r.TokensBefore.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "assertions  of clients with a key that were used after %s are accepted once more, until %s at the latest\n",
		made, r.ReplaysUntil.Format(time.RFC3339))
	switch {
	case r.Unread != "":
		fmt.Fprintf(w, "lost        all changes after %s: they cannot be listed, as the old database cannot be read: %s\n",
			made, oneLine(r.Unread))
	case r.LostUpTo == 0:
		fmt.Fprintln(w, "lost        nothing: the old database had no later record")
	default:
		fmt.Fprintf(w, "lost        the audit records %d to %d, and with them %d changes\n",
			r.Backup.Records+1, r.LostUpTo, len(r.Changes)+r.More)
	}
	if len(r.Changes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nMake these changes again where they still matter, first those of client.secret_leaked, client.rotated, "+
		"client.secret_ended and client.disabled:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tEVENT\tREALM\tCLIENT ID\tDETAIL")
	for i := range r.Changes {
		e := &r.Changes[i]
		fmt.Fprintf(
			t, "%s\t%s\t%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Type, oneLine(e.Realm), oneLine(e.ClientID), oneLine(e.Detail),
		)
	}
	t.Flush()
	if r.More > 0 {
		fmt.Fprintf(w, "and %d more\n", r.More)
	}
}
