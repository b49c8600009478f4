// Package label converts the values of events to values of a metric's labels:
// few of them, whatever the other end sends. Its API may change.
package label

import (
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil"
)

const (
	// Other stands for every value that is not among the expected ones.
	Other = "other"
	// maxClients is how many clients a Clients distinguishes: each has some
	// dozens of time series.
	maxClients = 1000
	// maxLength bounds a provider's name and a client's id, in bytes.
	maxLength = 128
)

// broad are the reasons without a parent.
var broad = map[counterfoil.Reason]bool{
	counterfoil.ReasonInvalidRequest: true, counterfoil.ReasonInvalidClient: true, counterfoil.ReasonUnsupportedGrantType: true,
	counterfoil.ReasonInvalidScope: true, counterfoil.ReasonRateLimited: true,
	counterfoil.ReasonServerError: true, counterfoil.ReasonUnavailable: true,
	counterfoil.ReasonInvalidDPoPProof: true, counterfoil.ReasonTokenMissing: true, counterfoil.ReasonTokenInvalid: true,
	counterfoil.ReasonScopeInsufficient: true, counterfoil.ReasonTenantMissing: true, counterfoil.ReasonHeaderMissing: true,
	counterfoil.ReasonAPIKeyInvalid: true, counterfoil.ReasonBadResponse: true, counterfoil.ReasonPathMalformed: true,
}

// Reason is r, or Other if r is not a reason of the root package; it is empty if
// r is.
func Reason(r counterfoil.Reason) string {
	if r == "" || broad[r] || r.Parent() != "" {
		return string(r)
	}
	return Other
}

// Type is the type of a client's event, or Other.
func Type(kind string) string {
	switch kind {
	case counterfoil.EventTokenRequested, counterfoil.EventTokenObtained, counterfoil.EventTokenRenewed, counterfoil.EventTokenRefused,
		counterfoil.EventTokenFailed, counterfoil.EventTokenNotCached, counterfoil.EventTokenDropped, counterfoil.EventCallRetried,
		counterfoil.EventCredentialExpiring:
		return kind
	}
	return Other
}

// Status is the class of an HTTP status, such as 4xx; empty when there was no
// answer.
func Status(code int) string {
	switch {
	case code == 0:
		return ""
	case code < 100 || code > 599:
		return Other
	}
	return string(rune('0'+code/100)) + "xx"
}

// Client is the provider and the id of a client, as labels.
type Client struct{ Provider, ID string }

// Clients gives the labels of each client. The zero value is ready and safe for
// concurrent use; it must not be copied.
type Clients struct {
	mu   sync.Mutex
	seen map[Client]Client
}

// Labels are the client's in valid UTF-8, or Other for those after the first
// thousand and for names above 128 bytes.
func (c *Clients) Labels(provider, id string) Client {
	other := Client{Other, Other}
	if len(provider) > maxLength || len(id) > maxLength {
		return other
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := Client{provider, id}
	labels, ok := c.seen[key]
	switch {
	case ok:
		return labels
	case len(c.seen) == maxClients:
		return other
	case c.seen == nil:
		c.seen = map[Client]Client{}
	}
	labels = Client{strings.ToValidUTF8(provider, "\uFFFD"), strings.ToValidUTF8(id, "\uFFFD")}
	c.seen[key] = labels
	return labels
}
