package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// outcome is what the one who asked for a change knows of it.
type outcome int

const (
	done     outcome = iota
	conflict         // refused: somebody else changed the same at the same time
	refused          // for another reason
	unknown          // no answer came: it may have happened
	half             // a rotation gave the new secret, and may not have ended the old one
)

// hand changes clients in one of the ways that there are. What it says beside
// the outcome is for people.
type hand interface {
	create(ctx context.Context, realm, id string) (secret string, o outcome, said string)
	rotate(ctx context.Context, realm, id string, overlap time.Duration) (secret string, o outcome, said string)
	endSecret(ctx context.Context, realm, id, secretID string) (o outcome, said string)
	label(ctx context.Context, realm, id, value string) (o outcome, said string)
	// act does what the word says: disable, enable, delete or revoke.
	act(ctx context.Context, word, realm, id string) (o outcome, said string)
	rotateKey(ctx context.Context, realm string, compromised bool) (o outcome, said string)
}

// remote is the Admin API.
type remote struct{ *siege }

func (remote) outcome(err error) (outcome, string) {
	var p *admin.Problem
	switch {
	case err == nil:
		return done, ""
	case !errors.As(err, &p):
		return unknown, err.Error()
	case p.Status >= http.StatusInternalServerError:
		return unknown, p.Code
	case p.Code == admin.Conflict || p.Code == admin.Changed:
		return conflict, p.Code
	}
	return refused, p.Code + ": " + p.Detail
}

func (r remote) create(ctx context.Context, realm, id string) (string, outcome, string) {
	_, creds, err := r.admin.CreateClient(ctx, realm, admin.NewClient{ID: id, Settings: store.Settings{Name: id, Scopes: []string{"read"}}})
	o, said := r.outcome(err)
	return creds.ClientSecret.Reveal(), o, said
}

func (r remote) rotate(ctx context.Context, realm, id string, overlap time.Duration) (string, outcome, string) {
	creds, err := r.admin.RotateSecret(ctx, realm, id, clients.Rotation{Overlap: overlap})
	o, said := r.outcome(err)
	return creds.ClientSecret.Reveal(), o, said
}

func (r remote) endSecret(ctx context.Context, realm, id, secretID string) (outcome, string) {
	return r.outcome(r.admin.EndSecret(ctx, realm, id, secretID, time.Time{}))
}

func (r remote) label(ctx context.Context, realm, id, value string) (outcome, string) {
	_, err := r.admin.ChangeClient(ctx, realm, id, 0, fmt.Appendf(nil, `{"labels":{"turn":%q}}`, value))
	return r.outcome(err)
}

func (r remote) act(ctx context.Context, word, realm, id string) (outcome, string) {
	do := map[string]func(context.Context, string, string) error{
		"disable": r.admin.DisableClient, "enable": r.admin.EnableClient, "delete": r.admin.DeleteClient, "revoke": r.admin.RevokeTokens,
	}[word]
	return r.outcome(do(ctx, realm, id))
}

func (r remote) rotateKey(ctx context.Context, realm string, compromised bool) (outcome, string) {
	_, err := r.admin.RotateKey(ctx, realm, "", signing.Rotation{Immediately: !compromised, Compromised: compromised})
	return r.outcome(err)
}

// commands is the command line beside the server, each time a process of its
// own. When the server is killed some of them are killed with it.
type commands struct{ *siege }

// run runs a command, and returns what it printed.
func (c commands) run(ctx context.Context, args ...string) ([]byte, outcome, string) {
	// It may outlive the server: what it then does counts all the same.
	mine, stab := context.WithCancel(context.WithoutCancel(ctx))
	defer stab()
	c.mu.Lock()
	c.stab = stab
	if len(c.round)%2 == 0 {
		defer context.AfterFunc(ctx, stab)()
	}
	c.mu.Unlock()
	cmd := exec.CommandContext(mine, binary, append(args, "--serve-config", c.file, "-o", "json")...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "COUNTERFOIL_") })
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally["commands"]++
	switch {
	case err == nil:
		return out.Bytes(), done, ""
	case json.Valid(out.Bytes()): // it was killed after its answer
		if args[1] == "rotate" && slices.Contains(args, atOnce) {
			return out.Bytes(), half, ""
		}
		return out.Bytes(), done, ""
	case mine.Err() != nil:
		c.tally["commands killed"]++
		return nil, unknown, "killed"
	case strings.Contains(errs.String(), "changed by someone else"):
		return nil, conflict, errs.String()
	case c.dark.Load():
		return nil, unknown, errs.String()
	}
	return nil, refused, errs.String()
}

// atOnce is the overlap of a rotation that ends the old secret when the new one is
// out.
const atOnce = "0s"

func (c commands) secret(ctx context.Context, args ...string) (string, outcome, string) {
	out, o, said := c.run(ctx, args...)
	var m made
	if (o == done || o == half) && (json.Unmarshal(out, &m) != nil || m.ClientSecret == "") {
		return "", refused, "it printed no secret"
	}
	return m.ClientSecret, o, said
}

func (c commands) create(ctx context.Context, realm, id string) (string, outcome, string) {
	return c.secret(ctx, "client", "create", realm, "--id", id, "--name", id, "--scope", "read")
}

func (c commands) rotate(ctx context.Context, realm, id string, overlap time.Duration) (string, outcome, string) {
	return c.secret(ctx, "client", "rotate", realm, id, "--overlap", overlap.String())
}

func (c commands) endSecret(ctx context.Context, realm, id, secretID string) (outcome, string) {
	_, o, said := c.run(ctx, "client", "end-secret", realm, id, secretID)
	return o, said
}

func (c commands) label(ctx context.Context, realm, id, value string) (outcome, string) {
	_, o, said := c.run(ctx, "client", "change", realm, id, "--label", "turn="+value)
	return o, said
}

func (c commands) act(ctx context.Context, word, realm, id string) (outcome, string) {
	_, o, said := c.run(ctx, "client", word, realm, id)
	return o, said
}

func (c commands) rotateKey(ctx context.Context, realm string, compromised bool) (outcome, string) {
	_, o, said := c.run(ctx, "key", "rotate", realm, map[bool]string{true: "--compromised", false: "--now"}[compromised])
	return o, said
}

// went counts a change by its outcome. One that was refused is a failure unless
// two were made at once, and so is one without an answer while the server lives.
func (s *siege) went(t *testing.T, h hand, c *victim, event string, o outcome, said string) {
	s.mu.Lock()
	s.touched[c] = true
	c.past = append(c.past[max(0, len(c.past)-11):], fmt.Sprintf("%T %s: %d %s", h, event, o, said))
	switch o {
	case done, half:
		s.noted[c.realm+" "+c.id+" "+event]++
		s.tally[event]++
	case unknown:
		s.tally["unknown"]++
	default:
		s.tally["conflicts"]++
	}
	s.mu.Unlock()
	if _, local := h.(commands); o == refused || o == unknown && !local && !s.killed.Load() {
		t.Errorf("%T: %s of %s of %s: %s", h, event, c.id, c.realm, said)
	}
	s.acknowledged()
}
