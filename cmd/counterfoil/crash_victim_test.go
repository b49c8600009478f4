package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
)

// victim is a client that is created, changed and deleted, by one goroutine at
// a time, and what was acknowledged about it.
type victim struct {
	realm, id string
	there     fact
	disabled  fact
	// secrets are in the order in which they were made, newest first.
	secrets []credential
	// tangled says that the order of the secrets is not known.
	tangled bool
	// labelled is the label that was acknowledged last, tried the newest.
	labelled, tried int
	tokens          []*holding
	// open says that the outcome of the last change is not known.
	open bool
	// past are the latest changes and their outcomes, for people.
	past []string
}

// credential is a secret; its text is empty when its one answer was lost.
type credential struct {
	text   string
	serves fact
}

const (
	mostVictims = 12
	// keptTokens and keptEnded are how many of a victim's tokens, and of its
	// secrets that ended, are tried again later.
	keptTokens = 12
	keptEnded  = 3
	// aDay is for how long a secret serves beside its successor.
	aDay = 24 * time.Hour
)

// serving are the secrets that serve, newest first.
func (c *victim) serving() (all []*credential) {
	for i := range c.secrets {
		if c.secrets[i].serves == is {
			all = append(all, &c.secrets[i])
		}
	}
	return all
}

// add puts a new secret before the others and forgets old ones that ended.
func (c *victim) add(text string) {
	ended := 0
	c.secrets = slices.DeleteFunc(c.secrets, func(s credential) bool {
		if s.serves == isNot {
			ended++
		}
		return s.serves == isNot && (ended > keptEnded || s.text == "")
	})
	c.secrets = slices.Insert(c.secrets, 0, credential{text, is})
}

// end ends all secrets but the newest n.
func (c *victim) end(n int) {
	for i, s := range c.serving() {
		if i >= n {
			s.serves = isNot
		}
	}
}

// doubt notes that all secrets but the newest n may have ended.
func (c *victim) doubt(n int) {
	for i, s := range c.serving() {
		if i >= n {
			s.serves = unsure
		}
	}
	c.open = true
}

// became sets what all live tokens of the victim are now.
func (c *victim) became(f fact) {
	for _, h := range c.tokens {
		if h.live != isNot {
			h.live = f
		}
	}
}

// ended notes a change that ends all live tokens of the victim.
func (c *victim) ended(o outcome) {
	switch o {
	case done:
		c.became(isNot)
	case unknown:
		c.became(unsure)
		c.open = true
	}
}

// changeOne takes a victim that nobody else has and changes something.
func (s *siege) changeOne(ctx context.Context, t *testing.T, h hand) {
	if rand.IntN(25) == 0 {
		s.rotateKeys(ctx, t, h)
		return
	}
	s.mu.Lock()
	var c *victim
	if s.tally["victims"] < mostVictims {
		s.tally["victims"]++
		c = &victim{realm: besiegedRealms[s.tally["victims"]%3], id: "c" + strconv.Itoa(s.tally["victims"])}
	} else if at := slices.IndexFunc(s.victims, func(c *victim) bool { return !c.open }); at >= 0 {
		c = s.victims[at] // the one that rests for the longest time
		s.victims = slices.Delete(s.victims, at, at+1)
	}
	s.mu.Unlock()
	if c == nil {
		s.askOnce(ctx, t, "each")
		return
	}
	s.change(ctx, t, h, c)
	if !c.open && !s.killed.Load() {
		s.use(ctx, t, c)
	}
	s.mu.Lock()
	s.victims = append(s.victims, c)
	s.touched[c] = true
	s.mu.Unlock()
}

