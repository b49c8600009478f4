package admin_test

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

const asJSON = "application/json"

// cut breaks the answers of a server off: the first as many as it says.
type cut struct {
	next  http.RoundTripper
	times atomic.Int32
	where string // before the headers, or within the body
	keys  sync.Map
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		c.keys.Store(key, true)
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost || c.times.Add(-1) < 0 {
		return resp, err
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if c.where == "headers" {
		return nil, errors.New("connection reset")
	}
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(string(body[:len(body)/2])), broken{}))
	return resp, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What only the answer has is not lost when the answer breaks off: it is asked for
// again, and made once.
func TestAnswerThatBreaksOff(t *testing.T) {
	for _, where := range []string{"headers", "body"} {
		t.Run(where, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "acme", "billing", "orders:read")
			remote := p.remote(t, allScopes)
			c := &cut{next: remote.HTTP.Transport, where: where}
			remote.HTTP.Transport = c
			c.times.Store(2)
			got := must(remote.RotateSecret(t.Context(), "acme", "billing", clients.Rotation{}))(t)
			client := must(p.local.Client(t.Context(), "acme", "billing"))(t)
			if client.Version != 2 || len(client.Secrets) != 1 || client.Secrets[0].ID != got.ID || got.ClientSecret == "" {
				t.Errorf("got the secret %s, the client is %+v", got.ID, client)
			}
			c.times.Store(2)
			made, creds, err := remote.CreateClient(t.Context(), "acme", admin.NewClient{Settings: store.Settings{Name: "New"}})
			page := must(p.local.Clients(t.Context(), store.ClientQuery{Realm: "acme"}))(t)
			if err != nil || creds.ClientSecret == "" || made.ID != creds.ClientID || len(page.Clients) != 2 {
				t.Errorf("%v: got %s, there are %+v", err, made.ID, page.Clients)
			}
			c.times.Store(3)
			if _, err := remote.RotateAPIKey(t.Context(), "acme", "billing", clients.Rotation{}); err == nil {
				t.Error("no error after the last attempt")
			}
		})
	}
}

