// Package recipes guards APIs that are served by frameworks other than net/http:
// chi, gin, echo and gRPC. Copy the functions that you need: the package makes no
// compatibility promise. docs/guard.md shows how to use each; the tests attack
// each of them.
package recipes

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
)

// Gin guards all handlers after it. The redirects that gin sends before any
// handler (RedirectTrailingSlash) reveal only which routes exist.
func Gin(g *guard.Guard) gin.HandlerFunc {
	return func(c *gin.Context) {
		p, err := g.Authenticate(c.Request)
		if err != nil {
			refuse(c.Writer, err)
			c.Abort() // without it gin goes on to the API
			return
		}
		c.Request = c.Request.WithContext(counterfoil.WithPrincipal(c.Request.Context(), p))
	}
}

// GinScope guards a route behind Gin that needs more scopes.
func GinScope(g *guard.Guard, scopes ...string) gin.HandlerFunc {
	g.RequireScope(scopes...) // it panics for wrong scopes now, Authorize with the first call
	return func(c *gin.Context) {
		if err := g.Authorize(c.Request, scopes...); err != nil {
			refuse(c.Writer, err)
			c.Abort()
		}
	}
}

// Echo guards all handlers after it.
func Echo(g *guard.Guard) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			p, err := g.Authenticate(c.Request())
			if err != nil {
				refuse(c.Response(), err)
				return nil // it is answered
			}
			c.SetRequest(c.Request().WithContext(counterfoil.WithPrincipal(c.Request().Context(), p)))
			return next(c)
		}
	}
}

// EchoScope guards a route behind Echo that needs more scopes.
func EchoScope(g *guard.Guard, scopes ...string) echo.MiddlewareFunc {
	g.RequireScope(scopes...) // it panics for wrong scopes now, Authorize with the first call
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := g.Authorize(c.Request(), scopes...); err != nil {
				refuse(c.Response(), err)
				return nil
			}
			return next(c)
		}
	}
}

// refuse answers with a refusal.
func refuse(w http.ResponseWriter, err error) {
	refusal, ok := errors.AsType[*guard.Refusal](err)
	if !ok {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	refusal.Write(w)
}

// Unary guards the unary methods of a gRPC server.
func Unary(g *guard.Guard) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, err := authenticate(ctx, g, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// Stream guards the streaming methods of a gRPC server. A token is checked when
// the stream begins; a stream may outlive its token.
func Stream(g *guard.Guard) grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, err := authenticate(stream.Context(), g, info.FullMethod)
		if err != nil {
			return err
		}
		return next(server, guarded{stream, ctx})
	}
}

type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

func (s guarded) Context() context.Context { return s.ctx }

// authenticate checks a call by its HTTP/2 request (the gRPC protocol over
// HTTP/2): the metadata are the request's headers.
func authenticate(ctx context.Context, g *guard.Guard, method string) (context.Context, error) {
	r := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: method}, RequestURI: method, Header: http.Header{}}).WithContext(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	for name, values := range md {
		if name == ":authority" && len(values) == 1 {
			r.Host = values[0]
			continue
		}
		for _, value := range values {
			r.Header.Add(name, value)
		}
	}
	if from, ok := peer.FromContext(ctx); ok {
		r.RemoteAddr = from.Addr.String()
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			r.TLS = &info.State
		}
	}
	p, err := g.Authenticate(r)
	if err != nil {
		return nil, refusalOf(err)
	}
	return counterfoil.WithPrincipal(ctx, p), nil
}

// refusalOf returns the gRPC status of a refusal. It reveals no more than the HTTP
// answer would.
func refusalOf(err error) error {
	refusal, ok := errors.AsType[*guard.Refusal](err)
	code := codes.Internal
	switch {
	case !ok:
	case refusal.Status() == http.StatusUnauthorized:
		code = codes.Unauthenticated
	case refusal.Status() == http.StatusForbidden:
		code = codes.PermissionDenied
	case refusal.Status() == http.StatusServiceUnavailable:
		code = codes.Unavailable
	default:
		code = codes.InvalidArgument
	}
	return status.Error(code, "the call is refused")
}
