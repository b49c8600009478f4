package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/trust"
)

// rounds is how often a crash test crashes: 'make crash' asks for more.
func rounds(t *testing.T, otherwise int) int {
	t.Helper()
	asked := os.Getenv("COUNTERFOIL_CRASH_ROUNDS")
	if asked == "" {
		return otherwise
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < 1 {
		t.Fatalf("COUNTERFOIL_CRASH_ROUNDS is %q", asked)
	}
	return n
}

// asker asks one provider for tokens, as fast as it can.
type asker struct {
	provider string
	env      files.Env
	http     *http.Client
}

func (u *upProcess) asker(t *testing.T, provider string) *asker {
	t.Helper()
	env := u.env(t, provider)
	pool, err := trust.File(env.Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &asker{provider: provider, env: env, http: &http.Client{Transport: transport}}
}

// token returns an access token that the server has acknowledged, or "".
func (a *asker) token(ctx context.Context) string {
	target := a.env.Get("AUTH_URL")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.env.Get("API_CLIENT_ID")}, "client_secret": {a.env.Get("API_CLIENT_SECRET")}}
	if a.provider == "altrata" {
		target, form = target+"?grant_type=client_credentials", nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a.provider == "altrata" {
		req.Header.Set("x-api-key", a.env.Get("API_KEY"))
		req.SetBasicAuth(a.env.Get("API_USERNAME"), a.env.Get("API_PASSWORD"))
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.AccessToken
}

// call returns the status of a call of altrata's API with a token.
func (a *asker) call(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.env.Get("API_BASE_URL"), strings.NewReader(`{"query":"{ __typename }"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-api-key", a.env.Get("API_KEY"))
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// identifier is the jti of a token.
func identifier(t *testing.T, token string) string {
	t.Helper()
	var claims struct {
		ID string `json:"jti"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.ID == "" {
		t.Fatalf("no token with a jti: %v", err)
	}
	return claims.ID
}

// kill -9 in the middle of token requests: whatever was acknowledged is in the
// audit record of the next start, and a client whose tokens replace each other
// has one live token at most.
func TestKillUnderLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var seen int64 // audit records of earlier rounds
	for round := range rounds(t, 3) {
		u := start(t, dir, "127.0.0.1:0")
		acknowledged := loadUntilKilled(t, u, 20+rand.Int64N(200))
		recorded := map[string]bool{}
		out := execute(t, "", nil, binary, "audit", "--dir", dir, "-o", "json", "--after", strconv.FormatInt(seen, 10)).good(t).out
		for line := range strings.Lines(out) {
			var e struct {
				Sequence int64  `json:"sequence"`
				TokenID  string `json:"token_id"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			recorded[e.TokenID], seen = true, e.Sequence
		}
		for provider, tokens := range acknowledged {
			for _, token := range tokens {
				if !recorded[identifier(t, token)] {
					t.Errorf("round %d: a token of %s was acknowledged and is not in the audit record", round, provider)
				}
			}
		}
		again := start(t, dir, strings.TrimPrefix(u.base, "https://"))
		live, altrata := 0, again.asker(t, "altrata")
		for _, token := range acknowledged["altrata"] {
			if altrata.call(t, token) == http.StatusOK {
				live++
			}
		}
		if live > 1 {
			t.Errorf("round %d: %d tokens of one altrata client are live", round, live)
		}
		if err := again.stop(syscall.SIGTERM); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// loadUntilKilled asks for tokens from all sides, kills the server once so many
// were acknowledged, and returns the acknowledged ones by provider.
func loadUntilKilled(t *testing.T, u *upProcess, after int64) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		count atomic.Int64
		got   = map[string][]string{}
	)
	for _, provider := range []string{"a55", "altrata"} {
		asker := u.asker(t, provider)
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					token := asker.token(ctx)
					if token == "" {
						continue
					}
					mu.Lock()
					got[provider] = append(got[provider], token)
					mu.Unlock()
					if count.Add(1) == after {
						_ = u.cmd.Process.Kill()
						cancel()
					}
				}
			})
		}
	}
	wg.Wait()
	_ = u.stop(syscall.SIGKILL)
	return got
}

// After any number of token requests at once exactly one altrata token is live:
// the one that the audit record has last.
func TestOneLiveToken(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	altrata := u.asker(t, "altrata")
	tokens := make([]string, 64)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() { tokens[i] = altrata.token(t.Context()) })
	}
	wg.Wait()
	var last struct {
		TokenID string `json:"token_id"`
	}
	lines := strings.Split(strings.TrimSpace(execute(t, "", nil, binary, "audit", "--dir", u.dir, "-o", "json").good(t).out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	live := 0
	for _, token := range tokens {
		if token == "" {
			t.Fatal("a token request failed")
		}
		switch status := altrata.call(t, token); {
		case status == http.StatusOK:
			live++
			if identifier(t, token) != last.TokenID {
				t.Error("the live token is not the one that was issued last")
			}
		case status != http.StatusUnauthorized:
			t.Errorf("a replaced token is answered %d", status)
		}
	}
	if live != 1 {
		t.Errorf("%d tokens are live", live)
	}
}