func (s *siege) change(ctx context.Context, t *testing.T, h hand, c *victim) {
	serving := c.serving()
	n := rand.IntN(20)
	switch {
	case c.there == isNot:
		s.create(ctx, t, h, c)
	case c.tangled || len(serving) == 0:
		s.rotate(ctx, t, h, c, 0)
	case n < 4:
		s.rotate(ctx, t, h, c, aDay)
	case n < 6:
		s.rotate(ctx, t, h, c, 0)
	case n < 8:
		s.rotateTwice(ctx, t, h, c)
	case n < 10 && len(serving) == 2:
		s.endSecret(ctx, t, h, c)
	case n < 13:
		s.label(ctx, t, h, c)
	case n < 16 || c.disabled == is:
		s.switchOver(ctx, t, h, c)
	case n < 17:
		o, said := h.act(ctx, "revoke", c.realm, c.id)
		s.went(t, h, c, counterfoil.EventTokensRevoked, o, said)
		c.ended(o)
	case n < 18:
		s.remove(ctx, t, h, c)
	default:
		for _, held := range c.tokens {
			if held.live == is && serving[0].text != "" {
				s.revoke(ctx, t, held, serving[0].text)
				break
			}
		}
	}
}

func (s *siege) create(ctx context.Context, t *testing.T, h hand, c *victim) {
	secret, o, said := h.create(ctx, c.realm, c.id)
	s.went(t, h, c, counterfoil.EventClientCreated, o, said)
	c.disabled, c.labelled, c.tried, c.tangled = isNot, 0, 0, false
	switch o {
	case done:
		c.there = is
		c.add(secret)
	case unknown:
		c.there, c.open = unsure, true
	}
}

// remove deletes the client; a later change makes it anew under the same id.
func (s *siege) remove(ctx context.Context, t *testing.T, h hand, c *victim) {
	o, said := h.act(ctx, "delete", c.realm, c.id)
	s.went(t, h, c, counterfoil.EventClientDeleted, o, said)
	switch o {
	case done:
		c.there = isNot
		c.end(0)
	case unknown:
		c.there = unsure
		c.doubt(0)
	}
	c.ended(o)
}

func (s *siege) rotate(ctx context.Context, t *testing.T, h hand, c *victim, overlap time.Duration) {
	stay := 0
	if overlap > 0 {
		stay = 1
	}
	secret, o, said := h.rotate(ctx, c.realm, c.id, overlap)
	s.went(t, h, c, counterfoil.EventClientRotated, o, said)
	switch o {
	case done:
		c.end(stay)
		c.add(secret)
		c.tangled = c.tangled && overlap > 0
	case half:
		c.doubt(0)
		c.add(secret)
	case unknown:
		c.doubt(stay)
	}
}

// rotateTwice rotates in two ways at once. Whoever is given a secret has one
// that serves.
func (s *siege) rotateTwice(ctx context.Context, t *testing.T, h hand, c *victim) {
	hands := [2]hand{h, remote{s}}
	var secrets, said [2]string
	var outcomes [2]outcome
	var wg sync.WaitGroup
	for i, one := range hands {
		wg.Go(func() { secrets[i], outcomes[i], said[i] = one.rotate(ctx, c.realm, c.id, aDay) })
	}
	wg.Wait()
	count := map[outcome]int{}
	for i, o := range outcomes {
		s.went(t, hands[i], c, counterfoil.EventClientRotated, o, said[i])
		count[o]++
	}
	if count[conflict] == 2 {
		t.Errorf("of two rotations at once both were refused: %s, %s", said[0], said[1])
	}
	switch {
	case count[unknown] > 0:
		c.doubt(0)
	case count[done] == 2:
		c.end(0)
	default:
		c.end(1)
	}
	for i, o := range outcomes {
		if o == done {
			c.add(secrets[i])
		}
	}
	c.tangled = count[done] == 2 || count[unknown] > 0
}

