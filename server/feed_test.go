package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// sent is one event of the feed; its kind is "end" when there are no more.
type sent struct {
	kind, id string
	data     map[string]any
}

// stream is a follower of the feed.
type stream struct {
	h      *house
	events chan sent
	leave  context.CancelFunc
}

// follow begins to follow the feed of a realm from a position.
func (h *house) follow(realm string, header http.Header, after string) *stream {
	h.t.Helper()
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 0
	ctx, leave := context.WithCancel(context.Background())
	h.t.Cleanup(leave)
	resp, err := h.http.Do(h.feedRequest(ctx, realm, header, after))
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		h.t.Fatalf("the feed answers %d %v", resp.StatusCode, resp.Header)
	}
	s := &stream{h, make(chan sent, 10_000), leave}
	go s.read(resp.Body)
	return s
}

func (h *house) feedRequest(ctx context.Context, realm string, header http.Header, after string) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/"+realm+"/revocations", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	return r
}

func (s *stream) read(body io.ReadCloser) {
	defer body.Close()
	defer func() { s.events <- sent{kind: "end"} }()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	var e sent
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			e.kind = value
		case "id":
			e.id = value
		case "data":
			e.data = nil
			if json.Unmarshal([]byte(value), &e.data) != nil {
				e.kind = "malformed"
			}
		case "":
			s.events <- e
			e = sent{}
		}
	}
}

// next returns the next event, which must come by itself.
func (s *stream) next(kind string) sent {
	s.h.t.Helper()
	select {
	case e := <-s.events:
		if e.kind != kind {
			s.h.t.Fatalf("the feed sends %+v, want an event %s", e, kind)
		}
		return e
	case <-time.After(20 * time.Second):
		s.h.t.Fatalf("the feed sends no event %s", kind)
	}
	return sent{}
}

// turned returns the next event, which may need the clock to turn.
func (s *stream) turned(kind string, d time.Duration) sent {
	s.h.t.Helper()
	for range 100 {
		s.h.clock.Turn(d)
		select {
		case e := <-s.events:
			if e.kind != kind {
				s.h.t.Fatalf("the feed sends %+v, want an event %s", e, kind)
			}
			return e
		case <-time.After(100 * time.Millisecond): // nobody slept yet
		}
	}
	s.h.t.Fatalf("the feed sends no event %s", kind)
	return sent{}
}

// past returns the next event of a kind, behind any number of others, while the
// clock turns.
func (s *stream) past(kind string, d time.Duration, others ...string) sent {
	s.h.t.Helper()
	for range 100 {
		s.h.clock.Turn(d)
		select {
		case e := <-s.events:
			if e.kind == kind {
				return e
			}
			if !slices.Contains(others, e.kind) {
				s.h.t.Fatalf("the feed sends %+v, want an event %s", e, kind)
			}
		case <-time.After(100 * time.Millisecond): // nobody slept yet
		}
	}
	s.h.t.Fatalf("the feed sends no event %s", kind)
	return sent{}
}

// begin reads the start of a stream and returns the feed's word.
func (s *stream) begin() string {
	s.h.t.Helper()
	word, _ := s.next("feed").data["feed"].(string)
	if word == "" {
		s.h.t.Fatal("the feed has no word")
	}
	return word
}

func (h *house) page(realm string, header http.Header, after string) (page struct {
	Feed        string           `json:"feed"`
	Revocations []map[string]any `json:"revocations"`
	Last        int64            `json:"last"`
	Time        int64            `json:"time"`
}) {
	h.t.Helper()
	header = header.Clone()
	header.Set("Accept", "application/json")
	r := h.feedRequest(h.t.Context(), realm, header, "")
	r.URL.RawQuery = "after=" + after
	resp, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		h.t.Fatalf("%d %v %v", resp.StatusCode, resp.Header, err)
	}
	return page
}

