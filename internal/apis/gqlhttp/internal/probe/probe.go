// Package probe is the schema for the tests of gqlhttp: it can answer, refuse,
// fail and panic. Only tests import it.
package probe

import (
	"context"
	"errors"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

//go:generate go tool gqlgen generate

// Cause is the text of the internal error, which no caller may see.
const Cause = "disk /dev/probe is on fire"

// Resolver resolves the schema.
type Resolver struct{}

// Query implements ResolverRoot.
func (r Resolver) Query() QueryResolver { return query{} }

// Node implements ResolverRoot.
func (r Resolver) Node() NodeResolver { return node{} }

type query struct{}

func (query) Echo(_ context.Context, n *int32) (int32, error) {
	if n == nil {
		return 0, nil
	}
	return *n, nil
}

func (query) Refuse(context.Context) (*string, error) {
	return nil, &gqlhttp.Error{Code: gqlhttp.Forbidden, Message: "not for you"}
}

func (query) Fail(context.Context) (*string, error) { return nil, errors.New(Cause) }

func (query) Panic(context.Context) (*string, error) { panic(Cause) }

func (query) Nodes(_ context.Context, n int32) ([]*Node, error) {
	nodes := make([]*Node, min(max(n, 0), 1000))
	for i := range nodes {
		nodes[i] = &Node{ID: int32(i)}
	}
	return nodes, nil
}

type node struct{}

func (node) Child(_ context.Context, n *Node) (*Node, error) { return &Node{ID: n.ID}, nil }

// Schema returns the executable schema; a list counts as many times as its
// argument says.
func Schema() Config {
	cfg := Config{Resolvers: Resolver{}}
	cfg.Complexity.Query.Nodes = func(child int, n int32) int { return int(n) * child }
	return cfg
}