func (s *siege) endSecret(ctx context.Context, t *testing.T, h hand, c *victim) {
	seen, err := s.admin.Client(ctx, c.realm, c.id)
	if err != nil {
		if !s.killed.Load() {
			t.Errorf("%s of %s: %v", c.id, c.realm, err)
		}
		return
	}
	serving := c.serving()
	if len(seen.Secrets) != len(serving) {
		t.Errorf("%s of %s has %d secrets, not %d", c.id, c.realm, len(seen.Secrets), len(serving))
		return
	}
	o, said := h.endSecret(ctx, c.realm, c.id, seen.Secrets[1].ID)
	s.went(t, h, c, counterfoil.EventSecretEnded, o, said)
	switch o {
	case done:
		serving[1].serves = isNot
	case unknown:
		serving[1].serves, c.open = unsure, true
	}
}

func (s *siege) label(ctx context.Context, t *testing.T, h hand, c *victim) {
	c.tried++
	o, said := h.label(ctx, c.realm, c.id, strconv.Itoa(c.tried))
	s.went(t, h, c, counterfoil.EventClientChanged, o, said)
	if c.open = o == unknown; o == done {
		c.labelled = c.tried
	}
}

// switchOver disables the client, or enables it again.
func (s *siege) switchOver(ctx context.Context, t *testing.T, h hand, c *victim) {
	word, event, after := "disable", counterfoil.EventClientDisabled, is
	if c.disabled == is {
		word, event, after = "enable", counterfoil.EventClientEnabled, isNot
	}
	o, said := h.act(ctx, word, c.realm, c.id)
	s.went(t, h, c, event, o, said)
	switch {
	case o == unknown:
		after, c.open = unsure, true
		fallthrough
	case o == done:
		c.disabled = after
		if c.realm == "single" && word == "disable" { // the live one is none any more
			c.ended(o)
		}
	}
}

// use asks for a token with each secret: what was acknowledged counts from the
// next request on, whoever acknowledged it.
func (s *siege) use(ctx context.Context, t *testing.T, c *victim) {
	for _, secret := range c.secrets {
		if secret.text == "" || secret.serves == unsure {
			continue
		}
		should := c.there == is && c.disabled == isNot && secret.serves == is
		token, status := s.ask(ctx, c.realm, withSecret(c.id, secret.text))
		if (status == 0 || status == http.StatusServiceUnavailable) && s.killed.Load() { // its disk is gone before it is
			if should && c.realm == "single" {
				c.became(unsure)
			}
			return
		}
		if status != map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[should] {
			t.Errorf("%s is answered %d for %q, should it be served: %v; it was changed by %q; its secrets: %v", c, status, secret.text[:6], should, c.past, c.brief())
		}
		if status == http.StatusOK {
			s.hold(t, c, token)
		}
	}
}

// brief tells the secrets apart.
func (c *victim) brief() (all []string) {
	for _, one := range c.secrets {
		all = append(all, fmt.Sprintf("%.6s %v", one.text, one.serves))
	}
	return all
}

// hold notes a token of a victim.
func (s *siege) hold(t *testing.T, c *victim, token string) {
	h := &holding{realm: c.realm, client: c.id, text: token, live: is}
	for _, old := range c.tokens {
		switch {
		case old.text == token && old.live == isNot:
			t.Errorf("%s was answered a token that had ended", c)
		case old.text == token:
			h = old
			h.live = is
		case c.realm == "single":
			old.live = isNot
		}
	}
	if !slices.Contains(c.tokens, h) {
		c.tokens = append(c.tokens, h)
		c.tokens = c.tokens[max(0, len(c.tokens)-keptTokens):]
	}
	s.mu.Lock()
	s.round = append(s.round, &holding{realm: c.realm, client: c.id, text: token, live: is})
	s.tally["tokens"]++
	s.mu.Unlock()
	s.acknowledged()
}

func (c *victim) String() string { return fmt.Sprintf("%s of %s", c.id, c.realm) }

