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

// maxSkew is the clock difference from which tokens may be refused: half of the
// leeway that a guard allows by default remains.
const maxSkew = 15 * time.Second

// doctorTime bounds all steps together.
const doctorTime = 30 * time.Second

func (p *program) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor CONNECTION", Short: "Find out what is wrong with a connection",
		Long: `Check each step between this machine and the API of a connection, and say what
to do about the first that fails. It ends within 30 s. With -o json: one health
object, for a monitor, with the steps.`,
		Example: `  counterfoil --config counterfoil-data/consumer.yaml doctor engagifii
  counterfoil doctor engagifii -o json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeConnections,
		RunE: func(cmd *cobra.Command, args []string) error {
			link, err := p.open(args[0])
			if err != nil {
				return err
			}
			return p.examine(cmd.Context(), link)
		},
	}
}

// answerCode is the exit code for a failed call: as in 'call', it depends on the
// API's response.
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

// finding is the result of a step, in the form of the JSON output.
type finding struct {
	Step string `json:"step"`
	// Result is "ok", "failed", "skipped" after a failed step or if there is no
	// API to call, or "warning" for something that works but may not be
	// intended.
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// diagnosis is a health with the steps that led to it.
type diagnosis struct {
	client.Health
	Steps []finding `json:"steps"`
	name  string
}

// examination carries the results of one step to the next.
type examination struct {
	*link
	place  *place
	target *url.URL // the token endpoint
	proxy  *url.URL // nil for none
	date   string   // the time according to the token endpoint's host
	said   time.Time
	token  counterfoil.Token
}

// examine runs the checklist up to the first step that fails.
func (p *program) examine(ctx context.Context, link *link) error {
	target, err := url.Parse(link.tokenURL)
	if err != nil {
		return err
	}
	e := &examination{link: link, place: p.place, target: target}
	steps := []step{
		{"secret", e.secret}, {"proxy", e.through}, {"DNS", e.lookup}, {"TLS", e.handshake}, {"clock", e.clock},
		{"token", e.fetch}, {"scope", e.scope}, {"API", e.call},
	}
	told := p.tellWaiting(ctx, link)
	defer told()
	limited, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	var found []finding
	var failed error
	for _, doubt := range link.doubts {
		found = append(found, finding{Step: "files", Result: "warning", Detail: oneLine(doubt)})
	}
	for _, s := range steps {
		if failed != nil {
			found = append(found, finding{Step: s.name, Result: "skipped"})
			continue
		}
		if none := p.noCalls(link); none != nil && s.name == "API" {
			found = append(found, finding{Step: s.name, Result: "skipped", Detail: oneLine(none.Error())})
			continue
		}
		said, err := s.run(limited)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			found = append(found, finding{Step: s.name, Result: "ok", Detail: oneLine(said)})
			continue
		}
		if limited.Err() != nil {
			err = withHint(fmt.Errorf("not done after %s", doctorTime), "try again; something on the way drops what is sent")
		}
		f := &failure{code: exitCode(err), hint: remedy(err)}
		errors.As(err, &f)
		found = append(found, finding{Step: s.name, Result: "failed", Detail: oneLine(err.Error()), Hint: p.place.words(f.hint)})
		failed = &failure{code: f.code, err: fmt.Errorf("%s is unhealthy: %s failed", link.name, s.name), hint: f.hint}
	}
	told()
	return p.diagnose(diagnosis{healthOf(found), found, link.name}, failed)
}

// healthOf derives the health, as the guides define it, from the steps.
func healthOf(found []finding) client.Health {
	h := client.Health{Status: "healthy", Authentication: "ok", APIConnectivity: "ok", Timestamp: time.Now().UTC().Truncate(time.Second)}
	for i, f := range found {
		if f.Result == "skipped" { // without an earlier failure: there is no API
			h.APIConnectivity = ""
		}
		if f.Result != "failed" {
			continue
		}
		h.Status, h.Authentication, h.APIConnectivity, h.Error = "unhealthy", "", "", "authentication: "+f.Detail
		if i == len(found)-1 {
			h.Error = "api_connectivity: " + f.Detail
		}
	}
	return h
}

// diagnose prints d and returns failed.
func (p *program) diagnose(d diagnosis, failed error) error {
	err := p.print(d, func(w io.Writer) {
		marks := map[string]string{"ok": "ok  ", "failed": "FAIL", "skipped": "-   ", "warning": "warn"}
		for _, f := range d.Steps {
			if f.Detail != "" || f.Result == "skipped" {
				fmt.Fprintf(w, "%s  %-7s %s\n", marks[f.Result], f.Step, cmp.Or(f.Detail, "not checked"))
			}
		}
		if failed == nil {
			fmt.Fprintln(w, d.name+" is healthy")
		}
	})
	return cmp.Or(err, failed)
}

func (e *examination) secret(ctx context.Context) (string, error) {
	for _, proof := range e.proofs {
		if err := proof.get(ctx); err != nil {
			return "", err
		}
	}
	if d := e.place.damaged.Load(); d != nil {
		return "", withHint(fmt.Errorf("%s: the value %s", e.place.key(d.key), d.says), "%s", copyAgain)
	}
	return "the credentials of client " + e.config.ClientID + " can be read", nil
}

// through returns the proxy of connections to the token endpoint, and "" if
// there is no proxy.
func (e *examination) through(context.Context) (string, error) {
	var err error
	if e.proxy, err = proxyOf(e.config.HTTP, e.target); err != nil || e.proxy == nil {
		return "", err
	}
	return fmt.Sprintf("%s is to connect to %s", e.proxy.Host, e.target.Hostname()), nil
}

// proxyOf returns the proxy that connections to u go through; nil for none.
func proxyOf(base http.RoundTripper, u *url.URL) (*url.URL, error) {
	transport, ok := base.(*http.Transport)
	if !ok || transport.Proxy == nil {
		return nil, nil
	}
	return transport.Proxy(&http.Request{Method: http.MethodHead, URL: u, Header: http.Header{}})
}

// lookup looks up the name that this machine must resolve: a proxy resolves the
// token endpoint's itself.
func (e *examination) lookup(ctx context.Context) (string, error) {
	host := e.target.Hostname()
	if e.proxy != nil {
		host = e.proxy.Hostname()
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil && e.proxy != nil {
		return "", withHint(fmt.Errorf("the proxy's name: %w", err), "%s", proxyRemedy)
	}
	if err != nil {
		return "", err
	}
	return host + " is " + strings.Join(addresses, ", "), nil
}

// handshake checks the certificate that the token endpoint's host presents, as a
// token request would, including whether its key is pinned. It sends no request
// that the host would refuse and record.
func (e *examination) handshake(ctx context.Context) (string, error) {
	root := url.URL{Scheme: e.target.Scheme, Host: e.target.Host, Path: "/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, root.String(), nil)
	if err != nil {
		return "", err
	}
	before := time.Now()
	resp, err := e.HTTP().RoundTrip(req)
	if err != nil {
		return "", e.inBetween(err)
	}
	resp.Body.Close()
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		return "", errors.New("the server presented no certificate")
	}
	e.date, e.said = resp.Header.Get("Date"), before.Add(time.Since(before)/2)
	leaf := resp.TLS.PeerCertificates[0]
	pinned := ""
	if len(e.config.Pins) > 0 {
		pinned = ", with a pinned key"
	}
	return fmt.Sprintf(
		"%s, certificate of %s until %s%s", tls.VersionName(resp.TLS.Version), subject(leaf),
		leaf.NotAfter.Format(time.DateOnly), pinned,
	), nil
}

// inBetween adds the proxy to an error that does not name it, such as that of an
// invalid response.
func (e *examination) inBetween(err error) error {
	if _, told := errors.AsType[*client.ProxyError](err); told || e.proxy == nil {
		return err
	}
	err = fmt.Errorf("through the proxy %s: %w", e.proxy.Host, err)
	if hint := remedy(err); hint != "" {
		return withHint(err, "%s", hint)
	}
	return withHint(err, "%s", remedyInBetween(e.proxy.Host))
}

func subject(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	return strings.Join(cert.DNSNames, ", ")
}

// clock compares this machine's clock with the server's Date.
func (e *examination) clock(context.Context) (string, error) {
	date, err := http.ParseTime(e.date)
	if err != nil {
		return "the server sends no Date", nil
	}
	skew := e.said.Sub(date.Add(500 * time.Millisecond)).Round(time.Second) // Date has whole seconds
	if skew.Abs() > maxSkew {
		return "", withHint(
			fmt.Errorf("this machine's clock is %s off the server's", skew),
			"set this machine's clock, for example with a time service: tokens are refused when it is off",
		)
	}
	return fmt.Sprintf("%s off the server's", skew.Abs()), nil
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
	case !granted.ContainsAll(needed):
		return "", withHint(
			fmt.Errorf("the token has %q, the API needs %q", granted, needed),
			"add it to {scope}, or ask the provider to allow it to the client",
		)
	}
	return granted.String(), nil
}

func (e *examination) call(ctx context.Context) (string, error) {
	health := e.Check(ctx)
	if err := health.AuthenticationErr; err != nil {
		return "", err
	}
	if err := health.APIErr; err != nil {
		var refused *counterfoil.Error
		hint := remedy(err)
		if errors.As(err, &refused) && refused.Status >= 400 {
			hint = callRemedy(refused.Status)
		}
		return "", &failure{code: answerCode(err), err: err, hint: hint}
	}
	return e.apiURL + " answers", nil
}
