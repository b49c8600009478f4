package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// Introspection asks an issuer whether tokens are still active (RFC 7662). A
// guard verifies each token itself; the issuer is asked about what the token
// cannot tell. One Introspection may serve several guards of one issuer; it must
// not be copied. It promises one request at a time for a token, a bounded number
// in all, and that a failure is never taken for an answer.
type Introspection struct {
	// URL is the issuer's introspection endpoint, the introspection_endpoint of
	// its metadata (RFC 8414 section 2); https only. Required.
	URL string
	// Client sends the requests and authenticates them: the transport adds the
	// guard's own credentials or token. Its CheckRedirect is not used: a redirect
	// is a failure. Required: no issuer answers strangers (RFC 7662 section 4).
	Client *http.Client
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// CacheFor is how long an answer is good for, from the moment at which it was
	// asked for; default 2 seconds. So long, and not longer, does a token serve
	// that has just been revoked.
	CacheFor time.Duration
	// CacheSize is how many answers are remembered at most; default 10,000.
	CacheSize int
	// AtOnce is how many requests are under way at most; default 32. More wait.
	AtOnce int
	// Timeout bounds a request together with its wait; default 5 seconds.
	Timeout time.Duration

	prepared sync.Once
	err      error
	*asker
}

// maxIntrospection bounds an answer, in bytes.
const maxIntrospection = 64 << 10

// asker is an Introspection at work.
type asker struct {
	url              string
	client           *http.Client
	clock            counterfoil.Clock
	cacheFor, within time.Duration
	answers          *bounded.Cache[[32]byte, verdict]
	flights          singleflight.Group
	slots            chan struct{}
}

// verdict is an answer, and how long it is good for.
type verdict struct {
	active bool
	until  time.Time
}

// prepare makes the Introspection ready, or says what it lacks.
func (i *Introspection) prepare() error {
	i.prepared.Do(func() { i.asker, i.err = newAsker(i) })
	return i.err
}

func newAsker(i *Introspection) (*asker, error) {
	u, err := url.Parse(i.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("Introspection.URL must be an https URL without credentials, such as https://auth.example.com/introspect")
	}
	if i.Client == nil {
		return nil, errors.New("Introspection.Client is missing: give one that authenticates the guard at the issuer")
	}
	if i.CacheFor < 0 || i.CacheSize < 0 || i.AtOnce < 0 || i.Timeout < 0 {
		return nil, errors.New("Introspection: CacheFor, CacheSize, AtOnce and Timeout must not be negative")
	}
	a := &asker{
		url: i.URL, client: withoutRedirects(i.Client), clock: i.Clock, cacheFor: i.CacheFor, within: i.Timeout,
	}
	if a.clock == nil {
		a.clock = clock.System
	}
	if a.cacheFor == 0 {
		a.cacheFor = 2 * time.Second
	}
	if a.within == 0 {
		a.within = 5 * time.Second
	}
	size, atOnce := i.CacheSize, i.AtOnce
	if size == 0 {
		size = 10_000
	}
	if atOnce == 0 {
		atOnce = 32
	}
	a.answers, a.slots = bounded.New[[32]byte, verdict](size), make(chan struct{}, atOnce)
	return a, nil
}

// withoutRedirects returns a copy of a client that follows none: who asks with
// credentials asks nobody else.
func withoutRedirects(c *http.Client) *http.Client {
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// active tells whether a token is active by an answer that was at most CacheFor
// old when the call came. Those who ask about one token at once wait for one
// answer.
func (a *asker) active(ctx context.Context, token string) (bool, error) {
	came := a.clock.Now()
	id := digest(token)
	if v, ok := a.answers.Get(id); ok && came.Before(v.until) {
		return v.active, nil
	}
	v, err := a.flight(ctx, id, token)
	if err == nil && !came.Before(v.until) {
		// A slow answer, to a question of long before. The next is to one that
		// was asked since.
		v, err = a.flight(ctx, id, token)
	}
	if err != nil {
		return false, fmt.Errorf("introspection: %w", err)
	}
	return v.active, nil
}

// flight returns the issuer's answer about a token. Those who wait for it at once
// share one.
func (a *asker) flight(ctx context.Context, id [32]byte, token string) (verdict, error) {
	flight := a.flights.DoChan(string(id[:]), func() (any, error) {
		if v, ok := a.answers.Get(id); ok && a.clock.Now().Before(v.until) { // since a moment ago
			return v, nil
		}
		// The flight depends on no caller: the first may leave.
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		go func() {
			if a.clock.Sleep(ctx, a.within) == nil {
				cancel(fmt.Errorf("no answer within %v", a.within))
			}
		}()
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			return verdict{}, context.Cause(ctx)
		}
		asked := a.clock.Now()
		active, err := a.ask(ctx, token)
		v := verdict{active, asked.Add(a.cacheFor)}
		if err == nil {
			a.answers.Put(id, v)
		} else if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return v, err
	})
	select {
	case result := <-flight:
		v, _ := result.Val.(verdict)
		return v, result.Err
	case <-ctx.Done():
		return verdict{}, ctx.Err()
	}
}

// ask sends one request (RFC 7662 section 2).
func (a *asker) ask(ctx context.Context, token string) (bool, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, fmt.Errorf("the answer is %d: look at the credentials that Introspection.Client adds", resp.StatusCode)
	default:
		return false, fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxIntrospection+1))
	if err != nil {
		return false, err
	}
	if len(data) > maxIntrospection {
		return false, fmt.Errorf("the answer is larger than %d bytes", maxIntrospection)
	}
	if data, err = files.Text(data); err != nil {
		return false, fmt.Errorf("the answer: %w", err)
	}
	members, err := jose.Object(data)
	if err != nil {
		return false, fmt.Errorf("the answer: %w", err)
	}
	active, ok := members["active"].(bool)
	if !ok {
		return false, errors.New(`the answer has no member "active" that is true or false`)
	}
	return active, nil
}
