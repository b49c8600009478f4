package admin

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/spool"
	"github.com/counterfoil/counterfoil/server/importer"
)

// Stage is the stage of an import.
type Stage string

// The stages. A local import reads, then writes; a remote one sends, then
// waits.
const (
	StageReading Stage = "reading"
	StageWriting Stage = "writing"
	StageSending Stage = "sending"
	StageWaiting Stage = "waiting"
)

// Progress is the progress of an import.
type Progress struct {
	Stage Stage
	// Done is how many rows were read or written, or bytes sent. Of is how many
	// there are to write; 0 when that is not known.
	Done, Of int64
	// Part is how much of the file was read, from 0 to 1.
	Part float64
}

// ImportClients creates the clients of a file.
func (l *Local) ImportClients(ctx context.Context, realm string, i Import) (Report, error) {
	if _, err := l.realm(realm); err != nil {
		return Report{}, err
	}
	if l.within != nil && l.within.Realm == realm {
		return Report{}, problem(ExceedsOwn, "clients of the realm of the Admin API itself are imported on the server's machine")
	}
	file, err := importer.Open(i.Format, i.File)
	if err != nil {
		return Report{}, unread(ctx, err)
	}
	defer file.Close()
	if err := file.FromRealm(i.FromRealm); err != nil {
		return Report{}, unread(ctx, err)
	}
	report, err := importer.Apply(ctx, l.clients, file, importer.Options{
		Realm: realm, Format: i.Format, Actor: l.Actor, Now: l.Clock.Now(),
		DryRun: i.DryRun, Replace: i.Replace, Partial: i.Partial, LiteralSecrets: i.LiteralSecrets, CapLifetime: i.CapLifetime,
		Progress: i.progress(),
	})
	if report == nil {
		return Report{}, unread(ctx, err)
	}
	if err != nil && !report.Applied {
		return Report{}, errors.Join(err, report.Close())
	}
	v := Report{Applied: report.Applied, Counts: map[string]int{}, close: report.Close}
	for _, o := range outcomes {
		if n := report.Count(o); n > 0 {
			v.Counts[string(o)] = n
		}
	}
	v.rows = func(yield func(Row, error) bool) {
		for r, err := range report.Rows() {
			if !yield(Row{r.Place, r.ClientID, string(r.Outcome), r.Detail, r.Notes}, err) {
				return
			}
		}
	}
	if err != nil {
		// What was imported stays: the caller must see the rows.
		v.Failed = event.Clean(err.Error(), 500)
	}
	return v, nil
}

var outcomes = []importer.Outcome{
	importer.OutcomeCreated, importer.OutcomeUnchanged, importer.OutcomeReplaced, importer.OutcomeSkipped,
	importer.OutcomeConflict, importer.OutcomeRefused, importer.OutcomeNotDone,
}

func (i *Import) progress() func(importer.Progress) {
	if i.Progress == nil {
		return nil
	}
	return func(p importer.Progress) {
		v := Progress{Stage: StageReading, Done: int64(p.Rows), Of: int64(p.Of), Part: p.Part}
		if p.Writing {
			v.Stage = StageWriting
		}
		i.Progress(v)
	}
}

// unread returns an error that the file causes as a problem.
func unread(ctx context.Context, err error) error {
	var over *http.MaxBytesError
	var wrong *importer.FileError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &over):
		return problem(tooLarge, "the file is larger than %d MiB: divide it, or import it on the server's machine", over.Limit>>20)
	case errors.As(err, &wrong):
		return problem(wrongValues, "%s", event.Clean(err.Error(), 500))
	}
	return err
}

// ImportClients creates the clients of a file.
func (r *Remote) ImportClients(ctx context.Context, realm string, i Import) (Report, error) {
	values := url.Values{"format": {i.Format}}
	for name, set := range i.flags() {
		if *set {
			values.Set(name, "true")
		}
	}
	if i.FromRealm != "" {
		values.Set("from_realm", i.FromRealm)
	}
	var v Report
	err := r.send(ctx, query{
		method: http.MethodPost, path: realmOf(realm, "imports"), values: values, media: "application/octet-stream", body: i.body(),
	}, func(answer io.Reader) (err error) {
		v, err = readReport(answer)
		return err
	})
	return v, err
}

// flags are the options of an import by their query parameters.
func (i *Import) flags() map[string]*bool {
	return map[string]*bool{
		"dry_run": &i.DryRun, "replace": &i.Replace, "partial": &i.Partial, "literal_secrets": &i.LiteralSecrets,
		"cap_lifetime": &i.CapLifetime,
	}
}

// body returns the file with its progress reported.
func (i *Import) body() io.Reader {
	if i.Progress == nil {
		return i.File
	}
	return &sent{r: i.File, tell: i.Progress}
}

type sent struct {
	r    io.Reader
	n    int64
	tell func(Progress)
}

func (s *sent) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	stage := StageSending
	if err != nil {
		stage = StageWaiting
	}
	s.tell(Progress{Stage: stage, Done: s.n})
	return n, err
}

// Report lists the outcomes of the rows of an import, or of a dry run. It is
// not safe for concurrent use.
type Report struct {
	// Applied is false after a dry run, and when nothing was imported because
	// rows were refused.
	Applied bool
	// Counts are how many rows have each outcome.
	Counts map[string]int
	// Failed is the error that interrupted the import; empty when it finished.
	// Importing the same file again completes it.
	Failed string

	rows  iter.Seq2[Row, error]
	close func() error
}

// Row is the outcome of a row.
type Row struct {
	Place    string   `json:"place"`
	ClientID string   `json:"client_id"`
	Outcome  string   `json:"outcome"`
	Detail   string   `json:"detail,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Len returns how many rows the file has.
func (r *Report) Len() int {
	n := 0
	for _, count := range r.Counts {
		n += count
	}
	return n
}

// Rows returns the rows of the file, in its order, up to an error. They are
// not in memory, and can be read repeatedly.
func (r *Report) Rows() iter.Seq2[Row, error] {
	if r.rows == nil {
		return func(func(Row, error) bool) {}
	}
	return r.rows
}

// Close releases the rows.
func (r *Report) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// kept is a list of reported rows.
type kept = spool.List[Row]
