// Package graph is the profiles' GraphQL schema with the code that gqlgen makes
// from it. Only the profiles import it; nothing but this file and the schema is
// written by hand.
package graph

//go:generate go tool gqlgen generate

// Role is a position; its person and organisation are loaded when asked for.
type Role struct {
	ID             string  `json:"id"`
	PersonID       string  `json:"person"`
	OrganisationID string  `json:"organisation"`
	Title          string  `json:"title"`
	Board          bool    `json:"board"`
	Since          *string `json:"since,omitempty"`
	Until          *string `json:"until,omitempty"`
}

// Relationship is how one person knows another; the other is loaded when asked
// for.
type Relationship struct {
	Kind    RelationshipKind
	Since   *string
	OtherID string
}
