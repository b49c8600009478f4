package fleet

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/valkey-io/valkey-go"
)

//go:embed scripts/entry.lua
var entryScript string

//go:embed scripts/read.lua
var readScript string

//go:embed scripts/acquire.lua
var acquireScript string

//go:embed scripts/beat.lua
var beatScript string

//go:embed scripts/publish.lua
var publishScript string

//go:embed scripts/release.lua
var releaseScript string

//go:embed scripts/drop.lua
var dropScript string

//go:embed scripts/restore.lua
var restoreScript string

//go:embed scripts/reseal.lua
var resealScript string

//go:embed scripts/probe.lua
var probeScript string

// Each is one step at the server.
var (
	read    = valkey.NewLuaScript(entryScript + readScript)
	acquire = valkey.NewLuaScript(entryScript + acquireScript)
	beat    = valkey.NewLuaScript(entryScript + beatScript)
	publish = valkey.NewLuaScript(entryScript + publishScript)
	release = valkey.NewLuaScript(entryScript + releaseScript)
	drop    = valkey.NewLuaScript(entryScript + dropScript)
	restore = valkey.NewLuaScript(entryScript + restoreScript)
	reseal  = valkey.NewLuaScript(entryScript + resealScript)
	probe   = valkey.NewLuaScript(entryScript + probeScript)
)

// state is what a script answers: the entry after the step.
type state struct {
	what    string
	now     int64 // by the server, in ms since 1970, as are the other times
	order   int64
	sealed  string
	ends    int64
	number  int64
	until   int64
	pause   int64
	failure string
	keyID   string
	// The step was taken between sent and got, by this machine's clock.
	sent, got time.Time
}

// server is the connection. It is made once and reconnects by itself.
type server struct {
	option          valkey.ClientOption
	prefix, channel string
	timeout         time.Duration
	clock           counterfoil.Clock
	turned          func(err error, key string)
	circuit         circuit
	grace           grace
	// dialled says that a connection was made since the last answer, listened
	// that changes were listened for before, and cluster what kind the server
	// is.
	dialled, listened, cluster atomic.Bool

	dialling sync.Mutex
	mu       sync.Mutex
	client   valkey.Client
	closed   bool
}

// serverOption makes the client's options from cfg.
func serverOption(cfg Config) (valkey.ClientOption, error) {
	none := valkey.ClientOption{}
	u, err := url.Parse(cfg.URL)
	if err != nil || cfg.URL == "" {
		return none, errors.New("fleet: Config.URL is missing or not a URL: for example rediss://user@host:6379/0")
	}
	if _, ok := u.User.Password(); ok {
		return none, errors.New("fleet: Config.URL holds a password: give it as Config.Password")
	}
	for name := range u.Query() {
		if !slices.Contains([]string{"addr", "db", "master_set"}, name) {
			return none, errors.New("fleet: Config.URL has a parameter other than addr, db and master_set")
		}
	}
	option, err := valkey.ParseURL(cfg.URL)
	if err != nil {
		return none, errors.New("fleet: Config.URL must be like rediss://user@host:6379/0 or unix:///run/valkey.sock?db=0")
	}
	if option.TLSConfig == nil && u.Scheme != "unix" && !cfg.Plaintext && slices.ContainsFunc(option.InitAddress, isRemote) {
		return none, fmt.Errorf("fleet: Config.URL: %w", errPlaintext)
	}
	switch {
	case option.TLSConfig == nil:
		if u.Scheme != "unix" && !cfg.Plaintext {
			option.DialCtxFn = dialHere
		}
	case cfg.TLS == nil:
		option.TLSConfig.ServerName = "" // each node has the name of its address
	default:
		if cfg.TLS.InsecureSkipVerify && cfg.TLS.VerifyConnection == nil {
			return none, errors.New(
				"fleet: Config.TLS does not verify certificates: set RootCAs or VerifyConnection instead of InsecureSkipVerify",
			)
		}
		own := cfg.TLS.Clone()
		own.MinVersion = max(own.MinVersion, tls.VersionTLS12)
		option.TLSConfig = own
	}
	option.Sentinel.TLSConfig = option.TLSConfig
	option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	option.ClusterOption.ShardsRefreshInterval = 10 * time.Second
	option.ClusterOption.MaxMovedRedirections = 8 // nodes that name each other would cause an endless loop
	option.Dialer = net.Dialer{Timeout: cfg.Timeout, KeepAlive: cfg.Timeout}
	option.Sentinel.Dialer = option.Dialer
	option.ConnWriteTimeout = cfg.Timeout
	option.DisableCache, option.DisableRetry = true, true
	option.PipelineMultiplex = -1 // one connection for everything, so that its end is noticed at once
	option.ReadBufferEachConn, option.WriteBufferEachConn, option.RingScaleEachConn = 64<<10, 64<<10, 8
	option.ClientName = "counterfoil"
	if cfg.Password != nil {
		option.AuthCredentialsFn = credentials(option.Username, cfg.Password, cfg.Timeout)
	}
	return option, nil
}

// dialHere connects within this machine only, whatever address a Sentinel or a
// node of a cluster gives.
func dialHere(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	if isRemote(address) {
		return nil, errPlaintext
	}
	return d.DialContext(ctx, "tcp", address)
}

var errPlaintext = errors.New("the connection to another machine is without TLS: use rediss://, or allow it with Config.Plaintext")

func credentials(
	user string, password client.SecretFunc, timeout time.Duration,
) func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
	return func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		p, err := password(ctx)
		if err != nil {
			return valkey.AuthCredentials{}, fmt.Errorf("read Config.Password: %w", err)
		}
		return valkey.AuthCredentials{Username: user, Password: p.Reveal()}, nil
	}
}

