// Package webhook sends alerts to a URL, signed as the specification Standard
// Webhooks says (https://www.standardwebhooks.com), so that the receiver can check
// them with one of its libraries. docs/webhooks.md says what a receiver has to do.
//
// It promises that an alert goes to that URL only, over verified TLS or to this
// machine; that it follows no redirect and uses no proxy of the environment; that an
// attempt is bounded in time; and that no error shows a secret or the path of the
// URL, which for some receivers is a password.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

const (
	defaultTimeout = 10 * time.Second
	// maxAfter bounds what a receiver can ask for.
	maxAfter = time.Hour
	// Bounds of a secret, in bytes, as in the specification.
	minSecret, maxSecret = 24, 64
)

// Config configures a Sender.
type Config struct {
	// URL is where alerts are posted: https, or http where its host is localhost or a
	// loopback address. Required.
	URL string
	// Secret signs: whsec_ and from 24 to 64 random bytes in base64. Required.
	// Previous is one that is being replaced, or empty: both sign, and a receiver
	// accepts either.
	Secret, Previous counterfoil.Secret
	// Kinds are the alerts that are sent; empty means all.
	Kinds []alerts.Kind
	// RootCAs are the authorities that are trusted; default the system's.
	RootCAs *x509.CertPool
	// Timeout bounds an attempt; default 10 seconds.
	Timeout time.Duration
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
}

// Sender sends alerts to one URL. It is safe for concurrent use.
type Sender struct {
	url, name string
	keys      [][]byte
	kinds     []alerts.Kind
	clock     counterfoil.Clock
	fetcher   *outbound.Fetcher
}

var _ alerts.Sender = (*Sender)(nil)

// New checks c and returns its Sender.
func New(c Config) (*Sender, error) {
	u, err := CheckURL(c.URL)
	if err != nil {
		return nil, err
	}
	s := &Sender{url: c.URL, name: Name(u), kinds: c.Kinds, clock: c.Clock}
	if s.clock == nil {
		s.clock = clock.System
	}
	secrets := []counterfoil.Secret{c.Secret}
	if c.Previous != "" {
		secrets = append(secrets, c.Previous)
	}
	for _, secret := range secrets {
		key, err := ParseSecret(secret)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, key)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	s.fetcher, err = outbound.New(outbound.Config{
		// The operator writes the URL, so it may be in the operator's network.
		AllowedHosts: []string{hostOf(u)}, AllowPrivate: true, PlainLoopback: true,
		RootCAs: c.RootCAs, Timeout: c.Timeout, Clock: s.clock,
	})
	return s, err
}

// CheckURL returns the parsed URL of a receiver, or why alerts cannot be sent there.
// The error does not repeat it.
func CheckURL(text string) (*url.URL, error) {
	u, ok := httpsurl.Parse(text)
	if !ok {
		u, ok = httpsurl.Loopback(text)
	}
	if !ok {
		return nil, errors.New("the URL of a webhook must be an https URL without credentials and fragment; http is for localhost only")
	}
	if _, err := outbound.New(outbound.Config{AllowedHosts: []string{hostOf(u)}}); err != nil {
		return nil, errors.New("the URL of a webhook must have the name or the address of a host")
	}
	return u, nil
}

// hostOf returns the host of a URL with its port.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Name is that of the Sender to a URL, which CheckURL has parsed: without its path and
// query, which may have a password; digits of a hash tell those of one host apart.
func Name(u *url.URL) string {
	name := "webhook " + u.Scheme + "://" + strings.ToLower(u.Host)
	if u.RequestURI() == "/" {
		return name
	}
	sum := sha256.Sum256([]byte(u.RequestURI()))
	return fmt.Sprintf("%s/… (%x)", name, sum[:3])
}

// ParseSecret returns the key of a secret. The error does not show it.
func ParseSecret(s counterfoil.Secret) ([]byte, error) {
	text, ok := strings.CutPrefix(s.Reveal(), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("the secret of a webhook is whsec_ and from %d to %d random bytes in base64: "+
			`make one with echo "whsec_$(openssl rand -base64 32)"`, minSecret, maxSecret)
	}
	return key, nil
}

// Name is that of package function Name.
func (s *Sender) Name() string { return s.name }

// Send posts an alert once. It does nothing for a kind that is not to be sent.
//
// The answers 400, 410, 413 and 422 are a PermanentError: the receiver will not take
// this alert. After any other but 2xx it can, once somebody has corrected the receiver
// or its settings. The error is a LaterError if the answer has a Retry-After.
func (s *Sender) Send(ctx context.Context, a alerts.Alert) error {
	if len(s.kinds) > 0 && !slices.Contains(s.kinds, a.Kind) {
		return nil
	}
	body, err := encode(&a)
	if err != nil {
		return &alerts.PermanentError{Err: fmt.Errorf("%s: %w", s.name, err)}
	}
	now := s.clock.Now()
	id, at := a.MessageID(), strconv.FormatInt(now.Unix(), 10)
	status, answer, err := s.fetcher.Post(ctx, s.url, http.Header{
		"Content-Type":      {"application/json"},
		"Webhook-Id":        {id},
		"Webhook-Timestamp": {at},
		"Webhook-Signature": {s.sign(id + "." + at + "." + string(body))},
	}, body)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s.name, err)
	case status/100 == 2:
		return nil
	case status/100 == 3:
		return fmt.Errorf("%s answered %d, a redirect, which is not followed: name the URL that it leads to", s.name, status)
	}
	err = fmt.Errorf("%s answered %d", s.name, status)
	switch status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &alerts.PermanentError{Err: err}
	}
	if after := retryAfter(answer, now); after > 0 {
		return &alerts.LaterError{Err: err, After: after}
	}
	return err
}

// encode returns the JSON of an alert in one line.
func encode(a *alerts.Alert) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // commands have < and &
	err := e.Encode(a)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// sign returns the value of webhook-signature: a signature by each key.
func (s *Sender) sign(text string) string {
	signatures := make([]string, len(s.keys))
	for i, key := range s.keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return strings.Join(signatures, " ")
}

// retryAfter reads a Retry-After (RFC 9110 section 10.2.3): seconds, or a date,
// which is compared with the Date of the answer if it has one. An invalid value is
// 0, and none exceeds maxAfter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return maxAfter
		}
		return min(time.Duration(seconds)*time.Second, maxAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxAfter)
}
