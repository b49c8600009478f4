package client_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
)

func TestKeyThatFails(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name string
		key  client.KeyFunc
		want string
	}{
		{"not there", func(context.Context) (client.Key, error) { return client.Key{}, errors.New("away") }, "cannot be read from where Config.Key says: away"},
		{"no signer", always(client.Key{}), "it has no Signer"},
		{"another kind's algorithm", always(client.Key{Signer: newKey(t, jose.ES256).Signer, Algorithm: jose.RS256}), `its Algorithm is "RS256"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := w.fails(w.source(w.keyed(row.key)))
			equal(t, "reason", e.Reason, counterfoil.ReasonCredentialsMissing)
			if !strings.Contains(e.Error(), row.want) {
				t.Errorf("got %v, want %q", e, row.want)
			}
		})
	}
	equal(t, "token requests", w.asked(), 0)
}

// hardware is a key that cannot be looked into, and may be away.
type hardware struct {
	crypto.Signer
	away bool
}

func (h *hardware) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if h.away {
		return nil, errors.New("the slot is empty")
	}
	return h.Signer.Sign(r, digest, opts)
}

func TestKeyInHardware(t *testing.T) {
	w := newWorld(t)
	h := &hardware{Signer: newKey(t, jose.PS256).Signer}
	s := w.source(w.keyed(always(client.Key{Signer: h, Algorithm: jose.PS256})))
	w.must(s)
	claimsOf(t, w.tokenForm(0).Get("client_assertion"), h.Public(), jose.PS256)
	h.away = true
	w.clock.Turn(2 * time.Hour)
	var e *counterfoil.Error
	w.turning(10*time.Second, func() { e = w.fails(s) })
	equal(t, "class", e.Class(), counterfoil.ClassTransient)
	if !strings.Contains(e.Error(), "cannot sign") {
		t.Errorf("got %v", e)
	}
}

func TestPrivateKey(t *testing.T) {
	k := newKey(t, jose.PS256)
	der, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	text := counterfoil.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	read := client.PrivateKey(func(context.Context) (counterfoil.Secret, error) { return text, nil })
	first, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "algorithm", first.Algorithm, jose.RS256)
	again, err := read(t.Context())
	if err != nil || again.Signer != first.Signer {
		t.Errorf("the key was read again, or %v", err)
	}
	text = "hunter2"
	if _, err := read(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	broken := client.PrivateKey(func(context.Context) (counterfoil.Secret, error) { return "", errors.New("away") })
	if _, err := broken(t.Context()); err == nil || err.Error() != "away" {
		t.Errorf("got %v", err)
	}
}

// A key is not shown, however it is printed.
func TestKeyIsNotShown(t *testing.T) {
	k := newKey(t, jose.RS256)
	d := k.Signer.(*rsa.PrivateKey).D
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := fmt.Sprintf(verb, client.Config{DPoP: k}) + fmt.Sprintf(verb, k)
		if strings.Contains(text, d.String()) || strings.Contains(text, d.Text(16)) || !strings.Contains(text, "client.Key(RS256") {
			t.Errorf("%s shows the key", verb)
		}
	}
	text, err := k.MarshalJSON()
	if err != nil || strings.Contains(string(text), d.String()) || strings.Contains(k.LogValue().String(), d.String()) {
		t.Errorf("the key is shown, or %v", err)
	}
}
