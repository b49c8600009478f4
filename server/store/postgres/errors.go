package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Conditions by their SQLSTATE (PostgreSQL documentation, appendix A).
const (
	undefinedTable      = "42P01"
	lockNotAvailable    = "55P03"
	readOnlyTransaction = "25006"
	diskFull            = "53100"
	tooManyConnections  = "53300"
	noPrivilege         = "42501"
	invalidPassword     = "28P01"
	invalidUser         = "28000"
	noDatabase          = "3D000"
)

// unreached says in one line that no host can be reached.
type unreached struct{ err error }

func (u *unreached) Error() string {
	var all []string
	for line := range strings.Lines(u.err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return strings.Join(all, " ") + ": see whether it runs and can be reached from here"
}

func (u *unreached) Unwrap() error { return u.err }

// explain adds the next action to an error of the database.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var refused *pgconn.PgError
	var unreachable *pgconn.ConnectError
	if !errors.As(err, &refused) {
		if errors.As(err, &unreachable) {
			return &unreached{err}
		}
		return err
	}
	next := ""
	switch refused.Code {
	case lockNotAvailable:
		next = "other servers or programs hold its lock: try again"
	case readOnlyTransaction:
		next = "it is a standby: name the host that can be written to"
	case diskFull:
		next = "free some space on its disk"
	case tooManyConnections:
		next = "raise its max_connections, or put a pooler in front of it"
	case noPrivilege:
		next = "grant this role what docs/postgres.md says, or let the role that owns the tables start first"
	case invalidPassword, invalidUser:
		next = "see the user, the password and the database's pg_hba.conf"
	case noDatabase:
		next = "create it: CREATE DATABASE"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, next)
}

// statements splits a script into its statements: none of those in migrations has a
// semicolon inside.
func statements(text string) (all []string) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "--")
		b.WriteString(line + "\n")
	}
	for s := range strings.SplitSeq(b.String(), ";") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}
