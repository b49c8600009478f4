// Package health tells whether a server of 'up' or 'serve' can do its work, in one
// word for each thing that it needs: to strangers only whether it can, and to
// operators the rest.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Good is the word for a check that succeeds.
const Good = "good"

// patience is how long a check may take.
const patience = 2 * time.Second

// Check asks for one thing.
type Check struct {
	// Name is what the server needs, as in "database".
	Name string
	// Word is what a failure is called: one word.
	Word string
	// Every is how long an answer is reused: requests are anonymous, and a check
	// costs something.
	Every time.Duration
	// Ask returns nil if the server has what it needs. The error says what is wrong
	// and what to do, without secrets. It must return soon after ctx ends.
	Ask func(ctx context.Context) error
}

// Result is the result of a check.
type Result struct {
	Check string `json:"check"`
	// Status is Good or the check's Word.
	Status string `json:"status"`
	// Detail says what is wrong.
	Detail string `json:"detail,omitempty"`
}

// Good reports whether the check succeeded.
func (r *Result) Good() bool { return r.Status == Good }

// Health asks all checks. It is safe for concurrent use.
type Health struct {
	clock  counterfoil.Clock
	checks []asked
}

// asked is a check with its last result.
type asked struct {
	Check

	mu   sync.Mutex
	at   time.Time
	last Result
}

// New returns the Health of these checks.
func New(c counterfoil.Clock, checks ...Check) *Health {
	h := &Health{clock: c, checks: make([]asked, len(checks))}
	for i := range checks {
		h.checks[i].Check = checks[i]
	}
	return h
}

// Ask returns the results of all checks, in their order, none older than the check
// allows. All who ask at once share one result.
func (h *Health) Ask() []Result {
	results := make([]Result, len(h.checks))
	var all sync.WaitGroup
	for i := range h.checks {
		all.Go(func() { results[i] = h.checks[i].result(h.clock) })
	}
	all.Wait()
	return results
}

func (a *asked) result(c counterfoil.Clock) Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since := c.Now().Sub(a.at); !a.at.IsZero() && since >= 0 && since < a.Every {
		return a.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.last = Result{Check: a.Name, Status: Good}
	if err := a.Check.Ask(ctx); err != nil {
		a.last.Status, a.last.Detail = a.Word, err.Error()
	}
	a.at = c.Now()
	return a.last
}

// answer is the body of an answer.
type answer struct {
	Status string   `json:"status"`
	Checks []Result `json:"checks,omitempty"`
}

// Ready answers 200 if all checks succeed, and 503 otherwise, with all results only
// if that is asked for.
func (h *Health) Ready(results bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answer{Status: Good, Checks: h.Ask()}
		for i := range a.Checks {
			if !a.Checks[i].Good() {
				a.Status = "unavailable"
			}
		}
		if !results {
			a.Checks = nil
		}
		write(w, r, a)
	})
}

// Live answers 200 while the process runs.
func Live(w http.ResponseWriter, r *http.Request) { write(w, r, answer{Status: Good}) }

// Handler serves path/live, path/ready and, as the latter, path, and anything else
// with next.
func (h *Health) Handler(path string, results bool, next http.Handler) http.Handler {
	ready := h.Ready(results)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case path + "/live":
			Live(w, r)
		case path, path + "/ready":
			ready.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func write(w http.ResponseWriter, r *http.Request, a answer) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings only
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if a.Status != Good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n'))
}
