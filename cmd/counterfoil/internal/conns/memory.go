package conns

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of one connection.
const (
	// MaxHeader bounds the header of a request, in bytes.
	MaxHeader = 32 << 10
	// MaxStreams bounds the requests that are under way at a time by HTTP/2. A
	// client with more opens another connection.
	MaxStreams = 32
	// MaxHeld bounds what the requests that are under way hold together, in bytes:
	// their headers and what has been read of their bodies.
	MaxHeld = 256 << 10

	// fieldCost is what a header field takes beside its text.
	fieldCost = 128
	// maxBody is what a body counts for at most: a handler keeps no more of it.
	maxBody = 64 << 10
	// window is what HTTP/2 takes of bodies that no handler has read.
	window = 64 << 10
	// frame is the smallest bound of a frame that RFC 9113 section 4.2 allows.
	frame = 16 << 10
	// writeStall is how long a peer may read nothing of what is sent to it.
	writeStall = 10 * time.Second
)

// Bind sets what bounds the connections and requests of a server: call it once
// Handler is set, and serve listeners of Listener.
func (l *Limiter) Bind(srv *http.Server) {
	srv.MaxHeaderBytes = MaxHeader
	srv.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: MaxStreams, MaxReadFrameSize: frame,
		MaxDecoderHeaderTableSize: 4 << 10, MaxEncoderHeaderTableSize: 4 << 10,
		MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window,
		WriteByteTimeout: writeStall,
	}
	srv.ConnState = l.observe
	srv.ConnContext = func(ctx context.Context, outer net.Conn) context.Context {
		if c := inside(outer); c != nil {
			return context.WithValue(ctx, key{}, c)
		}
		return ctx
	}
	srv.Handler = l.bounded(srv.Handler)
}

type key struct{}

// held counts the bytes that the requests of a connection hold.
type held struct {
	mu    sync.Mutex
	bytes int
}

// take adds n bytes, if they fit.
func (h *held) take(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes+n > MaxHeld {
		return false
	}
	h.bytes += n
	return true
}

func (h *held) give(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes -= n
}

// bounded refuses a request whose connection holds too much already. The memory
// is in use when it is called, and free when it returns.
func (l *Limiter) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(key{}).(*conn)
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		n := cost(r)
		if !c.held.take(n) {
			l.tooLarge.Warn(r.Context(), l.clock, l.log, "request refused: the requests of its connection are too large together",
				"network", c.prefix.String())
			w.Header().Set("Connection", "close")
			http.Error(w, "the header fields of this connection's requests are too large together", http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		defer c.held.give(n)
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &countedBody{ReadCloser: r.Body, held: &c.held}
		defer body.forget()
		r2 := *r
		r2.Body = body
		next.ServeHTTP(w, &r2)
	})
}

// cost is what the header of a request holds, in bytes.
func cost(r *http.Request) int {
	n := len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		n += len(name)
		for _, v := range values {
			n += len(v) + fieldCost
		}
	}
	return n
}

// countedBody counts what is read of a body.
type countedBody struct {
	io.ReadCloser
	held *held

	mu    sync.Mutex
	bytes int
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	more := min(n, maxBody-b.bytes)
	if !b.held.take(more) {
		return 0, &http.MaxBytesError{Limit: int64(b.bytes)}
	}
	b.bytes += more
	return n, err
}

func (b *countedBody) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held.give(b.bytes)
	b.bytes = 0
}
