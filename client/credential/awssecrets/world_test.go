package awssecrets_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/awssecrets"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote/remotetest"
)

const (
	region    = "eu-west-1"
	accessKey = "AKIDEXAMPLE0000TEST0"
	signKey   = "sign-s3cr3t-Key/of+the+login"
	session   = "session-s3cr3t-token"
	kept      = "kept-s3cr3t-of-the-client"
)

// manager is Secrets Manager as its API reference describes it: the AWS JSON
// 1.1 protocol on TLS, with signatures that it verifies.
type manager struct {
	*remotetest.Service
	mu sync.Mutex
	// secrets are by name or ARN, then by staging label.
	secrets map[string]map[string]map[string]any
	// region and session are those of the last request.
	region, session string
}

func newManager(t testing.TB) *manager {
	t.Helper()
	m := &manager{secrets: map[string]map[string]map[string]any{}}
	m.Service = remotetest.Serve(t, m)
	return m
}

// set keeps a string under the labels, AWSCURRENT when none is named.
func (m *manager) set(id, value string, labels ...string) {
	m.keep(id, map[string]any{"SecretString": value}, labels...)
}

func (m *manager) keep(id string, value map[string]any, labels ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.secrets[id] == nil {
		m.secrets[id] = map[string]map[string]any{}
	}
	if len(labels) == 0 {
		labels = []string{"AWSCURRENT"}
	}
	for _, label := range labels {
		m.secrets[id][label] = value
	}
}

// last returns the region and the session of the last request.
func (m *manager) last() (region, session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.region, m.session
}

// config reaches the service as its owner's program. The SDK repeats without
// waiting.
func (m *manager) config() awssecrets.Config {
	return awssecrets.Config{Endpoint: m.URL, AWS: &aws.Config{
		Region:      region,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, signKey, ""),
		HTTPClient:  m.Client(),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		},
	}}
}

// open opens a secret of the service, dialling with base.
func (m *manager) open(reference string) remotetest.Open {
	return func(t *testing.T, base http.RoundTripper, o credential.KeepOptions) client.SecretFunc {
		t.Helper()
		c := m.config()
		c.AWS.HTTPClient, c.Keep = &http.Client{Transport: base}, o
		return must(t, reference, c)
	}
}

func must(t testing.TB, reference string, c awssecrets.Config) client.SecretFunc {
	t.Helper()
	get, err := awssecrets.Open(reference, c)
	if err != nil {
		t.Fatal(err)
	}
	return get
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		refuse(w, http.StatusBadRequest, "SerializationException", "not of the protocol")
		return
	}
	if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" {
		refuse(w, http.StatusBadRequest, "UnknownOperationException", "")
		return
	}
	scope, problem := verify(r, body)
	if problem != "" {
		refuse(w, http.StatusBadRequest, "InvalidSignatureException", problem)
		return
	}
	m.region, m.session = scope[1], r.Header.Get("X-Amz-Security-Token")
	var in struct{ SecretId, VersionId, VersionStage string }
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, http.StatusBadRequest, "SerializationException", "")
		return
	}
	if in.VersionStage == "" {
		in.VersionStage = "AWSCURRENT"
	}
	value, ok := m.secrets[in.SecretId][in.VersionStage]
	if !ok {
		refuse(w, http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		return
	}
	out := map[string]any{"Name": in.SecretId, "VersionId": "00000000-0000-4000-8000-000000000001", "VersionStages": []string{in.VersionStage}, "CreatedDate": 1.7e9}
	for k, v := range value {
		out[k] = v
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

// refuse answers with an error of the protocol. The message repeats what it
// should not, for the tests to search for.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message + " " + kept})
}

// verify computes the signature of a request anew, from AWS's description of
// Signature Version 4, and returns the scope that it is for.
func verify(r *http.Request, body []byte) (scope []string, problem string) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return nil, "no signature"
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(fields, ", ") {
		name, value, _ := strings.Cut(field, "=")
		part[name] = value
	}
	id, where, _ := strings.Cut(part["Credential"], "/")
	scope = strings.Split(where, "/")
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	signed := strings.Split(part["SignedHeaders"], ";")
	switch {
	case id != accessKey:
		return nil, "unknown key"
	case err != nil || time.Since(at).Abs() > 5*time.Minute || len(scope) != 4 || scope[0] != date[:8] || scope[2] != "secretsmanager" || scope[3] != "aws4_request":
		return nil, "wrong scope"
	case !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date") || !slices.Contains(signed, "x-amz-target"):
		return nil, "headers are not signed"
	}
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.Query().Encode() + "\n"
	for _, header := range signed {
		value := r.Header.Get(header)
		switch header {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += header + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + part["SignedHeaders"] + "\n" + sum(body)
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + where + "\n" + sum([]byte(canonical))
	mac := []byte("AWS4" + signKey)
	for _, step := range append(slices.Clone(scope), text) {
		h := hmac.New(sha256.New, mac)
		_, _ = io.WriteString(h, step)
		mac = h.Sum(nil)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac)), []byte(part["Signature"])) {
		return nil, "wrong signature"
	}
	return scope, ""
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// clean holds that an error shows none of the secrets.
func clean(t testing.TB, err error) {
	t.Helper()
	remotetest.Clean(t, err, kept, signKey, accessKey, "Signature=", session)
}
