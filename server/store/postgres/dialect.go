package postgres

import (
	"strconv"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/server/store/internal/relational"
)

// dialect is what the common dialect has not. PostgreSQL may evaluate both sides of
// an AND: JSON is read inside a CASE, since it is not valid in an empty text.
var dialect = relational.Dialect{
	Policy: "c.rest::jsonb #>> '{tokens,policy}'",
	Matches: `(?4 = '' OR strpos(lower(id), ?4) > 0 OR strpos(lower(name), ?4) > 0 OR CASE WHEN rest = '' THEN false ELSE
		strpos(lower(coalesce(rest::jsonb ->> 'contact', '') COLLATE "C"), ?4) > 0 OR
		EXISTS (SELECT 1 FROM jsonb_each_text(rest::jsonb -> 'labels') AS l
			WHERE strpos(lower((l.key || '=' || l.value) COLLATE "C"), ?4) > 0) END)
	AND (?5 = '' OR CASE WHEN rest = '' THEN false ELSE rest::jsonb ->> 'environment' = ?5 END)
	AND (disabled = ?6 OR ?6 IS NULL)
	AND (?7 = 0 OR CASE WHEN rest = '' THEN false ELSE coalesce(rest::jsonb ->> 'maker', '') <> '' END)`,
	Ends:     "CASE WHEN rest = '' THEN NULL ELSE (rest::jsonb ->> 'expires')::bigint END",
	Elements: "SELECT jsonb_array_elements_text(?2::jsonb)",
}

// translated are the statements that were translated: there are few, all of them
// constants.
var translated sync.Map

// translate translates a statement from the common dialect: parameters are $1, $2
// and so on.
func translate(query string) string {
	if text, ok := translated.Load(query); ok {
		return text.(string)
	}
	var b strings.Builder
	for n, rest := 0, query; ; {
		before, after, found := strings.Cut(rest, "?")
		b.WriteString(before)
		if !found {
			break
		}
		b.WriteByte('$')
		if after == "" || after[0] < '1' || after[0] > '9' {
			n++
			b.WriteString(strconv.Itoa(n))
		}
		rest = after
	}
	translated.Store(query, b.String())
	return b.String()
}
