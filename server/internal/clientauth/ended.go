package clientauth

import (
	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Wrong are credentials that prove no client.
type Wrong struct {
	Claim
	Reason counterfoil.Reason
	// id is the client ID as it was sent.
	id             string
	secret, apiKey counterfoil.Secret
	token          *jose.Token
}

// ID is the client ID as it was sent.
func (w *Wrong) ID() string { return w.id }

// wrong passes on the credentials of a request that is refused because of them.
func (a *Authenticator) wrong(r *Request, c *credentials, refusal *Refusal) {
	if refusal == nil || a.OnWrong == nil {
		return
	}
	w := Wrong{Claim: c.claim(), Reason: refusal.Reason, id: c.id}
	switch refusal.Reason {
	case counterfoil.ReasonWrongSecret, counterfoil.ReasonUnknownClient, counterfoil.ReasonAssertionKey, counterfoil.ReasonAssertionSignature:
		w.secret = c.secret
		if c.assertion != nil {
			w.token = c.assertion.token
		}
	case counterfoil.ReasonAPIKeyInvalid:
		w.apiKey = c.apiKey
	default:
		return
	}
	a.OnWrong(r, w)
}

// Ended returns the one of a client's ended credentials that it was; nil for none.
// slow is how many slow hashes may be computed.
func (w *Wrong) Ended(all []store.EndedCredential, slow int) *store.EndedCredential {
	for i := range all {
		e := &all[i]
		switch {
		case e.Kind == store.EndedSecret && matches(e, w.secret, &slow), e.Kind == store.EndedAPIKey && matches(e, w.apiKey, &slow):
			return e
		case e.Kind == store.EndedKey && w.token != nil:
			key, err := jose.ParseKey([]byte(e.Value))
			if err != nil {
				continue
			}
			if _, err := w.token.Verify(key.Key); err == nil {
				return e
			}
		}
	}
	return nil
}

func matches(e *store.EndedCredential, value counterfoil.Secret, slow *int) bool {
	h, err := sechash.Parse(e.Value)
	if err != nil || value == "" {
		return false
	}
	if h.Slow() {
		if *slow--; *slow < 0 {
			return false
		}
	}
	return h.Verify(value)
}
