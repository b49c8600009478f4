// Package requestid gives each HTTP request an ID that its answer, its log lines
// and its events have in common. Use it once around everything that a listener
// serves.
//
// It promises that an ID is short visible ASCII, and that nobody but a trusted
// proxy chooses one. The package is internal and makes no compatibility promise.
package requestid

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/peer"
)

// Header has the ID, in an answer and in what a trusted proxy sends.
const Header = "X-Request-Id"

// maxID bounds the ID of a proxy, in bytes.
const maxID = 64

type key struct{}

// Handler gives each request an ID, which is in the Header of the answer and,
// for From, in the context. It is random, 26 capitals and digits with 128 bits at
// least, or the one that a trusted proxy has sent: the only Header of the request,
// from 1 to 64 bytes of visible ASCII. Any other that is sent is ignored. proxies
// may be nil.
func Handler(proxies *peer.Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := sent(r.Header[Header])
		if !ok || !proxies.FromProxy(r) {
			id = rand.Text()
		}
		w.Header().Set(Header, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, id)))
	})
}

// sent returns the ID in the lines of a header, if they have one.
func sent(lines []string) (string, bool) {
	if len(lines) != 1 || lines[0] == "" || len(lines[0]) > maxID {
		return "", false
	}
	for _, c := range []byte(lines[0]) {
		if c <= ' ' || c > '~' {
			return "", false
		}
	}
	return lines[0], true
}

// From returns the ID of the request that a context is of; "" for none.
func From(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Logging returns a handler that adds the attribute request_id to each line
// whose context is a request's.
func Logging(h slog.Handler) slog.Handler { return logging{h} }

type logging struct{ slog.Handler }

func (l logging) Handle(ctx context.Context, r slog.Record) error {
	if id := From(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return l.Handler.Handle(ctx, r)
}

func (l logging) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logging{l.Handler.WithAttrs(attrs)}
}
func (l logging) WithGroup(name string) slog.Handler { return logging{l.Handler.WithGroup(name)} }
