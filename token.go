package counterfoil

import "time"

// Token is an access token as a client holds it (RFC 6749 section 5.1).
type Token struct {
	// Value is what goes into the Authorization header, after the type.
	Value Secret
	// Type is the token_type as the provider wrote it; "Bearer" and "bearer"
	// mean the same.
	Type string
	// Scopes are those that were granted; nil when the provider did not say,
	// which means the ones asked for.
	Scopes Scopes
	// Issued is when the request that got the token was sent, by the holder's
	// clock.
	Issued time.Time
	// Expires is when the token ends, by the holder's clock; never the zero
	// time.
	Expires time.Time
}

// Lifetime is how long the token serves in all.
func (t Token) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// Live reports whether the token still serves at the given time.
func (t Token) Live(at time.Time) bool { return t.Value != "" && at.Before(t.Expires) }
