package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/sechash"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
)

// Outcome is what becomes of a row.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Unchanged Outcome = "unchanged" // the realm has the same client already
	Replaced  Outcome = "replaced"
	Skipped   Outcome = "skipped"  // no client for machines
	Conflict  Outcome = "conflict" // the realm has another client of that ID
	Refused   Outcome = "refused"
	NotDone   Outcome = "not done" // an error came before
)

// Options say what Apply does.
type Options struct {
	// Realm, its Provider and its Tenants, none for any, are where the clients
	// go.
	Realm    string
	Provider *provider.Provider
	Tenants  []string
	// Format and Actor are for the record.
	Format, Actor string
	// Now is the time by which secrets have expired; zero for the system's.
	Now time.Time
	// DryRun changes nothing: the report says what would become of each row.
	DryRun bool
	// Replace lets a row take the place of another client of its ID: settings,
	// state and secrets. Otherwise that is a conflict.
	Replace bool
	// Partial imports the good rows even when others are refused or in
	// conflict. Otherwise one such row keeps all from being imported.
	Partial bool
}

// Report tells what became of a file, or would.
type Report struct {
	// Applied tells whether anything was to be changed: false after a dry run,
	// and when rows that cannot be taken kept the others out.
	Applied bool
	// Rows are those of the file, in its order.
	Rows []Result
}

// Result is what became of a row, or would.
type Result struct {
	Place    string
	ClientID string
	Outcome  Outcome
	// Detail says why, or what is other in the realm.
	Detail string
	Notes  []string
}

// Count returns how many rows have an outcome.
func (r *Report) Count(o Outcome) int {
	n := 0
	for i := range r.Rows {
		if r.Rows[i].Outcome == o {
			n++
		}
	}
	return n
}

// atOnce is how many clients are written together: a database that writes them
// in one go is asked for as many.
const atOnce = 64

// keptSecrets is how many secrets of a client are accepted at once.
const keptSecrets = 2

// job is a row on its way into the realm.
type job struct {
	row              *Row
	result           *Result
	client           server.NewClient
	secrets, apiKeys []Secret
	version          int64 // of the client that it replaces
}

// Apply imports rows into a realm. It looks at all of them first, also at the
// clients that the realm has; then, unless that found a row that cannot be
// taken, it creates them. When it is interrupted, or returns an error, the
// report tells how far it came, and importing the same file again finishes the
// work.
func Apply(ctx context.Context, clients *server.Clients, rows []Row, o Options) (Report, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	report := Report{Rows: make([]Result, len(rows))}
	jobs := make([]*job, len(rows))
	seen := map[string]string{}
	for i := range rows {
		jobs[i] = o.plan(&rows[i], &report.Rows[i], seen)
	}
	if err := o.compareAll(ctx, clients, jobs); err != nil {
		return report, err
	}
	if o.DryRun || !o.Partial && report.Count(Refused)+report.Count(Conflict) > 0 {
		return report, nil
	}
	report.Applied = true
	return report, o.run(ctx, clients, jobs)
}

// plan looks at a row by itself; its outcome is left open where the realm's
// clients decide it.
func (o *Options) plan(row *Row, result *Result, seen map[string]string) *job {
	*result = Result{Place: row.Place, ClientID: event.Clean(row.Client.ID, event.MaxClientID), Notes: slices.Clone(row.Notes)}
	j := &job{row: row, result: result, client: row.Client}
	j.client.Realm, j.client.ImportedFrom = o.Realm, o.Format
	if row.Err == nil && row.Skip != "" {
		result.Outcome, result.Detail = Skipped, row.Skip
	} else if err := o.check(j, seen); err != nil {
		result.Outcome, result.Detail = Refused, err.Error()
	}
	return j
}

// compareAll decides what is open: as many at once as there are processors,
// because a secret in the clear may have to be verified against a slow hash.
func (o *Options) compareAll(ctx context.Context, clients *server.Clients, jobs []*job) error {
	work := make(chan *job)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for j := range work {
				if errs[i] != nil {
					continue
				}
				if err := cmp.Or(ctx.Err(), o.compare(ctx, clients, j)); err != nil {
					errs[i] = fmt.Errorf("import: %s: %w", j.row.Place, err)
				}
			}
		})
	}
	for _, j := range jobs {
		if j.result.Outcome == "" {
			work <- j
		}
	}
	close(work)
	wg.Wait()
	return cmp.Or(errs...)
}

// check says why a row cannot be taken, without a look at the realm's clients.
func (o *Options) check(j *job, seen map[string]string) error {
	n, limits := &j.client, o.Provider.TokenEndpoint.Limits
	switch {
	case j.row.Err != nil:
		return j.row.Err
	case n.ID == "":
		return errors.New("it has no client id")
	case len(n.ID) > limits.ClientID:
		return fmt.Errorf("its client id is longer than the realm's limit of %d bytes", limits.ClientID)
	case seen[n.ID] != "":
		return fmt.Errorf("%s has the same client id", seen[n.ID])
	}
	seen[n.ID] = j.row.Place
	if err := server.CheckSettings(o.Provider, o.Tenants, &n.Settings); err != nil {
		return err
	}
	var err error
	if j.secrets, err = o.choose(j, "secret", j.row.Secrets); err != nil {
		return err
	}
	if j.apiKeys, err = o.choose(j, "API key", j.row.APIKeys); err != nil {
		return err
	}
	a := &n.Authentication
	if len(j.secrets) == 0 && !n.WithoutSecret {
		if a.KeySet == "" && a.KeySetURL == "" {
			return errors.New("all of its secrets have expired")
		}
		n.WithoutSecret = true
	}
	return n.Check()
}

