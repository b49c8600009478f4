package counterfoil

import "time"

// Token is an access token as a client holds it (RFC 6749 section 5.1).
type Token struct {
	// Value is what goes into the Authorization header, after the type.
	Value Secret
	// Type is the token_type that the provider sent; "Bearer" and "bearer" mean
	// the same.
	Type string
	// Scopes are the granted scopes; nil if the provider did not say, which means
	// the requested ones.
	Scopes Scopes
	// Issued is when the client sent the request for the token, by its own clock.
	Issued time.Time
	// Expires is when the token expires, by the client's clock; never the zero
	// time.
	Expires time.Time
}

// Lifetime returns the time from Issued to Expires.
func (t Token) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// Live reports whether the token has a value and has not expired at the given
// time.
func (t Token) Live(at time.Time) bool { return t.Value != "" && at.Before(t.Expires) }
