package azurevault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/azurevault"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote/remotetest"
)

const (
	host      = "acme.example.com"
	tenant    = "11111111-2222-4333-8444-555555555555"
	clientID  = "66666666-7777-4888-9999-000000000000"
	loginKey  = "login-s3cr3t~of.the-client"
	kept      = "kept-s3cr3t-of-the-client"
	token     = "token-s3cr3t-"
	version   = "0123456789abcdef0123456789abcdef"
	resource  = "https://example.com"
	authority = "https://login.example.com/"
)

// entra is the token endpoint of Microsoft Entra, with the metadata that leads
// to it.
type entra struct {
	*remotetest.Service
	mu     sync.Mutex
	issued int
	scope  string
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	base := authority + tenant
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/common/discovery/instance":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
			"metadata": []any{map[string]any{"preferred_network": "login.example.com", "preferred_cache": "login.example.com", "aliases": []string{"login.example.com"}}},
		})
	case "/" + tenant + "/v2.0/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{
			"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0",
		})
	case "/" + tenant + "/oauth2/v2.0/token":
		if r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("client_id") != clientID || r.PostFormValue("client_secret") != loginKey {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{
				"error": "invalid_client", "error_codes": []int{7000215},
				"error_description": "AADSTS7000215: Invalid client secret provided: " + r.PostFormValue("client_secret"),
			})
			return
		}
		e.issued++
		e.scope = r.PostFormValue("scope")
		_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": token + fmt.Sprint(e.issued)})
	default:
		http.NotFound(w, r)
	}
}

// state returns how many tokens were issued, and the last scope.
func (e *entra) state() (issued int, scope string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.issued, e.scope
}

// vault is Key Vault as its REST reference describes it: it names in a challenge
// where to log in, and takes the tokens that come from there.
type vault struct {
	*remotetest.Service
	login   *entra
	mu      sync.Mutex
	secrets map[string]string // by NAME/VERSION, and NAME/ for the current one
	// challenge is the WWW-Authenticate of answers to who has no token.
	challenge string
	// challenged counts them.
	challenged int
}

func newVault(t testing.TB) *vault {
	t.Helper()
	v := &vault{secrets: map[string]string{}, login: &entra{}}
	v.challenge = fmt.Sprintf(`Bearer authorization="%s%s", resource="%s"`, authority, tenant, resource)
	v.login.Service = remotetest.Serve(t, v.login)
	v.Service = remotetest.Serve(t, v)
	return v
}

func (v *vault) set(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[name] = value
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	issued, scope := v.login.state()
	v.mu.Lock()
	defer v.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/secrets/")
	if bearer, with := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !with || bearer != token+fmt.Sprint(issued) || !strings.HasPrefix(scope, resource+"/.default") {
		v.challenged++
		w.Header().Set("WWW-Authenticate", v.challenge)
		refuse(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if r.Method != http.MethodGet || r.Host != host || !ok || r.URL.Query().Get("api-version") == "" {
		refuse(w, http.StatusBadRequest, "BadParameter")
		return
	}
	if !strings.Contains(path, "/") {
		path += "/"
	}
	value, ok := v.secrets[path]
	if !ok {
		refuse(w, http.StatusNotFound, "SecretNotFound")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"value": value, "contentType": "text/plain", "id": "https://" + host + "/secrets/" + strings.TrimSuffix(path, "/") + "/" + version,
		"attributes": map[string]any{"enabled": true, "created": 1767225600, "updated": 1767225600, "recoveryLevel": "Recoverable+Purgeable"},
	})
}

// refuse answers with an error in the form of Key Vault. Its message repeats
// what it should not, for the tests to search for.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": "about " + kept, "innererror": map[string]string{"code": "ForbiddenByPolicy"}}})
}

// config reaches the vault as an application with a secret. The SDK repeats at
// once: its "no delay", -1, is one of 60 s in azcore v1.24.0.
func (v *vault) config(t testing.TB, key string) azurevault.Config {
	t.Helper()
	login, err := azidentity.NewClientSecretCredential(tenant, clientID, key, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: authority},
			Transport: v.login.Client(),
			Retry:     policy.RetryOptions{RetryDelay: time.Nanosecond},
		},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return azurevault.Config{Login: login, Options: azcore.ClientOptions{Transport: v.Client(), Retry: policy.RetryOptions{RetryDelay: time.Nanosecond}}}
}

// open opens a secret of the vault, dialling with base.
func (v *vault) open(name string) remotetest.Open {
	return func(t *testing.T, base http.RoundTripper, o credential.KeepOptions) client.SecretFunc {
		t.Helper()
		c := v.config(t, loginKey)
		c.Options.Transport, c.Keep = &http.Client{Transport: base}, o
		return must(t, host+"/"+name, c)
	}
}

func must(t testing.TB, reference string, c azurevault.Config) client.SecretFunc {
	t.Helper()
	get, err := azurevault.Open(reference, c)
	if err != nil {
		t.Fatal(err)
	}
	return get
}

// clean holds that an error shows none of the secrets.
func clean(t testing.TB, err error) {
	t.Helper()
	remotetest.Clean(t, err, kept, loginKey, token)
}

// network is the network as a program on Azure sees it: vaults, the server of
// logins under its own name and that of the public cloud, and nothing else.
type network struct{ vault, login http.RoundTripper }

func (v *vault) network(t testing.TB) *http.Client {
	t.Helper()
	login := v.login.Transport().Clone()
	login.TLSClientConfig.ServerName = "example.com"
	login.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, v.login.Listener.Addr().String())
	}
	t.Cleanup(login.CloseIdleConnections)
	return &http.Client{Transport: network{v.Transport(), login}}
}

func (n network) RoundTrip(req *http.Request) (*http.Response, error) {
	switch req.URL.Host {
	case host:
		return n.vault.RoundTrip(req)
	case "login.example.com", "login.microsoftonline.com", "login.microsoft.com":
		return n.login.RoundTrip(req)
	}
	return nil, fmt.Errorf("nothing at %s", req.URL.Host)
}