// TestFeed follows from the beginning, then what comes, then from where it was.
func TestFeed(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	as, api := h.as("oauth2", h.creds["oauth2"]), h.as("oauth2", h.resourceServer("oauth2"))
	first, second := h.token("oauth2"), h.token("oauth2")
	h.revoke("oauth2", first, as)

	s := h.follow("oauth2", api, "")
	word := s.begin()
	e := s.next("revocation")
	want := map[string]any{
		"client_id": "good", "token_id": principal(t, first).TokenID,
		// A guard's clock may be behind.
		"expires": float64(h.clock.Now().Unix() + 3600 + 600),
	}
	if !reflect.DeepEqual(e.data, want) || !strings.HasPrefix(e.id, word+".") {
		t.Errorf("got %+v, want %v", e, want)
	}
	at := s.next("position")
	if at.data["time"] != float64(h.clock.Now().Unix()) || at.id != e.id {
		t.Errorf("got %+v after %s", at, e.id)
	}

	h.revoke("oauth2", second, as) // in this process: at once, the clock stands
	if e := s.next("revocation"); e.data["token_id"] != principal(t, second).TokenID {
		t.Errorf("got %+v", e)
	}
	// By another process: within 50 ms.
	if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "good", true); err != nil {
		t.Fatal(err)
	}
	e = s.turned("revocation", 50*time.Millisecond)
	if e.data["client_id"] != "good" || e.data["disabled"] != true || e.data["token_id"] != nil {
		t.Errorf("got %+v", e)
	}
	if err := h.server.Clients().SetDisabled(t.Context(), "test", "oauth2", "good", false); err != nil {
		t.Fatal(err)
	}
	if e = s.next("revocation"); e.data["client_id"] != "good" || e.data["disabled"] != nil {
		t.Errorf("got %+v", e)
	}
	if err := h.server.Clients().Delete(t.Context(), "test", "oauth2", "good"); err != nil {
		t.Fatal(err)
	}
	last := s.next("revocation")
	if last.data["client_id"] != "good" || last.data["not_before"].(float64) <= float64(h.clock.Now().Unix()-1) {
		t.Errorf("got %+v", last)
	}
	beat := s.turned("position", 5*time.Second)
	if beat.data["time"] != float64(h.clock.Now().Unix()) || beat.id != last.id {
		t.Errorf("got %+v after %s", beat, last.id)
	}

	// Each client and token is there once, with its latest state.
	again := h.follow("oauth2", api, "")
	again.begin()
	seen := map[string]bool{}
	for e := again.next("revocation"); ; e = again.next("revocation") {
		of := fmt.Sprint(e.data["client_id"], " ", e.data["token_id"])
		if seen[of] {
			t.Errorf("%s is there twice", of)
		}
		if seen[of] = true; e.id == last.id {
			break
		}
	}
	again.next("position")
	resumed := h.follow("oauth2", api, e.id)
	resumed.begin()
	if e := resumed.next("revocation"); e.id != last.id {
		t.Errorf("resumed with %+v, want %s", e, last.id)
	}
	resumed.next("position")
}

// TestFeedOfAnotherDatabase: who followed another feed starts anew.
func TestFeedOfAnotherDatabase(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	api := h.as("oauth2", h.resourceServer("oauth2"))
	h.revoke("oauth2", h.token("oauth2"), h.as("oauth2", h.creds["oauth2"]))
	word := h.page("oauth2", api, "").Feed
	longest := strings.Repeat("x", 198) + ".1"
	for name, after := range map[string]string{"another word": "other.7", "a short word": "x.7", "the longest position": longest, "a number that is not reached yet": word + ".1000000"} {
		t.Run(name, func(t *testing.T) {
			s := h.follow("oauth2", api, after)
			s.begin()
			s.next("reset")
			s.next("revocation")
			s.next("position")
			if page := h.page("oauth2", api, after); len(page.Revocations) != 1 || page.Feed != word {
				t.Errorf("as a page: %+v", page)
			}
		})
	}
	for _, after := range []string{"x", ".1", "x.", "x.-1", "x.y", word + ".99999999999999999999", "x" + longest} {
		resp, err := h.http.Do(h.feedRequest(t.Context(), "oauth2", api, after))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("the position %.20q got %d", after, resp.StatusCode)
		}
	}
}

