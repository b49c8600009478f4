package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// check returns why a row is refused, without regard to the realm's clients.
func (a *application) check(j *job, ids *identities) error {
	n, names := &j.client, &a.file.format.members
	if err := a.checkRow(j); err != nil {
		return err
	}
	if before := ids.add(n.ID, j.row.number); before > 0 {
		where := ""
		if len(a.file.realms) > 1 {
			where = ": choose one of its realms with --from-realm"
		}
		return fmt.Errorf("%s: %s has the same client id%s", names.id, place(a.file.unit, before), where)
	}
	err := a.named(a.rules.Check(&n.Settings))
	if err != nil {
		return err
	}
	if j.secrets, err = a.choose(j, "secret", j.row.Secrets); err != nil {
		return err
	}
	if j.apiKeys, err = a.choose(j, "API key", j.row.APIKeys); err != nil {
		return err
	}
	proof := &n.Authentication
	if len(j.secrets) == 0 && !n.WithoutSecret {
		if proof.KeySet == "" && proof.KeySetURL == "" {
			return fmt.Errorf("%s: all of its secrets have expired", names.secret)
		}
		n.WithoutSecret = true
	}
	if err := n.Check(); err != nil {
		return fmt.Errorf("%s: %w", names.id, err)
	}
	if strings.Contains(n.ID, ":") {
		j.note("its client id has a colon: for HTTP Basic it must be written as %%3A (RFC 6749 section 2.3.1), " +
			"which not every client does; in the body it is sent as it is")
	}
	return nil
}

// checkRow validates a row by itself.
func (a *application) checkRow(j *job) error {
	n, names, limits := &j.client, &a.file.format.members, a.rules.Provider.TokenEndpoint.Limits
	err := j.row.Err
	if most := a.rules.Provider.TokenEndpoint.Lifetime; a.CapLifetime && n.Tokens.Lifetime > most {
		var long *longLifetime
		if errors.As(err, &long) {
			err = nil
			j.note("%s: its tokens lived longer than %v, here they live %v, as the realm's do", names.lifetime, store.MaxLifetime, most)
		} else {
			j.note("%s: its tokens lived %v, here they live %v, as the realm's do", names.lifetime, n.Tokens.Lifetime, most)
		}
		n.Tokens.Lifetime = most
	}
	switch {
	case err != nil:
		return err
	case n.ID == "":
		return fmt.Errorf("it has no client id: %s is missing", names.id)
	case len(n.ID) > limits.ClientID:
		return fmt.Errorf("%s: its client id is longer than the realm's limit of %d bytes", names.id, limits.ClientID)
	}
	return nil
}

// named prefixes the first of Faults whose member the format has with that
// member.
func (a *application) named(err error) error {
	var faults clients.Faults
	if !errors.As(err, &faults) {
		return err
	}
	m := &a.file.format.members
	members := map[string]string{
		"name": m.name, "contact": m.contact, "scopes": m.scopes, "labels": m.labels, "tokens/lifetime": m.lifetime,
		"tokens/claims": m.claims, "authentication/jwks": m.keys, "authentication/jwks_uri": m.keysURL,
		// Only the format plain has these.
		"environment": "environment", "tenants": "tenants", "addresses": "addresses",
	}
	for _, f := range faults {
		switch member := members[f.Member]; {
		case member == "":
		case f.Member == "tokens/lifetime":
			return fmt.Errorf("%s: %w: take longer ones down to it with --cap-lifetime", member, f.Err)
		default:
			return fmt.Errorf("%s: %w", member, f.Err)
		}
	}
	return err
}

// choose returns the newest unexpired secrets, and notes the others.
func (a *application) choose(j *job, what string, all []Secret) ([]Secret, error) {
	var chosen []Secret
	for i, s := range all {
		switch {
		case !s.Ends.IsZero() && !s.Ends.After(a.Now):
			j.note("left out %s %d, counted from the newest: it has expired", what, i+1)
		case len(chosen) == keptSecrets:
			j.note("left out %s %d, counted from the newest: %d at once are accepted", what, i+1, keptSecrets)
		case !a.LiteralSecrets && isPlaceholder(s.Plain.Reveal()):
			return nil, fmt.Errorf("%s: its %s is a placeholder that was to be filled in: fill it in, or take it "+
				"as it is with --literal-secrets", s.Member, what)
		default:
			if err := sendable(s.Plain, a.rules.Provider.TokenEndpoint.Limits.ClientSecret); err != nil {
				return nil, fmt.Errorf("%s: its %s %w", s.Member, what, err)
			}
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

func (j *job) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(j.result.Notes, text) {
		j.result.Notes = append(j.result.Notes, text)
	}
}

// sendable returns an error when a token request cannot carry a secret.
func sendable(s counterfoil.Secret, most int) error {
	v := s.Reveal()
	switch {
	case len(v) > most:
		return fmt.Errorf("is longer than the realm's limit of %d bytes: raise limits.client_secret in its description", most)
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		return errors.New("has characters that a token request cannot carry")
	}
	return nil
}
