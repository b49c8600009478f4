package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// IntrospectionConfig says where and how to ask an issuer which tokens are active.
type IntrospectionConfig struct {
	// URL is the issuer's introspection endpoint, the introspection_endpoint of
	// its metadata (RFC 8414 section 2); https only. Required.
	URL string
	// Client sends the requests and authenticates them: its Transport adds the
	// credentials or the token of a client that the issuer has for this guard. At
	// a Counterfoil server that client must be a resource server (counterfoil
	// client create REALM --resource-server): to any other one, every token but its
	// own is inactive (RFC 7662 section 2.2), and the guard refuses it as revoked.
	// The example of FollowRevocations has such a Client. Its CheckRedirect is
	// not used: a redirect is a failure. Required.
	Client *http.Client
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// Logger gets a warning if the issuer calls a token inactive and has called
	// none active for a minute, once a minute at most: the client of the guard may
	// be none that the issuer answers. Default slog.Default.
	Logger *slog.Logger
	// TTL is how long an answer is used, from the time of its request; default 2
	// seconds. A revoked token is accepted for up to that long.
	TTL time.Duration
	// CacheSize is how many answers are kept at most; default 10,000.
	CacheSize int
	// MaxConcurrent is how many requests are under way at most; default 32. The
	// others wait.
	MaxConcurrent int
	// Timeout bounds a request and the wait before it; default 5 seconds.
	Timeout time.Duration
}

// maxIntrospection bounds an answer, in bytes.
const maxIntrospection = 64 << 10

// Introspector asks an issuer whether tokens are still active (RFC 7662). A guard
// verifies each token itself; the issuer only says whether it was revoked. Several
// guards of one issuer may share an Introspector. It sends one request at a time
// for a token and a bounded number in total, and never takes a failure for an
// answer.
type Introspector struct {
	cfg     IntrospectionConfig
	answers *bounded.Cache[[32]byte, verdict]
	flights singleflight.Group
	slots   chan struct{}

	mu sync.Mutex
	// trusted is when the issuer last called a token active, or a warning was
	// logged that it called one inactive.
	trusted time.Time
}

// verdict is an answer and the time until which it is used.
type verdict struct {
	active bool
	// addresses are the networks that the client is limited to; none for all.
	addresses []netip.Prefix
	until     time.Time
}

