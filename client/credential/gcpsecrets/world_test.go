package gcpsecrets_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/gcpsecrets"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote/remotetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

const (
	project = "acme-prod"
	named   = "projects/" + project + "/secrets/client-secret"
	account = "reader@acme-prod.iam.gserviceaccount.com"
	kept    = "kept-s3cr3t-of-the-client"
	token   = "token-s3cr3t-"
)

// signer is the key of the service account.
var signer = sync.OnceValue(testkeys.RSA)

// tokens is a token endpoint that takes what a service account signs (RFC 7523
// section 2.1).
type tokens struct {
	*remotetest.Service
	mu     sync.Mutex
	issued int
}

func (e *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	problem := "not this grant"
	if r.Method == http.MethodPost && r.URL.Path == "/token" && r.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		problem = verify(r.PostFormValue("assertion"), e.URL+"/token")
	}
	if problem != "" {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": problem + " " + r.PostFormValue("assertion")})
		return
	}
	e.issued++
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token + fmt.Sprint(e.issued), "token_type": "Bearer", "expires_in": 3599})
}

// verify says what is wrong with what the service account has signed for an
// audience.
func verify(assertion, audience string) string {
	part := strings.Split(assertion, ".")
	if len(part) != 3 {
		return "not a JWS"
	}
	signature, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil {
		return "no signature"
	}
	digest := sha256.Sum256([]byte(part[0] + "." + part[1]))
	if err := rsa.VerifyPKCS1v15(signer().Public().(*rsa.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
		return "wrong signature"
	}
	text, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		return "no claims"
	}
	var claims struct {
		Iss, Aud, Scope string
		Iat, Exp        int64
	}
	now := time.Now().Unix()
	switch err := json.Unmarshal(text, &claims); {
	case err != nil:
		return "no claims"
	case claims.Iss != account || claims.Aud != audience || claims.Scope != "https://www.googleapis.com/auth/cloud-platform":
		return "claims of another"
	case claims.Iat > now+60 || claims.Exp < now || claims.Exp > now+3700:
		return "at another time"
	}
	return ""
}

func (e *tokens) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.issued
}

// manager is Secret Manager as its REST reference describes it.
type manager struct {
	*remotetest.Service
	login *tokens
	mu    sync.Mutex
	// versions are by resource name.
	versions map[string][]byte
	// checksum gives that of an answer; nil for the right one.
	checksum func([]byte) any
	// host and quota are those of the last request.
	host, quota string
}

func newManager(t testing.TB) *manager {
	t.Helper()
	m := &manager{versions: map[string][]byte{}, login: &tokens{}}
	m.login.Service = remotetest.Serve(t, m.login)
	m.Service = remotetest.Serve(t, m)
	return m
}

func (m *manager) set(version, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[version] = []byte(value)
}

func (m *manager) check(sum func([]byte) any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checksum = sum
}

// last returns the host and the project for quotas of the last request.
func (m *manager) last() (host, quota string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host, m.quota
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	issued := m.login.count()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host, m.quota = r.Host, r.Header.Get("X-Goog-User-Project")
	name, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	name, access := strings.CutSuffix(name, ":access")
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	allowed := issued > 0 && bearer == token+fmt.Sprint(issued)
	if strings.Contains(r.Host, "universe") {
		// Other universes take what an account signs itself.
		allowed = verify(bearer, "") == ""
	}
	switch value, there := m.versions[name]; {
	case !allowed:
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED")
	case r.Method != http.MethodGet || !ok || !access || r.ContentLength > 0:
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT")
	case !there:
		refuse(w, http.StatusNotFound, "NOT_FOUND")
	default:
		payload := map[string]any{"data": base64.StdEncoding.EncodeToString(value), "dataCrc32c": sum(value)}
		if m.checksum != nil {
			if payload["dataCrc32c"] = m.checksum(value); payload["dataCrc32c"] == nil {
				delete(payload, "dataCrc32c")
			}
		}
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		_ = json.NewEncoder(w).Encode(map[string]any{"name": strings.Replace(name, "latest", "3", 1), "payload": payload})
	}
}

// sum is the checksum of a payload as the service writes it.
func sum(value []byte) string {
	return fmt.Sprint(crc32.Checksum(value, crc32.MakeTable(crc32.Castagnoli)))
}

// refuse answers with an error in the form of Google's APIs. Its message repeats
// what it should not, for the tests to search for.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "status": code, "message": "about " + kept}})
}

// file returns the file of the service account with key, as the console gives
// it.
func (m *manager) file(t testing.TB, key crypto.Signer, change ...string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": "0123456789abcdef", "client_email": account, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": m.login.URL + "/token",
	}
	for i := 0; i < len(change); i += 2 {
		text[change[i]] = change[i+1]
	}
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config reaches the service as the service account.
func (m *manager) config(t testing.TB) gcpsecrets.Config {
	t.Helper()
	login, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, m.file(t, signer()), &credentials.DetectOptions{
		Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}, Client: m.login.Client(), DisableAsyncRefresh: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return gcpsecrets.Config{Login: login, Endpoint: m.URL, HTTP: m.Transport(), Keep: credential.KeepOptions{Clock: remotetest.NewClock()}}
}

// open opens the secret of the service, dialling with base.
func (m *manager) open(t *testing.T, base http.RoundTripper, o credential.KeepOptions) client.SecretFunc {
	t.Helper()
	c := m.config(t)
	c.HTTP, c.Keep = base, o
	return must(t, named, c)
}

func must(t testing.TB, reference string, c gcpsecrets.Config) client.SecretFunc {
	t.Helper()
	get, err := gcpsecrets.Open(reference, c)
	if err != nil {
		t.Fatal(err)
	}
	return get
}

// environment has the default credentials find the file, and nothing else.
func environment(t *testing.T, file []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
}

// clean holds that an error shows none of the secrets.
func clean(t testing.TB, err error) {
	t.Helper()
	remotetest.Clean(t, err, kept, token, "eyJ", "PRIVATE KEY")
}

// network is the network as a program on Google Cloud sees it: the service under
// its names, the token endpoint, and nothing else.
type network struct{ m *manager }

func (n network) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case "https://"+req.URL.Host == n.m.login.URL:
		return n.m.login.Transport().RoundTrip(req)
	case strings.HasPrefix(req.URL.Host, "secretmanager."):
		to := req.Clone(req.Context())
		to.Host, to.URL.Host = req.URL.Host, n.m.Listener.Addr().String()
		return n.m.Transport().RoundTrip(to)
	}
	return nil, fmt.Errorf("nothing at %s", req.URL.Host)
}