// TestFeedPages reads more than a page, as a stream and as pages.
func TestFeedPages(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	api := h.as("oauth2", h.resourceServer("oauth2"))
	const n = 2500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := h.store.RevokeToken(context.Background(), store.Revocation{Realm: "oauth2", ClientID: "good", TokenID: strconv.Itoa(i), Expires: h.clock.Now().Add(time.Hour)},
				counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: h.clock.Now(), Realm: "oauth2", ClientID: "good"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := h.follow("oauth2", api, "")
	word := s.begin()
	var all []string
	for before := int64(0); len(all) < n; {
		e := s.next("revocation")
		at, err := strconv.ParseInt(strings.TrimPrefix(e.id, word+"."), 10, 64)
		if err != nil || at <= before {
			t.Fatalf("%s after %d: %v", e.id, before, err)
		}
		before = at
		all = append(all, fmt.Sprint(e.data["token_id"]))
	}
	s.next("position")
	var paged []string
	for after := ""; ; {
		page := h.page("oauth2", api, after)
		for _, r := range page.Revocations {
			paged = append(paged, fmt.Sprint(r["token_id"]))
		}
		if page.Feed != word || page.Time != h.clock.Now().Unix() || len(page.Revocations) > 1000 {
			t.Fatalf("a page of %d: %s, %d", len(page.Revocations), page.Feed, page.Time)
		}
		if len(page.Revocations) == 0 {
			break
		}
		after = word + "." + strconv.FormatInt(page.Last, 10)
	}
	if !reflect.DeepEqual(paged, all) {
		t.Errorf("%d revocations as pages, %d as a stream", len(paged), len(all))
	}
}

// TestReplacedTokensAreInTheFeed: what a new token ends under the policy
// "replace", a follower learns at once.
func TestReplacedTokensAreInTheFeed(t *testing.T) {
	h := newHouseOf(t, nil, "altrata")
	api := h.client(clients.NewClient{Realm: "altrata", ID: "api", WithAPIKey: true, Settings: store.Settings{ResourceServer: true, Scopes: counterfoil.Scopes{"profiles:read"}}})
	s := h.follow("altrata", h.as("altrata", api), "")
	s.begin()
	s.next("position")
	first := h.token("altrata")
	s.next("revocation") // of all from before the policy
	second := h.token("altrata")
	e := s.next("revocation")
	if e.data["client_id"] != "good" || e.data["token_id"] != principal(t, first).TokenID && e.data["not_before"] == nil || e.data["token_id"] == principal(t, second).TokenID {
		t.Errorf("got %+v", e)
	}
}

// TestWhoMayFollow: resource servers only, for as long as they are.
func TestWhoMayFollow(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	api := h.resourceServer("oauth2")
	bearer := http.Header{"Authorization": {"Bearer " + h.tokenOf("oauth2", api)}}
	for name, row := range map[string]struct {
		header http.Header
		status int
	}{
		"nobody":                {nil, http.StatusUnauthorized},
		"a client":              {h.as("oauth2", h.creds["oauth2"]), http.StatusForbidden},
		"a client with a token": {http.Header{"Authorization": {"Bearer " + h.token("oauth2")}}, http.StatusForbidden},
		"a wrong secret":        {http.Header{"Authorization": {basic("api", "x")}}, http.StatusUnauthorized},
		"a wrong token":         {http.Header{"Authorization": {"Bearer x"}}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := h.http.Do(h.feedRequest(t.Context(), "oauth2", row.header, ""))
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != row.status {
				t.Errorf("got %d", resp.StatusCode)
			}
			events := h.recorded()
			if last := events[len(events)-1]; last.Type != counterfoil.EventTokenRefused || !strings.HasPrefix(last.Detail, "/revocations") {
				t.Errorf("recorded %+v", last)
			}
		})
	}
	if got := h.get(t, http.MethodPost, "/oauth2/revocations"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET" {
		t.Errorf("POST got %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	secret, token := h.follow("oauth2", h.as("oauth2", api), ""), h.follow("oauth2", bearer, "")
	for _, s := range []*stream{secret, token} {
		s.begin()
		s.next("position")
	}
	for _, s := range []*stream{secret, token} {
		s.turned("position", 5*time.Second) // they still may
	}
	if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "api", true); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*stream{secret, token} { // with the revocation, or on a beat before it is read
		s.past("end", 5*time.Second, "position", "revocation")
	}
}