// rotateKeys makes a new signing key: in shared beside the others, in signed in
// place of the others, which ends the tokens that they signed.
func (s *siege) rotateKeys(ctx context.Context, t *testing.T, h hand) {
	s.mu.Lock()
	compromised := rand.IntN(2) == 0
	_, local := h.(commands)
	// Behind its back a server signs with a key that has ended for seconds, and
	// of two compromised at once one ends the other's key: one at a time, there.
	if compromised && (local || s.generation%2 == 1) || !compromised && s.rotations > 40 {
		s.mu.Unlock()
		return
	}
	c := &victim{realm: "shared"}
	var before []*holding
	if compromised {
		c.realm = "signed"
		s.generation++
		for _, held := range s.tokens {
			if held.realm == c.realm && held.live != isNot {
				held.live = unsure
				before = append(before, held)
			}
		}
	} else {
		s.rotations++
	}
	s.mu.Unlock()
	o, said := h.rotateKey(ctx, c.realm, compromised)
	s.went(t, h, c, counterfoil.EventKeyCreated, o, said)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.touched, c)
	if !compromised {
		return
	}
	s.generation++
	if o == done {
		for _, held := range before {
			held.live = isNot
		}
	}
}

// settle compares a victim with what was acknowledged of it, and learns what
// became of what was not.
func (s *siege) settle(t *testing.T, c *victim) {
	t.Helper()
	seen, err := s.admin.Client(t.Context(), c.realm, c.id)
	var p *admin.Problem
	there := is
	if errors.As(err, &p) && p.Code == admin.NotFound {
		there = isNot
	} else if err != nil {
		t.Fatal(err)
	}
	if c.there != unsure && there != c.there {
		t.Fatalf("%s should be there: %v", c, c.there == is)
	}
	if c.there = there; there == is {
		s.settleSettings(t, c, &seen)
	}
	for _, h := range c.tokens {
		active := s.active(t, h)
		if h.live == unsure {
			h.live = map[bool]fact{true: is, false: isNot}[active]
		}
		if active != (h.live == is && c.disabled == isNot) {
			t.Errorf("a token of %s should be active: %v", c, h.live == is && c.disabled == isNot)
		}
	}
	s.settleSecrets(t, c, len(seen.Secrets))
	c.open = false
	s.use(t.Context(), t, c)
}

// settleSecrets tries the secrets of which it is not known whether they serve.
func (s *siege) settleSecrets(t *testing.T, c *victim, n int) {
	t.Helper()
	for i := range c.secrets {
		one := &c.secrets[i]
		if one.serves != unsure {
			continue
		}
		one.serves = isNot
		if one.text == "" { // it may be the one that is found below, which is put elsewhere
			c.tangled = true
			continue
		}
		if token, status := s.ask(t.Context(), c.realm, withSecret(c.id, one.text)); status == http.StatusOK {
			one.serves = is
			s.hold(t, c, token)
		}
	}
	// The one answer that had a secret may have been lost.
	for c.open && n > len(c.serving()) {
		c.secrets = slices.Insert(c.secrets, 0, credential{serves: is})
	}
	if serving := len(c.serving()); n != serving {
		t.Errorf("%s has %d secrets, not %d", c, n, serving)
	}
}

func (s *siege) settleSettings(t *testing.T, c *victim, seen *admin.Client) {
	t.Helper()
	disabled := isNot
	if seen.Status == "disabled" {
		disabled = is
	}
	if c.disabled != unsure && c.disabled != disabled {
		t.Errorf("%s should be disabled: %v", c, c.disabled == is)
	}
	label, _ := strconv.Atoi(seen.Labels["turn"])
	if label < c.labelled || label > c.tried || label > c.labelled && !c.open {
		t.Errorf("%s is labelled %d, acknowledged was %d, tried %d", c, label, c.labelled, c.tried)
	}
	c.disabled, c.labelled = disabled, label
	if c.open && disabled == is { // what is not known of it shows once it is enabled
		if err := s.admin.EnableClient(t.Context(), c.realm, c.id); err != nil {
			t.Fatal(err)
		}
		c.disabled = isNot
	}
}
