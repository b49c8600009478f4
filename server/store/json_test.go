package store_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	own "github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/server/store"
)

// TestJSON: both JSON packages give token settings and authentication the same
// form, and read it back.
func TestJSON(t *testing.T) {
	type settings struct {
		Tokens         store.TokenSettings  `json:"tokens"`
		Authentication store.Authentication `json:"authentication"`
	}
	for want, v := range map[string]settings{
		`{"tokens":{"lifetime":"","algorithm":"","policy":"","claims":{},"certificate_bound":false,"dpop_bound":false},` +
			`"authentication":{"jwks_uri":"","certificate":{},"thumbprints":[],"federation":[]}}`: {},
		`{"tokens":{"lifetime":"15m0s","algorithm":"ES256","policy":"reuse","claims":{"a":"1","b":"2"},` +
			`"certificate_bound":true,"dpop_bound":true},"authentication":{"jwks":{"keys":[{"x":1,"x":2}]},"jwks_uri":"","certificate":{"tls_client_auth_san_dns":"a"},"thumbprints":["b"],` +
			`"federation":[{"issuer":"c","claims":{"sub":"d"}}]}}`: {
			store.TokenSettings{
				Lifetime: 15 * time.Minute, Algorithm: "ES256", Policy: "reuse", Claims: map[string]string{"a": "1", "b": "2"},
				CertificateBound: true, DPoPBound: true,
			},
			store.Authentication{
				KeySet: `{"keys":[{"x":1,"x":2}]}`, Certificate: store.CertificateRule{DNS: "a"}, Thumbprints: []string{"b"},
				Federation: []store.FederationRule{{Issuer: "c", Claims: map[string]string{"sub": "d"}}},
			},
		},
	} {
		text, err := json.Marshal(v)
		if err != nil || string(text) != want {
			t.Errorf("%s, want %s, error %v", text, want, err)
		}
		var back settings
		if err := json.Unmarshal(text, &back); err != nil {
			t.Error(err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != want {
			t.Errorf("read back as %s, want %s, error %v", again, want, err)
		}
		if v.Tokens.Lifetime != 0 && !reflect.DeepEqual(back, v) {
			t.Errorf("read back as %+v, want %+v", back, v)
		}
		if text, err := own.Marshal(v.Tokens); err != nil || len(text) == 0 {
			t.Errorf("%s, error %v", text, err)
		}
	}
	// The other package fills in the whole, too.
	text, err := own.Marshal(store.Settings{})
	const zero = `{"name":"","contact":"","environment":"","scopes":[],"tenants":[],"addresses":[],"labels":{},"resource_server":false,` +
		`"tokens":{"lifetime":"","algorithm":"","policy":"","claims":{},"certificate_bound":false,"dpop_bound":false},` +
		`"authentication":{"jwks_uri":"","certificate":{},"thumbprints":[],"federation":[]}}`
	if err != nil || string(text) != zero {
		t.Errorf("%s, want %s, error %v", text, zero, err)
	}
	var s store.Settings
	const newer = `{"tokens":{"lifetime":"1h","newer":1},"authentication":{"jwks":{ "keys" : [] }},"newer":2}`
	if err := own.Unmarshal([]byte(newer), &s); err != nil ||
		s.Tokens.Lifetime != time.Hour || s.Authentication.KeySet != `{"keys":[]}` {
		t.Errorf("read as %+v, error %v", s, err)
	}
}
