// Package gqlhttp serves a gqlgen schema over HTTP, for the GraphQL reference
// APIs. Use it for a read-only API that is behind a guard; it refuses a request
// that has no [counterfoil.Principal].
//
// It follows the GraphQL over HTTP specification: POST with a JSON body, which
// may come without a media type or as a form, and GET with URL parameters; an
// answer in application/graphql-response+json, with the
// status codes of that media type, to those who accept it, and in
// application/json to all others. Everything that a caller sends is bounded
// (see [Limits]), and what it amounts to is counted with fragments expanded and
// before the schema's validation, whose work grows faster than a document. An
// error that a resolver did not mean for the caller is "internal server error"
// on the wire and whole in the log.
//
// Mutations, subscriptions, batches and @defer do not exist here.
package gqlhttp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/counterfoil/counterfoil"
)

// Config is the configuration of a Handler.
type Config struct {
	// Schema is the generated executable schema. Required.
	Schema graphql.ExecutableSchema
	// Limits bounds requests; a field that is 0 takes its value from
	// DefaultLimits.
	Limits Limits
	// Log receives internal errors in full; nil means slog.Default().
	Log *slog.Logger
	// Context, when set, prepares the context that the resolvers of one request
	// share, for example with loaders.
	Context func(context.Context) context.Context
}

// Handler serves one schema at "/" of its mount point. It is safe for
// concurrent use.
type Handler struct {
	cfg   Config
	exec  *executor.Executor
	cache *documents
}

// New returns a Handler. It panics if cfg has no schema, which is a programming
// error.
func New(cfg Config) *Handler {
	if cfg.Schema == nil {
		panic("gqlhttp: Config.Schema is required")
	}
	cfg.Limits = cfg.Limits.orDefault()
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	h := &Handler{cfg: cfg, exec: executor.New(cfg.Schema), cache: newDocuments()}
	h.exec.SetParserTokenLimit(cfg.Limits.Tokens)
	h.exec.SetQueryCache(h.cache)
	h.exec.Use(extension.Introspection{})
	h.exec.AroundFields(h.hideErrors)
	h.exec.SetErrorPresenter(present)
	h.exec.SetRecoverFunc(h.recovered)
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &writer{w: w, json: true}
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			answer.refuse(&refusal{http.StatusInternalServerError, Internal, h.recovered(r.Context(), v).Error()})
		}
	}()

	// 1. The caller.
	if _, ok := counterfoil.PrincipalFrom(r.Context()); !ok {
		answer.refuse(&refusal{http.StatusUnauthorized, "UNAUTHENTICATED", "Unauthorized"})
		return
	}
	// 2. The place, the method and the media types.
	if refusal := h.place(answer, r); refusal != nil {
		answer.refuse(refusal)
		return
	}
	// 3. The parameters.
	params, refusal := h.parameters(w, r)
	if refusal != nil {
		answer.refuse(refusal)
		return
	}
	// 4. The document, counted, validated and run.
	answer.result(h.run(r.Context(), r.Method, params))
}

// run executes the operation of params. A response without data is a request
// error: nothing was executed.
func (h *Handler) run(ctx context.Context, method string, params *graphql.RawParams) *response {
	if !h.cache.holds(params.Query) {
		if err := h.cfg.Limits.check(params.Query); err != nil {
			return &response{Errors: gqlerror.List{err}}
		}
	}
	ctx = graphql.StartOperationTrace(ctx)
	op, errs := h.exec.CreateOperationContext(ctx, params)
	if len(errs) > 0 {
		return &response{Errors: few(errs)}
	}
	if op.Operation.Operation != ast.Query {
		status := 0
		if method != http.MethodPost {
			status = http.StatusMethodNotAllowed
		}
		return &response{status: status, Errors: gqlerror.List{coded(BadUserInput, "only queries can be executed here")}}
	}
	cost := complexity.Calculate(graphql.WithOperationContext(ctx, op), h.cfg.Schema, op.Operation, op.Variables)
	if limit := h.cfg.Limits.Complexity; cost > limit {
		return &response{Errors: gqlerror.List{coded(TooComplex,
			"the query may cost %d and the limit is %d: ask for fewer or smaller pages, or for fewer fields", cost, limit)}}
	}
	if h.cfg.Context != nil {
		ctx = h.cfg.Context(ctx)
	}
	next, ctx := h.exec.DispatchOperation(ctx, op)
	out := next(ctx)
	if out == nil {
		panic(errors.New("the operation had no response"))
	}
	return &response{Data: out.Data, Errors: few(out.Errors)}
}

// response is a GraphQL response, in the order that the GraphQL specification
// recommends. Data is left out if nothing was executed.
type response struct {
	Errors gqlerror.List   `json:"errors,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`

	// status, when set, is the HTTP status whatever the media type.
	status int
}

// maxErrors bounds the errors of one response.
const maxErrors = 10

// few returns the first errors of a list that may be long.
func few(errs gqlerror.List) gqlerror.List {
	if len(errs) <= maxErrors {
		return errs
	}
	rest := coded(ValidationFailed, "and %d more errors", len(errs)-maxErrors)
	return append(errs[:maxErrors:maxErrors], rest)
}
