package awssecrets_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/counterfoil/counterfoil/client/credential/awssecrets"
)

const (
	region    = "eu-west-1"
	accessKey = "AKIDEXAMPLE0000TEST0"
	signKey   = "sign-s3cr3t-Key/of+the+login"
	kept      = "kept-s3cr3t-of-the-client"
)

// manager is Secrets Manager as its API reference describes it: the AWS JSON
// 1.1 protocol on TLS, with signatures that it verifies.
type manager struct {
	*httptest.Server
	mu sync.Mutex
	// secrets are by name or ARN, then by staging label.
	secrets map[string]map[string]map[string]any
	// fault, if set, answers instead and reports whether it did.
	fault func(w http.ResponseWriter, r *http.Request, asked int) bool
	asked int
	// regions are those of the signatures.
	regions []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{secrets: map[string]map[string]map[string]any{}}
	m.Server = httptest.NewUnstartedServer(m)
	m.Config.ErrorLog = log.New(io.Discard, "", 0)
	m.StartTLS()
	t.Cleanup(m.Close)
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

// counts returns how often the service was asked, and the last region.
func (m *manager) counts() (asked int, region string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.regions) > 0 {
		region = m.regions[len(m.regions)-1]
	}
	return m.asked, region
}

// config reaches the service as its owner's program.
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

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.fault != nil && m.fault(w, r, m.asked) {
		return
	}
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
	m.regions = append(m.regions, scope[1])
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

// clean holds that an error is one line without any secret, however it is
// printed.
func clean(t *testing.T, err error) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		text := fmt.Sprintf(verb, err)
		for _, secret := range []string{kept, signKey, accessKey, "Signature=", url.QueryEscape(signKey)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q: %s", verb, secret, text)
			}
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 400 {
		t.Errorf("not one line: %v", err)
	}
}
