package recipes_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/guard/recipes"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
)

const issuer = "https://auth.example.com"

// api is a guarded API of two routes, and how often it was reached.
type api struct {
	guard   *guard.Guard
	reached atomic.Int32
	token   func(scope string, expires time.Time) string
}

func newAPI(t *testing.T) *api {
	t.Helper()
	key := testkeys.EC()
	set, err := jose.MarshalSet([]jose.PublicKey{{ID: "k1", Algorithm: jose.ES256, Key: key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := guard.StaticKeys(set)
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	a := &api{token: func(scope string, expires time.Time) string {
		return josetest.Token(key, `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`, fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"orders","client_id":"orders","jti":"1","iat":%d,"exp":%d,"scope":%q}`,
			issuer, issuer, expires.Add(-time.Hour).Unix(), expires.Unix(), scope))
	}}
	if a.guard, err = guard.New(guard.Config{Provider: p, Issuer: issuer, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	return a
}

// answer is what both routes do: they name their caller.
func (a *api) answer(ctx context.Context) string {
	a.reached.Add(1)
	p, ok := counterfoil.PrincipalFrom(ctx)
	if !ok {
		return "nobody"
	}
	return "hello, " + p.ClientID
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, a.answer(r.Context()))
}

// frameworks are the same two routes, /orders and /orders/write, in each.
var frameworks = map[string]func(*api) http.Handler{
	"net/http": func(a *api) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/orders", a)
		mux.Handle("/orders/write", a.guard.RequireScope("orders:write")(a))
		return a.guard.Handler(mux)
	},
	"chi": func(a *api) http.Handler {
		r := chi.NewRouter()
		r.Use(a.guard.Handler)
		r.Handle("/orders", a)
		r.With(a.guard.RequireScope("orders:write")).Handle("/orders/write", a)
		return r
	},
	"gin": func(a *api) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		r := gin.New()
		r.RedirectTrailingSlash = false // its redirect comes before all handlers
		r.Use(recipes.Gin(a.guard))
		answer := func(c *gin.Context) { c.String(http.StatusOK, a.answer(c.Request.Context())) }
		r.Any("/orders", answer)
		r.Any("/orders/write", recipes.GinScope(a.guard, "orders:write"), answer)
		r.NoRoute(answer) // what no route takes must not be reached either
		return r
	},
	"echo": func(a *api) http.Handler {
		e := echo.New()
		e.Use(recipes.Echo(a.guard))
		answer := func(c echo.Context) error { return c.String(http.StatusOK, a.answer(c.Request().Context())) }
		e.Any("/orders", answer)
		e.Any("/orders/write", answer, recipes.EchoScope(a.guard, "orders:write"))
		e.RouteNotFound("/*", answer)
		return e
	},
}

func TestFrameworks(t *testing.T) {
	for name, build := range frameworks {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			s := httptest.NewTLSServer(build(a))
			t.Cleanup(s.Close)
			later := time.Now().Add(time.Hour)
			read, write := a.token("orders:read", later), a.token("orders:read orders:write", later)
			for _, tt := range []struct {
				name, method, path string
				headers            []string
				status             int
				challenge          string
			}{
				{"good", "GET", "/orders", []string{"Authorization", "Bearer " + read}, 200, ""},
				{"good, with a body", "POST", "/orders", []string{"Authorization", "Bearer " + read}, 200, ""},
				{"good scope", "GET", "/orders/write", []string{"Authorization", "Bearer " + write}, 200, ""},
				{"no scope", "GET", "/orders/write", []string{"Authorization", "Bearer " + read}, 403, `scope="orders:write"`},
				{"no token", "GET", "/orders", nil, 401, "Bearer"},
				{"no token for what needs a scope", "GET", "/orders/write", nil, 401, "Bearer"},
				{"no token for no route", "GET", "/other", nil, 401, "Bearer"},
				{"no token, another slash", "GET", "/orders/", nil, 401, "Bearer"},
				{"no token, two slashes", "GET", "//orders", nil, 400, ""},
				{"no token, dots", "GET", "/x/../orders", nil, 400, ""},
				{"no token, in capitals", "GET", "/ORDERS", nil, 401, "Bearer"},
				{"no token, HEAD", "HEAD", "/orders", nil, 401, "Bearer"},
				{"no token, OPTIONS", "OPTIONS", "/orders", nil, 401, "Bearer"},
				{"no token, a method of its own", "PURGE", "/orders", nil, 401, "Bearer"},
				{"no token, another method named", "POST", "/orders", []string{"X-HTTP-Method-Override", "OPTIONS"}, 401, "Bearer"},
				{"no token, another path named", "GET", "/other", []string{"X-Original-URL", "/orders", "X-Rewrite-URL", "/orders"}, 401, "Bearer"},
				{"token in the query", "GET", "/orders?access_token=" + read, nil, 401, "Bearer"},
				{"expired", "GET", "/orders", []string{"Authorization", "Bearer " + a.token("", time.Now().Add(-time.Hour))}, 401, "invalid_token"},
				{"forged", "GET", "/orders", []string{"Authorization", "Bearer " + read[:len(read)-8] + "AAAAAAAA"}, 401, "invalid_token"},
				{"two tokens", "GET", "/orders", []string{"Authorization", "Bearer " + read, "Authorization", "Bearer " + read}, 0, ""},
			} {
				t.Run(tt.name, func(t *testing.T) {
					before := a.reached.Load()
					req, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL, strings.NewReader(""))
					if err != nil {
						t.Fatal(err)
					}
					path, query, _ := strings.Cut(tt.path, "?")
					req.URL.Path, req.URL.RawQuery = path, query
					for i := 0; i < len(tt.headers); i += 2 {
						req.Header.Add(tt.headers[i], tt.headers[i+1])
					}
					resp, err := s.Client().Transport.RoundTrip(req) // follows no redirect
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					reached := a.reached.Load() != before
					switch {
					case tt.status == 0 && resp.StatusCode >= 400 && !reached:
					case resp.StatusCode != tt.status || reached != (tt.status == 200) || !strings.Contains(resp.Header.Get("WWW-Authenticate"), tt.challenge):
						t.Errorf("%d %q, challenge %q, reached: %v", resp.StatusCode, body, resp.Header.Get("WWW-Authenticate"), reached)
					case tt.status == 200 && string(body) != "hello, orders":
						t.Errorf("%q", body)
					case tt.status != 200 && strings.Contains(string(body), "hello"):
						t.Errorf("the refusal has the API's answer: %q", body)
					}
				})
			}
		})
	}
}

// service is a gRPC service that counts who reaches it.
type service struct {
	*health.Server
	api *api
}

func (s service) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if s.api.answer(ctx) != "hello, orders" {
		return nil, status.Error(codes.Internal, "nobody")
	}
	return &healthpb.HealthCheckResponse{}, nil
}

func (s service) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if s.api.answer(stream.Context()) != "hello, orders" {
		return status.Error(codes.Internal, "nobody")
	}
	return stream.Send(&healthpb.HealthCheckResponse{})
}

func TestGRPC(t *testing.T) {
	a := newAPI(t)
	https := httptest.NewUnstartedServer(nil)
	https.StartTLS()
	t.Cleanup(https.Close)
	config := https.TLS.Clone()
	config.NextProtos = []string{"h2"}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(recipes.Unary(a.guard)), grpc.StreamInterceptor(recipes.Stream(a.guard)))
	healthpb.RegisterHealthServer(s, service{health.NewServer(), a})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	roots := https.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "example.com"})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := healthpb.NewHealthClient(conn)
	read := a.token("orders:read", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name     string
		metadata []string
		want     codes.Code
	}{
		{"good", []string{"authorization", "Bearer " + read}, codes.OK},
		{"no token", nil, codes.Unauthenticated},
		{"expired", []string{"authorization", "Bearer " + a.token("", time.Now().Add(-time.Hour))}, codes.Unauthenticated},
		{"forged", []string{"authorization", "Bearer " + read[:len(read)-8] + "AAAAAAAA"}, codes.Unauthenticated},
		{"two tokens", []string{"authorization", "Bearer " + read, "authorization", "Bearer " + read}, codes.Unauthenticated},
		{"another header", []string{"grpcgateway-authorization", "Bearer " + read}, codes.Unauthenticated},
		{"binary header", []string{"authorization-bin", "Bearer " + read}, codes.Unauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := a.reached.Load()
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(tt.metadata...))
			_, unary := client.Check(ctx, &healthpb.HealthCheckRequest{})
			stream, streamed := client.Watch(ctx, &healthpb.HealthCheckRequest{})
			if streamed == nil {
				_, streamed = stream.Recv()
			}
			reached := a.reached.Load() - before
			if status.Code(unary) != tt.want && tt.name != "two tokens" || status.Code(streamed) != status.Code(unary) || (reached == 2) != (tt.want == codes.OK) || tt.want != codes.OK && reached != 0 {
				t.Errorf("%v, %v, reached %d times", unary, streamed, reached)
			}
			if unary != nil && strings.Contains(unary.Error(), "token_") {
				t.Errorf("the answer says why: %v", unary)
			}
		})
	}
}
