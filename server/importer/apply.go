package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/spool"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Outcome is the outcome of a row.
type Outcome string

// The outcomes.
const (
	OutcomeCreated   Outcome = "created"
	OutcomeUnchanged Outcome = "unchanged" // the realm already has the same client
	OutcomeReplaced  Outcome = "replaced"
	OutcomeSkipped   Outcome = "skipped"  // not a machine client
	OutcomeConflict  Outcome = "conflict" // the realm has another client of that ID
	OutcomeRefused   Outcome = "refused"
	OutcomeNotDone   Outcome = "not done" // an earlier error stopped the import
)

// Options configure Apply.
type Options struct {
	// Realm is the target.
	Realm string
	// Format and Actor are for the record.
	Format, Actor string
	// Now is the time at which the expiry of secrets is checked; zero for the
	// system's.
	Now time.Time
	// DryRun changes nothing: the report has the outcome that each row would
	// have.
	DryRun bool
	// Replace lets a row replace the settings, state and secrets of an existing
	// client of its ID. Otherwise that is a conflict.
	Replace bool
	// Partial imports the valid rows even when others are refused or in
	// conflict. Otherwise one such row prevents the whole import.
	Partial bool
	// LiteralSecrets accepts secrets that look like placeholders of a template.
	// Otherwise such a row is refused.
	LiteralSecrets bool
	// CapLifetime reduces token lifetimes that are longer than the realm's to
	// the realm's. Otherwise such a row is refused.
	CapLifetime bool
	// Progress, when set, is called after each row, one call at a time. It must
	// return soon.
	Progress func(Progress)
}

// Progress is the progress of Apply.
type Progress struct {
	// Writing is false while rows are checked, true while they are imported.
	Writing bool
	// Rows is the number of finished rows; Of is the number to import, 0 while
	// they are checked.
	Rows, Of int
	// Part is how much of the file was checked, from 0 to 1; 0 while rows are
	// imported.
	Part float64
}

// atOnce is how many rows are checked, and clients written, together, so that
// a database can write them in one transaction. windowSize bounds their size,
// in bytes of the file.
const (
	atOnce     = 512
	windowSize = 4 << 20
)

// keptSecrets is how many secrets of a client are accepted at once.
const keptSecrets = 2

// job is a row that is being imported.
type job struct {
	row              *Row
	result           Result
	client           clients.NewClient
	secrets, apiKeys []Secret
	version          int64 // of the client that it replaces
}

// planned is the planned outcome of a row.
type planned struct {
	Result
	// Version is the version of the client that it replaces.
	Version int64
}

// application is one Apply.
type application struct {
	Options
	clients *clients.Service
	rules   clients.Rules
	file    *File
	plans   spool.List[planned]
	counts  map[Outcome]int
	report  *Report
	// hashing limits the concurrent slow hashes, because each takes memory.
	hashing chan struct{}

	mu sync.Mutex // held to call Progress
	at Progress
}

// Apply imports a file into a realm. It checks all rows first, also against
// the clients of the realm; then, unless a row is refused, it creates the
// clients. When it is interrupted, or returns an error, the report, if it is
// not nil, says how far it came, and importing the same file again completes
// it. The caller closes the report.
func Apply(ctx context.Context, clients *clients.Service, f *File, o Options) (*Report, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	rules, err := clients.Rules(o.Realm)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	a := &application{
		Options: o, clients: clients, rules: rules, file: f, counts: map[Outcome]int{},
		report: &Report{counts: map[Outcome]int{}}, hashing: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	defer a.plans.Close()
	if err := a.look(ctx); err != nil {
		return nil, err
	}
	err = a.act(ctx)
	return a.report, err
}

// look decides the outcome of each row.
func (a *application) look(ctx context.Context) error {
	ids := newIdentities()
	return a.file.windows(func(rows []*Row) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("import: %w", err)
		}
		jobs := make([]*job, len(rows))
		for i, row := range rows {
			jobs[i] = a.plan(row, ids)
		}
		if err := a.compareAll(ctx, jobs); err != nil {
			return err
		}
		for _, j := range jobs {
			a.counts[j.result.Outcome]++
			if err := a.plans.Append(planned{j.result, j.version}); err != nil {
				return fmt.Errorf("import: %w", err)
			}
		}
		return nil
	})
}

