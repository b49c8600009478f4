package store

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The JSON form of Settings is that of the Admin API. It is not what a database
// stores. Settings are embedded in other structs, so only the two types within
// them whose form differs from their fields have methods, which serve both
// encoding/json and go-json-experiment/json.

// asStored accepts the JSON of any key set that can be used, since the writer
// of one may repeat members.
var asStored = json.JoinOptions(json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// lifetime is a duration in its JSON form: empty for 0.
type lifetime time.Duration

func (l lifetime) MarshalText() ([]byte, error) {
	if l == 0 {
		return nil, nil
	}
	return []byte(time.Duration(l).String()), nil
}

func (l *lifetime) UnmarshalText(text []byte) error {
	*l = 0
	if len(text) == 0 {
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New("it must be a duration as 15m")
	}
	*l = lifetime(d)
	return nil
}

// keySet is a JWK Set in its JSON form, an object; empty for none.
type keySet string

func (k keySet) MarshalJSONTo(enc *jsontext.Encoder) error { return enc.WriteValue(jsontext.Value(k)) }

func (k *keySet) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*k = ""
	v, err := dec.ReadValue()
	switch {
	case err != nil || v.Kind() == 'n':
		return err
	case v.Kind() != '{':
		return errors.New("it must be a JSON object")
	}
	text := v.Clone()
	err = text.Compact(asStored)
	*k = keySet(text)
	return err
}

type (
	bareTokens TokenSettings
	tokensForm struct {
		Lifetime lifetime `json:"lifetime"`
		bareTokens
	}

	bareAuthentication Authentication
	authenticationForm struct {
		KeySet keySet `json:"jwks,omitzero"`
		bareAuthentication
	}
)

// MarshalJSON encodes the Lifetime as 15m0s.
func (t TokenSettings) MarshalJSON() ([]byte, error) {
	return json.Marshal(tokensForm{lifetime(t.Lifetime), bareTokens(t)}, asStored)
}

// UnmarshalJSON decodes what MarshalJSON encodes, and any other duration.
func (t *TokenSettings) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, t) }

// UnmarshalJSONFrom is UnmarshalJSON with the options of the decoder.
func (t *TokenSettings) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	f := tokensForm{lifetime(t.Lifetime), bareTokens(*t)}
	if err := json.UnmarshalDecode(dec, &f); err != nil {
		return err
	}
	*t = TokenSettings(f.bareTokens)
	t.Lifetime = time.Duration(f.Lifetime)
	return nil
}

// MarshalJSON encodes the KeySet as an object.
func (a Authentication) MarshalJSON() ([]byte, error) {
	return json.Marshal(authenticationForm{keySet(a.KeySet), bareAuthentication(a)}, asStored)
}

// UnmarshalJSON decodes what MarshalJSON encodes.
func (a *Authentication) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, a, asStored) }

// UnmarshalJSONFrom is UnmarshalJSON with the options of the decoder.
func (a *Authentication) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	f := authenticationForm{keySet(a.KeySet), bareAuthentication(*a)}
	if err := json.UnmarshalDecode(dec, &f); err != nil {
		return err
	}
	*a = Authentication(f.bareAuthentication)
	a.KeySet = string(f.KeySet)
	return nil
}
