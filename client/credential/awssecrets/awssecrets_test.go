package awssecrets_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"

	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/awssecrets"
)

const theARN = "arn:aws:secretsmanager:us-east-2:123456789012:secret:acme/client-AbCdEf"

func TestReferences(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept+"\n")
	m.set("acme/client", "the "+kept+" to come", "AWSPENDING")
	m.set("object", `{"client_secret":"`+kept+`","count":3,"none":null,"empty":""}`)
	m.set(theARN, "by ARN")
	m.set("empty", "")
	m.set("large", strings.Repeat("x", 65<<10))
	m.keep("binary", map[string]any{"SecretBinary": []byte("in bytes")})
	for name, row := range map[string]struct{ reference, want, err string }{
		"a name, whose line end goes":    {"acme/client", kept, ""},
		"a staging label":                {"acme/client?stage=AWSPENDING", "the " + kept + " to come", ""},
		"an ARN":                         {theARN, "by ARN", ""},
		"a key of an object":             {"object#client_secret", kept, ""},
		"the current label, and a key":   {"object?stage=AWSCURRENT#client_secret", kept, ""},
		"bytes":                          {"binary", "in bytes", ""},
		"a name that is not there":       {"absent", "", "there is no such secret"},
		"a label that is not there":      {"acme/client?stage=AWSPREVIOUS", "", "there is no such secret"},
		"a key that is not there":        {"object#other", "", "no such key"},
		"a key of what is no object":     {"acme/client#client_secret", "", "it is not a JSON object"},
		"a number":                       {"object#count", "", "is not a string"},
		"null":                           {"object#none", "", "is not a string"},
		"an empty string":                {"object#empty", "", "it is empty"},
		"an empty secret":                {"empty", "", "it is empty"},
		"more than the service's bounds": {"large", "", "it is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := must(t, row.reference, m.config())(t.Context())
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
			if err != nil {
				clean(t, err)
				if !strings.HasPrefix(err.Error(), "secret awssm:"+row.reference+": ") {
					t.Errorf("the error does not name its reference: %v", err)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), kept) {
				t.Error("the value shows when it is printed")
			}
		})
	}
}

func TestRegionOfTheARN(t *testing.T) {
	m := newManager(t)
	m.set(theARN, kept)
	m.set("named", kept)
	for reference, want := range map[string]string{theARN: "us-east-2", "named": region} {
		if _, err := must(t, reference, m.config())(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := m.last(); got != want {
			t.Errorf("%s was asked for in %s, not in %s", reference, got, want)
		}
	}
}

func TestWhatIsNoReference(t *testing.T) {
	m := newManager(t)
	for name, reference := range map[string]string{
		"nothing":               "",
		"a secret in the clear": kept + "!",
		"a line end":            "name\n",
		"an ARN of S3":          "arn:aws:s3:::bucket/" + kept,
		"a stage without name":  "name?stage=",
		"another parameter":     "name?version=1",
		"a key without name":    "name#",
		"a key with a line end": "name#a\nb",
		"too long":              strings.Repeat("x", 513),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := awssecrets.Open(reference, m.config())
			if err == nil || !strings.Contains(err.Error(), "a secret's name or ARN") {
				t.Fatalf("got %v", err)
			}
			clean(t, err)
		})
	}
}