func TestIdempotencyKey(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "billing", "orders:read")
	p.have(t, "acme", "other", "orders:read")
	ts := p.serve(t, allScopes)
	const path = "/v1/realms/acme/clients/billing/secrets"
	rotate := func(path, body string, headers ...string) answer {
		t.Helper()
		return ask(t, ts, "POST", path, body, append(headers, "Content-Type", asJSON)...)
	}
	first := rotate(path, `{"overlap":"1h"}`, "Idempotency-Key", `"one"`)
	for _, row := range []struct {
		name, path, body string
		headers          []string
		same             bool
		status           int
	}{
		{"again", path, `{"overlap":"1h"}`, []string{"Idempotency-Key", `"one"`}, true, 201},
		{"without quotes", path, `{"overlap":"1h"}`, []string{"Idempotency-Key", `one`}, true, 201},
		{"another body", path, `{"overlap":"2h"}`, []string{"Idempotency-Key", `"one"`}, false, 422},
		{"another version", path, `{"overlap":"1h"}`, []string{"Idempotency-Key", `"one"`, "If-Match", `"2"`}, false, 422},
		{"another client", "/v1/realms/acme/clients/other/secrets", `{"overlap":"1h"}`, []string{"Idempotency-Key", `"one"`}, false, 201},
		{"another key", path, `{"overlap":"1h"}`, []string{"Idempotency-Key", `"two"`}, false, 201},
		{"no key", path, `{"overlap":"1h"}`, nil, false, 201},
		{"an empty key", path, `{}`, []string{"Idempotency-Key", `""`}, false, 400},
		{"half a quote", path, `{}`, []string{"Idempotency-Key", `"one`}, false, 400},
		{"a space", path, `{}`, []string{"Idempotency-Key", `"o ne"`}, false, 400},
		{"two keys", path, `{}`, []string{"Idempotency-Key", `"a"`, "Idempotency-Key", `"b"`}, false, 400},
		{"a key of 256 bytes", path, `{}`, []string{"Idempotency-Key", strings.Repeat("a", 256)}, false, 400},
		{"a body that is too long", path, strings.Repeat(" ", 2<<20), []string{"Idempotency-Key", `"long"`}, false, 413},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := rotate(row.path, row.body, row.headers...)
			if got.status != row.status || (got.body == first.body) != row.same {
				t.Errorf("got %d %s, the first was %s", got.status, got.body, first.body)
			}
		})
	}
	t.Run("a failure is not kept", func(t *testing.T) {
		none := rotate("/v1/realms/acme/clients/late/secrets", `{}`, "Idempotency-Key", `"late"`)
		p.have(t, "acme", "late", "orders:read")
		if good := rotate("/v1/realms/acme/clients/late/secrets", `{}`, "Idempotency-Key", `"late"`); none.status != 404 || good.status != 201 {
			t.Errorf("got %d, then %d", none.status, good.status)
		}
	})
	t.Run("it is good for ten minutes", func(t *testing.T) {
		p.clock.Turn(10*time.Minute - 1)
		if got := rotate(path, `{"overlap":"1h"}`, "Idempotency-Key", `"one"`); got.body != first.body {
			t.Errorf("another answer: %s", got.body)
		}
		p.clock.Turn(1)
		if got := rotate(path, `{"overlap":"1h"}`, "Idempotency-Key", `"one"`); got.status != 201 || got.body == first.body {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	t.Run("at the same time", func(t *testing.T) {
		before := must(p.local.Client(t.Context(), "acme", "billing"))(t)
		var all sync.WaitGroup
		answers := make([]answer, 16)
		for i := range answers {
			all.Go(func() { answers[i] = rotate(path, `{}`, "Idempotency-Key", `"many"`) })
		}
		all.Wait()
		for _, a := range answers {
			if a.status != 201 || a.body != answers[0].body {
				t.Errorf("got %d %s and %s", a.status, a.body, answers[0].body)
			}
		}
		if after := must(p.local.Client(t.Context(), "acme", "billing"))(t); after.Version != before.Version+1 {
			t.Errorf("%d rotations", after.Version-before.Version)
		}
	})
	t.Run("they are bounded", func(t *testing.T) {
		kept := rotate(path, `{}`, "Idempotency-Key", `"kept"`)
		for range 1024 {
			rotate("/v1/realms/acme/clients/nobody/secrets", `{}`, "Idempotency-Key", rand.Text())
		}
		if got := rotate(path, `{}`, "Idempotency-Key", `"kept"`); got.body != kept.body {
			t.Error("failures take the place of answers")
		}
		for range 1024 {
			rotate(path, `{}`, "Idempotency-Key", rand.Text())
		}
		if got := rotate(path, `{}`, "Idempotency-Key", `"kept"`); got.body == kept.body {
			t.Error("an answer is kept beyond 1024")
		}
	})
}

// An old secret keeps its end while the new one is on its way.
func TestRotationKeepsTheOld(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.have(t, "acme", "billing", "orders:read")
		got := must(w.RotateSecret(t.Context(), "acme", "billing", clients.Rotation{Keep: true}))(t)
		c := must(w.Client(t.Context(), "acme", "billing"))(t)
		if got.PreviousID != secretID || got.ID != c.Secrets[0].ID || len(c.Secrets) != 2 || !c.Secrets[1].Ends.IsZero() || !got.PreviousExpires.IsZero() {
			t.Errorf("got %+v, the client is %+v", got, c)
		}
		if e := w.last(t); e.Type != counterfoil.EventClientRotated || e.Detail != "client secret; the old one stays valid" {
			t.Errorf("recorded %+v", e)
		}
		_, err := w.RotateSecret(t.Context(), "acme", "billing", clients.Rotation{Keep: true, Overlap: time.Hour})
		var p *admin.Problem
		if !errors.As(err, &p) || p.Status != 422 {
			t.Errorf("got %v", err)
		}
	})
}