// choose returns the newest secrets that have not expired, and notes the others.
func (o *Options) choose(j *job, what string, all []Secret) ([]Secret, error) {
	var chosen []Secret
	for i, s := range all {
		switch {
		case !s.Ends.IsZero() && !s.Ends.After(o.Now):
			j.note("left out %s %d, counted from the newest: it has expired", what, i+1)
		case len(chosen) == keptSecrets:
			j.note("left out %s %d, counted from the newest: %d at once are accepted", what, i+1, keptSecrets)
		default:
			if err := sendable(s.Plain, o.Provider.TokenEndpoint.Limits.ClientSecret); err != nil {
				return nil, fmt.Errorf("its %s %w", what, err)
			}
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

func (j *job) note(format string, args ...any) {
	j.result.Notes = append(j.result.Notes, fmt.Sprintf(format, args...))
}

// sendable reports why a token request could not carry a secret.
func sendable(s counterfoil.Secret, most int) error {
	v := s.Reveal()
	switch {
	case len(v) > most:
		return fmt.Errorf("is longer than the realm's limit of %d bytes: raise limits.client_secret in its description", most)
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		return errors.New("has characters that a token request cannot carry")
	}
	return nil
}

// compare says what the realm makes of a row.
func (o *Options) compare(ctx context.Context, clients *server.Clients, j *job) error {
	there, err := clients.Get(ctx, o.Realm, j.client.ID)
	if errors.Is(err, server.ErrNotFound) {
		j.result.Outcome = Created
		return nil
	}
	if err != nil {
		return err
	}
	j.version = there.Version
	other := there.Settings.Changes(&j.client.Settings)
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
		j.result.Outcome = Unchanged
	case o.Replace:
		j.result.Outcome, j.result.Detail = Replaced, other
	default:
		j.result.Outcome, j.result.Detail = Conflict, "the realm has a client of this id, and the file says otherwise: "+other
	}
	return nil
}

// same reports whether the hashes are those of the secrets.
func same(hashes []server.Hash, secrets []Secret) bool {
	return slices.EqualFunc(hashes, secrets, func(h server.Hash, s Secret) bool {
		if !h.Ends.Equal(s.Ends) {
			return false
		}
		if s.Plain == "" {
			return h.Value == s.Hash.String()
		}
		parsed, err := sechash.Parse(h.Value)
		return err == nil && parsed.Verify(s.Plain)
	})
}

// run creates and replaces what was planned, a batch at a time.
func (o *Options) run(ctx context.Context, clients *server.Clients, jobs []*job) error {
	due := slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.result.Outcome != Created && j.result.Outcome != Replaced })
	hashing := make(chan struct{}, runtime.GOMAXPROCS(0)) // as many as can, because it takes memory
	for i := 0; i < len(due); i += atOnce {
		batch := due[i:min(i+atOnce, len(due))]
		errs := make([]error, len(batch))
		var wg sync.WaitGroup
		for i, j := range batch {
			wg.Go(func() { errs[i] = o.keep(ctx, clients, j, hashing) })
		}
		wg.Wait()
		failed := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		if failed < 0 {
			continue
		}
		for i, err := range errs {
			if err != nil {
				batch[i].result.Outcome, batch[i].result.Detail = NotDone, ""
			}
		}
		for _, j := range due[i+len(batch):] {
			j.result.Outcome, j.result.Detail = NotDone, ""
		}
		return fmt.Errorf("import: %s: %w: import the file again to finish", batch[failed].row.Place, errs[failed])
	}
	return nil
}

// keep brings one client into the realm.
func (o *Options) keep(ctx context.Context, clients *server.Clients, j *job, hashing chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hashing <- struct{}{}
	j.client.Secrets, j.client.APIKeys = hashed(j.secrets), hashed(j.apiKeys)
	<-hashing
	var err error
	if j.result.Outcome == Replaced {
		_, err = clients.Replace(ctx, o.Actor, j.client, j.version)
	} else {
		_, _, err = clients.Create(ctx, o.Actor, j.client)
	}
	if errors.Is(err, server.ErrExists) || errors.Is(err, server.ErrConflict) || errors.Is(err, server.ErrNotFound) {
		// Someone was here between the look and the write.
		again := *o
		again.Replace = false
		if err := again.compare(ctx, clients, j); err != nil {
			return err
		}
		if j.result.Outcome == Created {
			j.result.Outcome, j.result.Detail = Conflict, "it was deleted in the meantime"
		}
		return nil
	}
	return err
}

// hashed returns what is kept of secrets.
func hashed(secrets []Secret) []server.Hash {
	var hashes []server.Hash
	for _, s := range secrets {
		h := server.Hash{Value: s.Hash.String(), Created: s.Created, Ends: s.Ends}
		if s.Plain != "" {
			h.Value = sechash.FromPlain(s.Plain).String()
		}
		hashes = append(hashes, h)
	}
	return hashes
}