// act executes the decisions of look, or only reports them.
func (a *application) act(ctx context.Context) error {
	next, stop := iter.Pull2(a.plans.All())
	defer stop()
	bad := a.counts[OutcomeRefused] + a.counts[OutcomeConflict]
	var failed error
	if a.report.Applied = !a.DryRun && (a.Partial || bad == 0); a.report.Applied {
		a.at = Progress{Writing: true, Of: a.counts[OutcomeCreated] + a.counts[OutcomeReplaced]}
		failed = a.file.windows(func(rows []*Row) error { return a.write(ctx, rows, next) })
	}
	// The rest is reported as planned, or as not done.
	for p, err, more := next(); more; p, err, more = next() {
		if err != nil {
			return errors.Join(failed, fmt.Errorf("import: %w", err))
		}
		if failed != nil && p.due() {
			p.Outcome, p.Detail = OutcomeNotDone, ""
		}
		if err := a.report.add(p.Result); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

func (p *planned) due() bool { return p.Outcome == OutcomeCreated || p.Outcome == OutcomeReplaced }

// write creates and replaces the clients of some rows.
func (a *application) write(ctx context.Context, rows []*Row, next func() (planned, error, bool)) error {
	jobs := make([]*job, len(rows))
	errs := make([]error, len(rows))
	var wg sync.WaitGroup
	for i, row := range rows {
		p, err, more := next()
		if err != nil || !more || p.Place != row.Place {
			wg.Wait()
			return errors.Join(errors.New("import: the stored rows of the file cannot be read again"), err)
		}
		j := &job{row: row, result: p.Result}
		if jobs[i] = j; p.due() {
			j = a.plan(row, nil)
			j.result, j.version = p.Result, p.Version
			jobs[i] = j
			wg.Go(func() {
				errs[i] = a.keep(ctx, j)
				a.done()
			})
		}
	}
	wg.Wait()
	var failed error
	for i, j := range jobs {
		if errs[i] != nil {
			j.result.Outcome, j.result.Detail = OutcomeNotDone, ""
			if failed == nil {
				failed = fmt.Errorf("import: %s: %w: import the file again to finish", j.row.Place, errs[i])
			}
		}
		if err := a.report.add(j.result); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// done reports one more finished row.
func (a *application) done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at.Rows++
	if a.Progress != nil {
		a.Progress(a.at)
	}
}

// plan checks a row by itself; its outcome stays open where it depends on the
// realm's clients.
func (a *application) plan(row *Row, ids *identities) *job {
	j := &job{row: row, client: row.Client}
	j.result = Result{Place: row.Place, ClientID: event.Clean(row.Client.ID, event.MaxClientID), Notes: slices.Clone(row.Notes)}
	j.client.Realm, j.client.ImportedFrom = a.Realm, a.Format
	if row.Err == nil && row.Skip != "" {
		j.result.Outcome, j.result.Detail = OutcomeSkipped, row.Skip
	} else if err := a.check(j, ids); err != nil {
		j.result.Outcome, j.result.Detail = OutcomeRefused, err.Error()
	}
	return j
}

// compareAll decides the open outcomes, in parallel, because a secret in the
// clear may have to be verified against a slow hash.
func (a *application) compareAll(ctx context.Context, jobs []*job) error {
	work := make(chan *job)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for j := range work {
				if errs[i] == nil && j.result.Outcome == "" {
					if err := cmp.Or(ctx.Err(), a.compare(ctx, j)); err != nil {
						errs[i] = fmt.Errorf("import: %s: %w", j.row.Place, err)
					}
				}
				a.done()
			}
		})
	}
	a.mu.Lock()
	a.at.Part = a.file.part()
	a.mu.Unlock()
	for _, j := range jobs {
		work <- j
	}
	close(work)
	wg.Wait()
	return cmp.Or(errs...)
}

// compare decides the outcome of a row from the realm's client.
func (a *application) compare(ctx context.Context, j *job) error {
	there, err := a.clients.Get(ctx, a.Realm, j.client.ID)
	if errors.Is(err, store.ErrNotFound) {
		j.result.Outcome = OutcomeCreated
		a.noteScopes(j)
		return nil
	}
	if err != nil {
		return err
	}
	j.version = there.Version
	other := clients.Changes(&there.Settings, &j.client.Settings)
	if there.Disabled != j.client.Disabled {
		other = strings.TrimPrefix(other+fmt.Sprintf("; disabled: %v", j.client.Disabled), "; ")
	}
	if !same(there.Secrets, j.secrets) {
		other = strings.TrimPrefix(other+"; other secrets", "; ")
	}
	if !same(there.APIKeys, j.apiKeys) {
		other = strings.TrimPrefix(other+"; other API keys", "; ")
	}
	switch {
	case other == "":
		j.result.Outcome = OutcomeUnchanged
	case a.Replace:
		j.result.Outcome, j.result.Detail = OutcomeReplaced, other
		a.noteScopes(j)
	default:
		j.result.Outcome, j.result.Detail = OutcomeConflict, "the realm has a client of this id, and the file says otherwise: "+other
	}
	return nil
}

// noteScopes notes that a client is allowed no scopes, and the scopes of the
// realm.
func (a *application) noteScopes(j *job) {
	if len(j.client.Scopes) > 0 {
		return
	}
	if known := a.rules.Provider.ScopeNames(); len(known) > 0 {
		j.note("it is allowed no scopes: the realm's scopes are %s", known)
	} else {
		j.note("it is allowed no scopes")
	}
}

// same reports whether the hashes are those of the secrets.
func same(hashes []store.SecretHash, secrets []Secret) bool {
	return slices.EqualFunc(hashes, secrets, func(h store.SecretHash, s Secret) bool {
		if !h.Expires.Equal(s.Ends) {
			return false
		}
		if s.Plain == "" {
			return h.Value == s.Hash.String()
		}
		parsed, err := sechash.Parse(h.Value)
		return err == nil && parsed.Verify(s.Plain)
	})
}

// keep writes one client to the realm.
func (a *application) keep(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.hashing <- struct{}{}
	j.client.Secrets, j.client.APIKeys = hashed(j.secrets), hashed(j.apiKeys)
	<-a.hashing
	var err error
	if j.result.Outcome == OutcomeReplaced {
		_, err = a.clients.Replace(ctx, a.Actor, j.client, j.version)
	} else {
		_, _, err = a.clients.Create(ctx, a.Actor, j.client)
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		// The client was changed between the check and the write.
		again := &application{Options: a.Options, clients: a.clients, rules: a.rules}
		again.Replace = false
		if err := again.compare(ctx, j); err != nil {
			return err
		}
		if j.result.Outcome == OutcomeCreated {
			j.result.Outcome, j.result.Detail = OutcomeConflict, "it was deleted in the meantime"
		}
		return nil
	}
	return err
}

// hashed returns the hashes of secrets.
func hashed(secrets []Secret) []store.SecretHash {
	var hashes []store.SecretHash
	for _, s := range secrets {
		h := store.SecretHash{Value: s.Hash.String(), Created: s.Created, Expires: s.Ends}
		if s.Plain != "" {
			h.Value = sechash.FromPlain(s.Plain).String()
		}
		hashes = append(hashes, h)
	}
	return hashes
}
