package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/spf13/cobra"
)

// maxSkew is the clock difference from which tokens may be refused: half the
// leeway that a guard grants by default is left.
const maxSkew = 15 * time.Second

func (p *program) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor CONNECTION", Short: "Find out what is wrong with a connection",
		Long: `Look at each step between this machine and the API of a connection, and say what
to do about the first that fails. With -o json: one health object, for a monitor.`,
		Example: `  counterfoil --config counterfoil-data/consumer.yaml doctor engagifii
  counterfoil doctor engagifii -o json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeConnections,
		RunE: func(cmd *cobra.Command, args []string) error {
			link, err := p.open(args[0])
			if err != nil {
				return err
			}
			if p.output == jsonForm {
				return p.health(cmd.Context(), link)
			}
			return p.examine(cmd.Context(), link)
		},
	}
}

// health prints what a monitor reads.
func (p *program) health(ctx context.Context, link *link) error {
	health := link.Check(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := p.print(health, nil); err != nil {
		return err
	}
	switch {
	case health.AuthenticationErr != nil:
		return &failure{code: exitCode(health.AuthenticationErr), err: errors.New("")}
	case health.APIErr != nil:
		return &failure{code: answerCode(health.APIErr), err: errors.New("")}
	}
	return nil
}

// answerCode is the exit code for a failed call: as in 'call', what the API
// answered decides.
func answerCode(err error) int {
	var refused *counterfoil.Error
	switch {
	case !errors.As(err, &refused) || refused.Status < 400:
		return exitLocal
	case refused.Status < 500:
		return exitCallerFault
	}
	return exitServerFault
}

// step is one line of the checklist.
type step struct {
	name string
	run  func(context.Context) (string, error)
}

// examination carries what one step leaves to the next.
type examination struct {
	*link
	target *url.URL // the token endpoint
	token  counterfoil.Token
}

// examine goes through the checklist and stops at the first step that fails.
func (p *program) examine(ctx context.Context, link *link) error {
	target, err := url.Parse(link.tokenURL)
	if err != nil {
		return err
	}
	e := &examination{link: link, target: target}
	steps := []step{
		{"secret", e.secret}, {"DNS", e.lookup}, {"TLS", e.handshake}, {"clock", e.clock},
		{"token", e.fetch}, {"scope", e.scope}, {"API", e.call},
	}
	for i, s := range steps {
		said, err := s.run(ctx)
		if err == nil {
			fmt.Fprintf(p.Out, "ok    %-7s %s\n", s.name, oneLine(said))
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(p.Out, "FAIL  %-7s %s\n", s.name, oneLine(err.Error()))
		for _, rest := range steps[i+1:] {
			fmt.Fprintf(p.Out, "-     %-7s not looked at\n", rest.name)
		}
		f := &failure{code: exitCode(err), hint: remedy(err)}
		errors.As(err, &f)
		return &failure{code: f.code, err: fmt.Errorf("%s is unhealthy: %s failed", link.name, s.name), hint: f.hint}
	}
	fmt.Fprintf(p.Out, "%s is healthy\n", link.name)
	return nil
}

func (e *examination) secret(ctx context.Context) (string, error) {
	for _, get := range []client.SecretFunc{e.config.ClientSecret, e.config.APIKey} {
		if get == nil {
			continue
		}
		if _, err := get(ctx); err != nil {
			return "", withHint(err, "check client_secret and api_key of the connection: each says where the secret is")
		}
	}
	return "client " + e.config.ClientID + " has its credentials", nil
}

func (e *examination) lookup(ctx context.Context) (string, error) {
	addresses, err := net.DefaultResolver.LookupHost(ctx, e.target.Hostname())
	if err != nil {
		return "", err
	}
	return e.target.Hostname() + " is " + strings.Join(addresses, ", "), nil
}

// handshake looks at the certificate that the token endpoint shows.
func (e *examination) handshake(ctx context.Context) (string, error) {
	resp, err := e.head(ctx)
	if err != nil {
		return "", err
	}
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		return "", errors.New("the server showed no certificate")
	}
	leaf := resp.TLS.PeerCertificates[0]
	return fmt.Sprintf("%s, certificate of %s until %s", tls.VersionName(resp.TLS.Version), subject(leaf), leaf.NotAfter.Format(time.DateOnly)), nil
}

func subject(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	return strings.Join(cert.DNSNames, ", ")
}

// clock compares this machine's clock with the server's Date.
func (e *examination) clock(ctx context.Context) (string, error) {
	before := time.Now()
	resp, err := e.head(ctx)
	if err != nil {
		return "", err
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return "the server says no time", nil
	}
	// Date has whole seconds, and was written between before and now.
	skew := before.Add(time.Since(before) / 2).Sub(date.Add(500 * time.Millisecond)).Round(time.Second)
	if skew.Abs() > maxSkew {
		return "", withHint(fmt.Errorf("this machine's clock is %s off the server's", skew), "set this machine's clock, for example with a time service: tokens are refused when it is off")
	}
	return fmt.Sprintf("%s off the server's", skew.Abs()), nil
}

// head asks the token endpoint for nothing; any answer will do.
func (e *examination) head(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, e.target.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := e.config.HTTP.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp, resp.Body.Close()
}

func (e *examination) fetch(ctx context.Context) (string, error) {
	var err error
	if e.token, err = e.Token(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s token, expires in %s", e.token.Type, time.Until(e.token.Expires).Round(time.Second)), nil
}

func (e *examination) scope(context.Context) (string, error) {
	needed, granted := e.api.Scopes, e.token.Scopes
	switch {
	case granted == nil && len(needed) == 0:
		return "none needed", nil
	case granted == nil:
		return "the provider does not say what it granted; the API needs " + needed.String(), nil
	case !granted.ContainAll(needed):
		return "", withHint(fmt.Errorf("the token has %q, the API needs %q", granted, needed), "add the scope to the connection, or ask the provider to allow it to the client")
	}
	return granted.String(), nil
}

func (e *examination) call(ctx context.Context) (string, error) {
	health := e.Check(ctx)
	if err := cmp.Or(health.AuthenticationErr, health.APIErr); err != nil {
		var refused *counterfoil.Error
		hint := remedy(err)
		if errors.As(err, &refused) && refused.Status >= 400 {
			hint = callRemedy(refused.Status)
		}
		return "", &failure{code: answerCode(err), err: err, hint: hint}
	}
	return e.apiURL + " answers", nil
}

// callRemedy is the next action when the API itself has refused.
func callRemedy(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "the API does not accept the token: check that token_url and api_url belong to the same provider"
	case status == http.StatusForbidden:
		return "the client lacks a permission: check scope, tenant and api_key of the connection with the provider"
	case status == http.StatusTooManyRequests:
		return "the API limits calls: wait a minute"
	case status >= 500:
		return "the API has a problem of its own: try again later"
	}
	return "check api_url and tenant of the connection"
}