// NewIntrospector returns an Introspector, or an error that says what its
// configuration lacks.
func NewIntrospector(cfg IntrospectionConfig) (*Introspector, error) {
	_, ok := httpsurl.Parse(cfg.URL)
	switch {
	case !ok:
		return nil, errors.New("new introspector: IntrospectionConfig.URL must be an https URL without credentials, " +
			"such as https://auth.example.com/introspect")
	case cfg.Client == nil:
		return nil, errors.New("new introspector: IntrospectionConfig.Client is missing: " +
			"give one that authenticates the guard at the issuer")
	case cfg.TTL < 0 || cfg.CacheSize < 0 || cfg.MaxConcurrent < 0 || cfg.Timeout < 0:
		return nil, errors.New("new introspector: TTL, CacheSize, MaxConcurrent and Timeout must not be negative")
	}
	cfg.Client = withoutRedirects(cfg.Client)
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.TTL = cmp.Or(cfg.TTL, 2*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	return &Introspector{
		cfg: cfg, answers: bounded.New[[32]byte, verdict](cmp.Or(cfg.CacheSize, 10_000)),
		slots: make(chan struct{}, cmp.Or(cfg.MaxConcurrent, 32)),
	}, nil
}

// withoutRedirects returns a copy of a client that follows no redirects: they
// could lead the credentials elsewhere.
func withoutRedirects(c *http.Client) *http.Client {
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// Live reports whether a token is active, as [Liveness] says. It uses an answer
// that was at most TTL old when the call began. Concurrent calls for one token
// share one request.
func (i *Introspector) Live(ctx context.Context, _ *counterfoil.Principal, token counterfoil.Secret) error {
	_, err := i.verdict(ctx, token)
	return err
}

// LiveFrom is Live for a call from an address, as [LivenessFrom] says.
func (i *Introspector) LiveFrom(ctx context.Context, _ *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error {
	v, err := i.verdict(ctx, token)
	if err == nil && len(v.addresses) > 0 && !slices.ContainsFunc(v.addresses, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return errAddress
	}
	return err
}

// verdict returns the answer about a token that is active.
func (i *Introspector) verdict(ctx context.Context, token counterfoil.Secret) (verdict, error) {
	came := i.cfg.Clock.Now()
	id := digest(token.Reveal())
	v, ok := i.answers.Get(id)
	if !ok || !came.Before(v.until) {
		var err error
		v, err = i.flight(ctx, id, token)
		if err == nil && !came.Before(v.until) {
			// A slow answer to a request from before this call. The next answer
			// is to a request that was sent since.
			v, err = i.flight(ctx, id, token)
		}
		if err != nil {
			return v, fmt.Errorf("introspection: %w", err)
		}
	}
	if !v.active {
		return v, errInactive
	}
	return v, nil
}

// errInactive is the answer about a token whose signature and times are valid.
var errInactive error = &counterfoil.Error{Reason: counterfoil.ReasonTokenInvalid,
	Message: "the issuer calls the token inactive, as it does all tokens if the guard's client is not a resource server"}

// note warns of an answer that the issuer may have given only because it does not
// tell this client about other clients' tokens.
func (i *Introspector) note(active bool, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	since := now.Sub(i.trusted)
	if !active && !i.trusted.IsZero() && since >= 0 && since < warnEvery {
		return
	}
	i.trusted = now
	if !active {
		i.cfg.Logger.Warn("introspection: the issuer calls a token inactive whose signature and times are valid: "+
			"if it does so for all, the client of IntrospectionConfig.Client is not a resource server "+
			"(counterfoil client change REALM CLIENT --resource-server)", "url", i.cfg.URL)
	}
}

// flight returns the issuer's answer about a token. Concurrent callers share one
// request.
func (i *Introspector) flight(ctx context.Context, id [32]byte, token counterfoil.Secret) (verdict, error) {
	flight := i.flights.DoChan(string(id[:]), func() (any, error) {
		if v, ok := i.answers.Get(id); ok && i.cfg.Clock.Now().Before(v.until) { // stored just now
			return v, nil
		}
		// The request does not end with the caller that started it.
		ctx, cancel := clock.WithTimeoutCause(context.Background(), i.cfg.Clock, i.cfg.Timeout,
			fmt.Errorf("no answer within %v", i.cfg.Timeout))
		defer cancel()
		select {
		case i.slots <- struct{}{}:
			defer func() { <-i.slots }()
		case <-ctx.Done():
			return verdict{}, context.Cause(ctx)
		}
		asked := i.cfg.Clock.Now()
		v, err := i.ask(ctx, token)
		v.until = asked.Add(i.cfg.TTL)
		if err == nil {
			i.answers.Put(id, v)
			i.note(v.active, asked)
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
func (i *Introspector) ask(ctx context.Context, token counterfoil.Secret) (v verdict, err error) {
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.cfg.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return v, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := i.cfg.Client.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return v, fmt.Errorf("the answer is %d: check the credentials that IntrospectionConfig.Client adds", resp.StatusCode)
	default:
		return v, fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxIntrospection+1))
	if err != nil {
		return v, err
	}
	if len(data) > maxIntrospection {
		return v, fmt.Errorf("the answer is larger than %d bytes", maxIntrospection)
	}
	if data, err = files.Text(data); err != nil {
		return v, fmt.Errorf("the answer: %w", err)
	}
	members, err := jose.Object(data)
	if err != nil {
		return v, fmt.Errorf("the answer: %w", err)
	}
	var ok bool
	if v.active, ok = members["active"].(bool); !ok {
		return v, errors.New(`the answer has no boolean member "active"`)
	}
	v.addresses, err = networks(members["client_addresses"])
	return v, err
}

// networks reads the member client_addresses of an answer.
func networks(member any) ([]netip.Prefix, error) {
	list, ok := member.([]any)
	if !ok && member != nil || ok && len(list) == 0 {
		return nil, errors.New("the member client_addresses is not a list of networks")
	}
	all := make([]netip.Prefix, len(list))
	for i, one := range list {
		text, _ := one.(string)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, errors.New("the member client_addresses is not a list of networks")
		}
		all[i] = p
	}
	return all, nil
}
