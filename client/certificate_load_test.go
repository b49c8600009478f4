package client_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// bound is a token endpoint that binds each token to the certificate of its
// request, and an API that takes a token on connections with that one only.
type bound struct {
	*world
	replace bool // a new token ends the old one

	certificates map[string]string // by token, guarded by world.mu
	last         string
	wrong        []string // calls with another certificate than the token's
}

func newBound(t *testing.T) *bound {
	b := &bound{world: newWorld(t), certificates: map[string]string{}}
	b.onAsk = func(rw http.ResponseWriter, r seen, n int) {
		b.mu.Lock()
		b.last = fmt.Sprintf("Bearer token-%d", n)
		b.certificates[b.last] = shown(r)
		b.mu.Unlock()
		give(rw, n, "3600")
	}
	b.onCall = func(rw http.ResponseWriter, r seen, _ int) {
		token := r.Header.Get("Authorization")
		b.mu.Lock()
		want, last := b.certificates[token], b.last
		if got := shown(r); got != want || got == "" {
			b.wrong = append(b.wrong, fmt.Sprintf("%s of %q came with %q", token, want, got))
			rw.WriteHeader(http.StatusUnauthorized)
		} else if b.replace && token != last {
			rw.WriteHeader(http.StatusUnauthorized)
		}
		b.calls = nil // there are many
		b.mu.Unlock()
	}
	return b
}

// source takes its certificate from files.
func (b *bound) source(certificate, key string) *client.Source {
	c := b.config("oauth2")
	if b.replace {
		c.Provider.TokenEndpoint.Policy = provider.PolicyReplace
	}
	base := b.base()
	base.MaxIdleConnsPerHost = 20
	c.HTTP, c.ClientSecret, c.Certificate = base, nil, client.CertificateFiles(certificate, key)
	return b.world.source(c)
}

// load makes calls, several at a time, until stop is called; each must be answered
// 200. Done is how many were.
func (b *bound) load(s *client.Source) (done *atomic.Int64, stop func()) {
	done = new(atomic.Int64)
	var stopped atomic.Bool
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for !stopped.Load() {
				var resp *http.Response
				var err error
				if i%2 == 0 {
					resp, err = s.Client().Get(b.api.URL)
				} else {
					resp, err = s.Client().Post(b.api.URL, "text/plain", strings.NewReader("an order"))
				}
				if err != nil {
					b.t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.t.Errorf("a call was answered %d", resp.StatusCode)
					return
				}
				done.Add(1)
			}
		})
	}
	return done, func() { stopped.Store(true); all.Wait() }
}

// A certificate is renewed on disk, again and again, while calls are made: none of
// them fails, and each token travels with the certificate that it is bound to.
func TestCertificateIsRenewedUnderLoad(t *testing.T) {
	for _, row := range []struct {
		name    string
		sameKey bool
		replace bool
		// ends is how long a certificate lives; the token request comes after 56
		// minutes at the latest.
		ends time.Duration
	}{
		{"another key", false, false, 1000 * time.Hour},
		{"the same key", true, false, 1000 * time.Hour},
		{"a new token ends the old one", false, true, 1000 * time.Hour},
		{"the old one is about to end", false, false, 70 * time.Minute},
		{"the old one ends before its token would", true, false, 58 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBound(t)
			b.replace = row.replace
			dir := t.TempDir()
			certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			signer := newKey(t, jose.ES256).Signer
			writePair(t, certifyKey(t, "0", b.clock.Now().Add(row.ends), signer), certificate, key)
			s := b.source(certificate, key)
			b.must(s)
			done, stop := b.load(s)
			more := func(what string) {
				t.Helper()
				from := done.Load()
				b.eventually(what, func() bool { return t.Failed() || done.Load() > from+30 })
			}
			for lap := 1; lap <= 4 && !t.Failed(); lap++ {
				more("calls with the one before")
				if !row.sameKey {
					signer = newKey(t, jose.ES256).Signer
				}
				next := certifyKey(t, fmt.Sprint(lap), b.clock.Now().Add(56*time.Minute+row.ends), signer)
				first, second := []string{certificate, ""}, []string{"", key}
				if lap%2 == 0 {
					first, second = second, first
				}
				writePair(t, next, first[0], first[1])
				more("calls while only one of the files is new")
				writePair(t, next, second[0], second[1])
				b.clock.Turn(56 * time.Minute)
				b.eventually("a token is bound to the new one", func() bool {
					b.mu.Lock()
					defer b.mu.Unlock()
					return b.certificates[b.last] == fmt.Sprint(lap)
				})
				more("calls with the new one")
			}
			stop()
			equal(t, "calls with a certificate that is not their token's", strings.Join(b.wrong, "; "), "")
			if n := b.asked(); n > 2*4+1 {
				t.Errorf("%d token requests for 5 certificates", n)
			}
		})
	}
}

// The same certificate may come with other ones that lead to its authority: they
// are shown from the next token request on, and it is one and the same token that
// is renewed.
func TestCertificateChainIsReplaced(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	leaf, authority := certify(t, "one", theStart.Add(1000*time.Hour)), certify(t, "an authority", theStart.Add(1000*time.Hour))
	writePair(t, leaf, certificate, key)
	var cert *tls.Certificate
	c := w.certified(&cert)
	c.Certificate, c.Cache = client.CertificateFiles(certificate, key), client.Memory()
	s := w.source(c)
	w.must(s)
	chain := func(n int) (names []string) {
		for _, c := range w.seenTokens()[n].TLS.PeerCertificates {
			names = append(names, c.Subject.CommonName)
		}
		return names
	}
	equal(t, "shown at first", strings.Join(chain(0), ", "), "one")
	f, err := os.OpenFile(certificate, os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	must(pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate[0]}))
	must(f.Close())
	equal(t, "token of another Source", w.must(w.source(c)), "token-1")
	w.clock.Turn(56 * time.Minute)
	w.must(s)
	w.eventually("the token is renewed", func() bool { return w.must(s) == "token-2" })
	equal(t, "shown then", strings.Join(chain(1), ", "), "one, an authority")
	equal(t, "token requests", w.asked(), 2)
}

// A provider that answers the same token until it ends is not asked once more
// because that is used with another chain by now.
func TestSameTokenWithAnotherChain(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, _ int) { give(rw, 1, "3600") })
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	s := w.source(w.certified(&cert))
	w.must(s)
	w.clock.Turn(56 * time.Minute)
	chained := *cert
	chained.Certificate = append(chained.Certificate[:1:1], certify(t, "an authority", theStart.Add(1000*time.Hour)).Certificate[0])
	cert = &chained
	for range 60 {
		equal(t, "token", w.must(s), "token-1")
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		w.clock.Turn(time.Second)
	}
	equal(t, "token requests before the last call", w.asked(), 2)
	equal(t, "certificates shown at the second", len(w.seenTokens()[1].TLS.PeerCertificates), 2)
}
