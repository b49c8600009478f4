// Package awssecrets takes a credential from AWS Secrets Manager. Use it where
// the client secret of a program that runs on AWS is kept and rotated there. It
// is a module of its own: the SDK that signs the requests comes with it.
//
// A reference is NAME, a secret's name or its ARN; NAME?stage=LABEL is the
// version with a staging label other than AWSCURRENT; NAME#KEY, after either, is
// the string KEY of a secret that is a JSON object. A secret that is named by
// its ARN is read from the region of the ARN.
//
// It has the properties of package credential; above all, a rotated secret is
// used without a restart. No error holds a signature or the text of the service.
// It needs the permission secretsmanager:GetSecretValue, and kms:Decrypt if the
// secret is encrypted with a customer-managed key.
package awssecrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

// Config says how the service is reached, and with which identity. Its zero
// value is the SDK's default chain: environment, shared files, web identity,
// container and instance roles.
type Config struct {
	// AWS has the region, the login, the transport and the retries; default the
	// result of config.LoadDefaultConfig.
	AWS *aws.Config
	// Endpoint is the service's https URL if it is not the region's public one:
	// that of a VPC endpoint, for example. It takes precedence over
	// AWS.BaseEndpoint.
	Endpoint string
	// Keep says how long a value is kept, and bounds a fetch, including login
	// and retries; default 10 s.
	Keep credential.KeepOptions
}

// Open returns the named secret, cached by credential.Keep. It is fetched at the
// first call; the error is about the reference or c.
func Open(reference string, c Config) (client.SecretFunc, error) { return Opener(c)(reference) }

// Opener returns an opener of references that share one configuration, which is
// loaded with the first of them. Use it in a credential.Schemes, as "awssm".
func Opener(c Config) credential.Opener {
	load := sync.OnceValues(c.service)
	return func(reference string) (client.SecretFunc, error) {
		s, err := parse(reference)
		if err != nil {
			return nil, err
		}
		if s.service, err = load(); err != nil {
			return nil, err
		}
		if s.service.Options().Region == "" && s.region == "" {
			return nil, errors.New("awssecrets: no region is set: set AWS_REGION, or name the secret by its ARN")
		}
		return credential.Keep(s.fetch, c.Keep), nil
	}
}

// service returns the SDK's client of the service.
func (c Config) service() (*secretsmanager.Client, error) {
	if c.AWS == nil {
		loaded, err := config.LoadDefaultConfig(
			context.Background(), config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(directly)),
		)
		var profile config.SharedConfigProfileNotExistError
		switch {
		case errors.As(err, &profile):
			return nil, errors.New("awssecrets: the selected profile is not in the shared configuration files: check AWS_PROFILE")
		case err != nil:
			return nil, errors.New(
				"awssecrets: the configuration of AWS cannot be loaded: 'aws sts get-caller-identity' says what is wrong with it",
			)
		}
		c.AWS = &loaded
	}
	transport := bounded(c.AWS.HTTPClient)
	if err := transport.Check(); err != nil {
		return nil, fmt.Errorf("awssecrets: %w", err)
	}
	s := secretsmanager.NewFromConfig(*c.AWS, func(o *secretsmanager.Options) {
		o.HTTPClient = transport
		o.Credentials = login{o.Credentials}
		// A log of requests and responses would hold the secret.
		o.ClientLogMode = 0
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	if at := s.Options().BaseEndpoint; at != nil {
		if _, ok := httpsurl.Parse(*at); !ok {
			return nil, errors.New(
				"awssecrets: the endpoint is not an https URL without credentials: check Config.Endpoint and AWS_ENDPOINT_URL",
			)
		}
	}
	return s, nil
}

// directly keeps requests without TLS from proxies: they are logins at a
// metadata service, on this machine or its link.
func directly(t *http.Transport) {
	proxy := t.Proxy
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		if proxy == nil || req.URL.Scheme != "https" {
			return nil, nil
		}
		return proxy(req)
	}
}

// bounded is the SDK's HTTP client c with the bounds of package remote.
func bounded(c aws.HTTPClient) *remote.Client {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		return &remote.Client{Base: b.GetTransport()}
	}
	return remote.Of(c)
}

// secret is a named secret.
type secret struct {
	reference, id, stage, key string
	region                    string // of the ARN
	service                   *secretsmanager.Client
}

var (
	name  = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	arn   = regexp.MustCompile(`^arn:aws[a-z-]{0,20}:secretsmanager:([a-z0-9-]{1,40}):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}$`)
	label = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,256}$`)
	key   = regexp.MustCompile(`^[\pL\pM\pN\pP\pS ]{1,256}$`)
)

// errReference does not show the reference: it may be the secret itself.
var errReference = errors.New("awssecrets: the reference must be a secret's name or ARN, then optionally ?stage=LABEL and #KEY")

func parse(reference string) (*secret, error) {
	s := &secret{reference: reference}
	rest, member, hasKey := strings.Cut(reference, "#")
	id, stage, hasStage := strings.Cut(rest, "?stage=")
	if hasKey && !key.MatchString(member) || hasStage && !label.MatchString(stage) {
		return nil, errReference
	}
	if found := arn.FindStringSubmatch(id); found != nil {
		s.region = found[1]
	} else if !name.MatchString(id) {
		return nil, errReference
	}
	s.id, s.stage, s.key = id, stage, member
	return s, nil
}

// fetch gets the secret from the service.
func (s *secret) fetch(ctx context.Context) (counterfoil.Secret, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &s.id}
	if s.stage != "" {
		in.VersionStage = &s.stage
	}
	out, err := s.service.GetSecretValue(ctx, in, func(o *secretsmanager.Options) {
		if s.region != "" {
			o.Region = s.region
		}
	})
	if err != nil {
		return "", fmt.Errorf("secret awssm:%s: %w", s.reference, reason(ctx, err))
	}
	value, err := s.value(out)
	if err != nil {
		return "", fmt.Errorf("secret awssm:%s: %w", s.reference, err)
	}
	return value, nil
}

// value extracts the secret from the response.
func (s *secret) value(out *secretsmanager.GetSecretValueOutput) (counterfoil.Secret, error) {
	text := string(out.SecretBinary)
	if out.SecretString != nil {
		text = *out.SecretString
	}
	if s.key == "" {
		return remote.Value(text)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return "", errors.New("it is not a JSON object: leave out #KEY to use it whole")
	}
	member, ok := object[s.key]
	if !ok {
		return "", errors.New("the JSON object has no such key")
	}
	var kept *string
	if err := json.Unmarshal(member, &kept); err != nil || kept == nil {
		return "", errors.New("the value of the key in the JSON object is not a string")
	}
	return remote.Value(*kept)
}
