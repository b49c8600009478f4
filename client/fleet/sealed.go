package fleet

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/seal"
)

// maxSealed bounds what is read from the server as a sealed value, in bytes: a
// token response is smaller.
const maxSealed = 256 << 10

// ring is the master keys: the first seals, all open.
type ring []*seal.Key

func openRing(ctx context.Context, keys []client.SecretFunc) (ring, error) {
	if len(keys) == 0 {
		return nil, errors.New(
			"fleet: Config.Keys is missing: tokens are kept encrypted under a master key, " +
				"make one with 'openssl rand -base64 32' and give it to every process",
		)
	}
	var all ring
	for i, get := range keys {
		text, err := get(ctx)
		if err != nil {
			return nil, fmt.Errorf("fleet: read Config.Keys[%d]: %w", i, err)
		}
		k, err := seal.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("fleet: Config.Keys[%d]: %w", i, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// digests returns what identifies value to the holders of a key of the ring, one
// for each key, separated by commas.
func (r ring) digests(purpose string, value []byte) string {
	all := make([]string, len(r))
	for i, k := range r {
		mac := hmac.New(sha256.New, k.Derive("fleet "+purpose))
		mac.Write(value)
		all[i] = hex.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(all, ",")
}

// open opens what any key of the ring has sealed for context.
func (r ring) open(sealed, context string) ([]byte, error) {
	id, ok := seal.Sealed([]byte(sealed))
	if !ok || len(sealed) > maxSealed {
		return nil, seal.ErrDamaged
	}
	for _, k := range r {
		if k.ID() == id {
			return k.Open([]byte(sealed), context)
		}
	}
	return nil, otherKey(id)
}

// ids returns the IDs of the keys, separated by commas.
func (r ring) ids() string {
	all := make([]string, len(r))
	for i, k := range r {
		all[i] = k.ID()
	}
	return strings.Join(all, ",")
}

// otherKey is the error for a value sealed under a key that is not in the ring.
func otherKey(id string) error {
	return fmt.Errorf("%w (%s): name it in Config.Keys of this process", seal.ErrOtherKey, id)
}

// sealedToken is the plain form of a token on the server. Its end is beside it,
// by the server's clock.
type sealedToken struct {
	Value    string             `json:"value"`
	Type     string             `json:"type"`
	Scopes   counterfoil.Scopes `json:"scopes,omitempty"`
	Lifetime int64              `json:"lifetime_ms"`
}

// tokenContext binds a token to its key and generation, so that it cannot
// replace another.
func tokenContext(key string, generation int64) string {
	return fmt.Sprintf("fleet token/%s/%d", key, generation)
}

func (r ring) sealToken(key string, generation int64, t counterfoil.Token) string {
	text, _ := json.Marshal(sealedToken{t.Value.Reveal(), t.Type, t.Scopes, t.Lifetime().Milliseconds()}) // strings and numbers only
	return string(r[0].Seal(text, tokenContext(key, generation)))
}

// reseal seals under the first key what another key of the ring has sealed, and
// also returns its digest.
func (r ring) reseal(key string, generation int64, sealed string) (anew, digest string, err error) {
	t, lifetime, err := r.openToken(key, generation, sealed)
	if err != nil {
		return "", "", err
	}
	t.Issued = t.Expires.Add(-lifetime)
	return r.sealToken(key, generation, t), r.digest(t), nil
}

// digest returns what is stored beside t.
func (r ring) digest(t counterfoil.Token) string {
	return r[:1].digests("token", []byte(t.Value.Reveal()))
}

// openToken returns the token and its lifetime; Issued and Expires are not set.
func (r ring) openToken(key string, generation int64, sealed string) (counterfoil.Token, time.Duration, error) {
	text, err := r.open(sealed, tokenContext(key, generation))
	if err != nil {
		return counterfoil.Token{}, 0, err
	}
	var st sealedToken
	if json.Unmarshal(text, &st) != nil || st.Value == "" || st.Lifetime <= 0 || st.Lifetime > maxLifetime.Milliseconds() {
		return counterfoil.Token{}, 0, seal.ErrDamaged
	}
	return counterfoil.Token{
			Value:  counterfoil.Secret(st.Value),
			Type:   st.Type,
			Scopes: st.Scopes,
		}, time.Duration(
			st.Lifetime,
		) * time.Millisecond, nil
}

// sealedFailure is the plain form of a failure that processes share.
type sealedFailure struct {
	Reason      counterfoil.Reason `json:"reason"`
	Message     string             `json:"message"`
	Code        string             `json:"code,omitempty"`
	Description string             `json:"description,omitempty"`
	Status      int                `json:"status,omitempty"`
}

// maxWords bounds the text of a shared failure, in bytes.
const maxWords = 512

func failureContext(key string) string { return "fleet failure/" + key }

func (r ring) sealFailure(key string, e *counterfoil.Error) string {
	words := e.Error() // the cause too, which cannot be shared as an error
	text, _ := json.Marshal(
		sealedFailure{e.Reason, words[:min(len(words), maxWords)], e.Code[:min(len(e.Code), maxWords)], e.Description, e.Status},
	)
	return string(r[0].Seal(text, failureContext(key)))
}

// openFailure returns the failure that another process has met, with the time
// left before a request may be tried again.
func (r ring) openFailure(key, sealed string, left time.Duration) (*counterfoil.Error, error) {
	text, err := r.open(sealed, failureContext(key))
	if err != nil {
		return nil, err
	}
	var f sealedFailure
	if json.Unmarshal(text, &f) != nil {
		return nil, seal.ErrDamaged
	}
	return &counterfoil.Error{Reason: f.Reason, Code: f.Code, Description: f.Description, Status: f.Status, RetryAfter: left,
		Message: fmt.Sprintf(
			"%s (from another process; next attempt in %s)", cmp.Or(f.Message, string(f.Reason)),
			left.Round(time.Millisecond),
		)}, nil
}