func isRemote(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// connect makes the connection unless it exists. Other callers do not wait for
// it.
func (s *server) connect() error {
	s.dialling.Lock()
	defer s.dialling.Unlock()
	if s.connected() != nil {
		return nil
	}
	c, err := valkey.NewClient(s.option)
	if err != nil {
		return err
	}
	s.cluster.Store(c.Mode() == valkey.ClientModeCluster)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return valkey.ErrClosing
	}
	s.client = c
	return nil
}

func (s *server) connected() valkey.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client != nil {
		s.client.Close()
	}
}

// errNotYet says that there has been no connection so far.
var errNotYet = errors.New("not connected yet")

// unconnected says why there is no connection: the error of the last attempt.
func (s *server) unconnected() error {
	if err := s.circuit.lost(); err != nil {
		return err
	}
	return lost(errNotYet)
}

// lost makes an error of what was met in place of an answer.
func lost(err error) error { return fmt.Errorf("%w: %w", client.ErrCacheLost, plain(err)) }

// plain returns err without the text of the server, which is untrusted.
func plain(err error) error {
	answer, ok := valkey.IsValkeyErr(err)
	if !ok {
		return err
	}
	code, _, _ := strings.Cut(answer.Error(), " ")
	if code == "" || len(code) > 20 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		code = "an error"
	}
	return fmt.Errorf("the server answers %s", code)
}

// isRefusal reports whether err is permanent.
func isRefusal(err error) bool {
	if answer, ok := valkey.IsValkeyErr(err); ok {
		code, _, _ := strings.Cut(answer.Error(), " ")
		return slices.Contains([]string{"WRONGPASS", "NOAUTH", "NOPERM", "DENIED"}, code)
	}
	certificate := new(tls.CertificateVerificationError)
	return errors.As(err, &certificate) || errors.Is(err, errPlaintext)
}

// met records the result of a command at key, nil for an answer.
func (s *server) met(err error, key string) {
	if err != nil {
		err = lost(err)
	}
	if s.circuit.report(s.clock.Now(), err) {
		s.turned(err, key)
	}
}

// isOfEntry reports whether err is about one entry alone, not about the server.
func isOfEntry(err error) bool {
	answer, ok := valkey.IsValkeyErr(err)
	return errors.Is(err, errAnswer) ||
		ok &&
			(strings.HasPrefix(answer.Error(), "WRONGTYPE") || strings.HasPrefix(answer.Error(), "ERR ") &&
				strings.Contains(answer.Error(), "user_script"))
}

// run takes one step at the entry of key, unless the server is known to be away.
func (s *server) run(ctx context.Context, script *valkey.Lua, key string, args ...string) (state, error) {
	if err := s.circuit.enter(s.clock.Now()); err != nil {
		return state{}, err
	}
	return s.try(ctx, script, key, args...)
}

// try takes one step in any case.
func (s *server) try(ctx context.Context, script *valkey.Lua, key string, args ...string) (state, error) {
	c := s.connected()
	if c == nil {
		return state{}, s.unconnected()
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	st, err := s.exec(limited, c, script, key, args)
	// The connection may be from before a restart, and the client may need to
	// see that twice. All steps may be repeated: the lease identifies its
	// holder, and stored values have a number.
	for n := 0; n < 2 && isBroken(err) && limited.Err() == nil; n++ {
		st, err = s.exec(limited, c, script, key, args)
	}
	if err != nil {
		if ctx.Err() != nil {
			return state{}, context.Cause(ctx) // the caller left, which says nothing about the server
		}
		if !isOfEntry(err) {
			s.met(err, key)
		}
		return state{}, lost(err)
	}
	if script != read { // which a server answers even if it accepts no writes
		s.answered(key)
	}
	return st, nil
}

func (s *server) exec(ctx context.Context, c valkey.Client, script *valkey.Lua, key string, args []string) (state, error) {
	sent := s.clock.Now()
	result := script.Exec(ctx, c, []string{s.prefix + "{" + key + "}"}, append([]string{s.channel, key}, args...))
	if err := result.Error(); err != nil {
		return state{}, err
	}
	answer, err := result.ToArray()
	if err != nil {
		return state{}, errAnswer
	}
	st, err := parseState(answer)
	st.sent, st.got = sent, s.clock.Now()
	return st, err
}

// isBroken reports whether err is the end of a connection.
func isBroken(err error) bool {
	var network net.Error
	if _, answered := valkey.IsValkeyErr(err); err == nil || answered || errors.As(err, &network) && network.Timeout() {
		return false
	}
	return !errors.Is(err, errAnswer) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

var errAnswer = errors.New("the server returns an unexpected result of a script")

// parseState reads the answer of a script.
func parseState(answer []valkey.ValkeyMessage) (st state, err error) {
	if len(answer) != 10 {
		return st, errAnswer
	}
	for i, to := range []any{&st.what, &st.now, &st.order, &st.sealed, &st.ends, &st.number, &st.until, &st.pause, &st.failure, &st.keyID} {
		switch to := to.(type) {
		case *string:
			*to, err = answer[i].ToString()
		case *int64:
			*to, err = answer[i].ToInt64()
		}
		if err != nil {
			return st, errAnswer
		}
	}
	if st.order < 0 || st.order > 1<<53 || st.number < 0 || len(st.sealed) > maxSealed || len(st.failure) > maxSealed {
		return st, errAnswer
	}
	return st, nil
}