func TestConfigurations(t *testing.T) {
	for name, row := range map[string]struct {
		config awssecrets.Config
		want   string
	}{
		"no region":                {awssecrets.Config{AWS: &aws.Config{}}, "no region is set"},
		"no verification":          {awssecrets.Config{AWS: &aws.Config{Region: region, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}}, "does not verify certificates"},
		"old TLS":                  {awssecrets.Config{AWS: &aws.Config{Region: region, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS11}}}}}, "TLS older than 1.2"},
		"an endpoint of http":      {awssecrets.Config{Endpoint: "http://127.0.0.1:1", AWS: &aws.Config{Region: region}}, "not an https URL"},
		"an endpoint with a login": {awssecrets.Config{Endpoint: "https://u:" + kept + "@127.0.0.1:1", AWS: &aws.Config{Region: region}}, "not an https URL"},
		"the SDK's is of http":     {awssecrets.Config{AWS: &aws.Config{Region: region, BaseEndpoint: aws.String("http://127.0.0.1:1")}}, "not an https URL"},
		"an endpoint that is none": {awssecrets.Config{Endpoint: "https://\x7f" + kept, AWS: &aws.Config{Region: region}}, "not an https URL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := awssecrets.Open("name", row.config)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

func TestRotation(t *testing.T) {
	m := newManager(t)
	m.Rotation(t, m.open("acme/client"), func(secret string) { m.set("acme/client", secret) })
}

func TestFaults(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	m.Faults(t, m.open("acme/client"), kept, signKey, accessKey)
}

func TestRefusals(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	for name, row := range map[string]struct {
		status int
		code   string
		want   string
	}{
		"denied":               {400, "AccessDeniedException", "access is denied"},
		"not decrypted":        {400, "DecryptionFailure", "check the KMS key"},
		"marked for deletion":  {400, "InvalidRequestException", "marked for deletion"},
		"throttled":            {400, "ThrottlingException", "fewer requests (ThrottlingException)"},
		"too many":             {429, "TooManyRequestsException", "fewer requests"},
		"failed inside":        {500, "InternalServiceError", "the service failed"},
		"an expired session":   {400, "ExpiredTokenException", "renew the session"},
		"a code with a prefix": {400, "com.amazonaws.secretsmanager#AccessDeniedException", "access is denied"},
		"a code not known":     {400, kept, "the service answers 400"},
	} {
		t.Run(name, func(t *testing.T) {
			m.Break(func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, row.status, row.code, kept); return true })
			_, err := must(t, "acme/client", m.config())(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

func TestThrottledOnce(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	m.Answer(1, http.StatusBadRequest, `{"__type":"ThrottlingException","message":"Rate exceeded"}`, "Content-Type", "application/x-amz-json-1.1")
	if got, err := must(t, "acme/client", m.config())(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	if m.Asked() != 2 {
		t.Errorf("asked %d times", m.Asked())
	}
}

func TestWrongLogin(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	for name, row := range map[string]struct {
		login aws.CredentialsProvider
		want  string
	}{
		"a wrong key":    {credentials.NewStaticCredentialsProvider(accessKey, signKey+"x", ""), "does not accept the signature"},
		"none":           {nil, "there is no login"},
		"one that fails": {aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New(kept) }), "there is no login"},
	} {
		t.Run(name, func(t *testing.T) {
			c := m.config()
			c.AWS.Credentials = row.login
			_, err := must(t, "acme/client", c)(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

// The default chain, with the login, the region and the authority of the
// environment, through a credential.Schemes as programs have it.
func TestDefaultChain(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	dir := t.TempDir()
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": signKey, "AWS_SESSION_TOKEN": session, "AWS_REGION": "eu-central-1",
		"AWS_CA_BUNDLE": bundle, "AWS_ENDPOINT_URL_SECRETS_MANAGER": m.URL, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials"), "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	get, err := credential.Open("awssm:acme/client", credential.Schemes{"awssm": awssecrets.Opener(awssecrets.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	if at, with := m.last(); at != "eu-central-1" || with != session {
		t.Errorf("asked in %s with the session %q", at, with)
	}
	t.Setenv("AWS_PROFILE", "not-there")
	if _, err := awssecrets.Open("acme/client", awssecrets.Config{}); err == nil || !strings.Contains(err.Error(), "check AWS_PROFILE") {
		t.Errorf("got %v", err)
	}
}

// The login of an instance has no TLS, so it passes no proxy of the environment.
func TestLoginPassesNoProxy(t *testing.T) {
	if os.Getenv("AWSSECRETS_TEST_CHILD") != "" { // the environment's proxies are read once, so this is a process of its own
		get, err := awssecrets.Open("acme/client", awssecrets.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := get(ctx); err == nil {
			t.Error("there is a secret")
		}
		return
	}
	seen := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.RequestURI
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLoginPassesNoProxy$")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(strings.ToUpper(v), "NO_PROXY=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "AWSSECRETS_TEST_CHILD=1", "HTTP_PROXY="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "AWS_REGION=eu-central-1",
		"AWS_CONFIG_FILE="+filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "credentials"),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://[fe80::1]") // without a zone: nothing leaves this machine
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	close(seen)
	for request := range seen {
		if !strings.HasPrefix(request, "CONNECT ") {
			t.Errorf("the proxy was asked %s", request)
		}
	}
}

// logged is a logger of the SDK that keeps what it is told.
type logged struct{ strings.Builder }

func (l *logged) Logf(_ logging.Classification, format string, v ...any) {
	fmt.Fprintf(l, format, v...)
}

// A program that logs what the SDK does has no secret in its log.
func TestLogOfTheSDK(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept)
	c, log := m.config(), &logged{}
	c.AWS.Logger = log
	c.AWS.ClientLogMode = aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogSigning
	if _, err := must(t, "acme/client", c)(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), kept) || strings.Contains(log.String(), accessKey) {
		t.Errorf("logged: %s", log)
	}
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{"name", "a/b?stage=AWSPENDING#key", theARN, "?stage=", "#", "name#a#b", "name?stage=a?stage=b"} {
		f.Add(seed)
	}
	c := awssecrets.Config{AWS: &aws.Config{Region: region}}
	f.Fuzz(func(t *testing.T, reference string) {
		get, err := awssecrets.Open(reference, c)
		if (get == nil) == (err == nil) {
			t.Fatalf("got %v and %v", get != nil, err)
		}
		if err == nil && (len(reference) > 2048 || strings.ContainsAny(reference, "\r\n\x00")) {
			t.Errorf("%q is a reference", reference)
		}
	})
}
