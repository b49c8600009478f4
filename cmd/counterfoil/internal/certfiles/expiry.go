package certfiles

import (
	"crypto/x509"
	"time"
)

// warnings are how long before the end of a certificate its owner is warned, and at
// the end.
var warnings = []time.Duration{30 * day, 7 * day, day, 0}

const day = 24 * time.Hour

// Expiry tells once each when a certificate ends in 30, 7 or 1 days, and when it has
// ended. The zero value is ready; it is not safe for concurrent use.
type Expiry struct {
	of   *x509.Certificate
	told int // how many of the warnings
}

// Due reports whether it is time to warn of a certificate's end, and how long it is
// until then; 0 or less once it has come. Another certificate begins anew.
func (e *Expiry) Due(leaf *x509.Certificate, now time.Time) (left time.Duration, due bool) {
	if e.of == nil || !e.of.Equal(leaf) {
		e.of, e.told = leaf, 0
	}
	left = leaf.NotAfter.Sub(now)
	passed := 0
	for passed < len(warnings) && left <= warnings[passed] {
		passed++
	}
	due = passed > e.told
	e.told = max(e.told, passed)
	return left, due
}
