package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/internal/sent"
)

// A secret that is rotated while a request is under way is taken at once: the
// caller does not notice.
func TestSecretIsRotatedDuringARequest(t *testing.T) {
	f := newOrdeal(t)
	f.answers(func(rw http.ResponseWriter, n int) {
		if n == 1 {
			f.rotate("the-next-one")
			status(401, `{"error":"invalid_client"}`)(rw, n)
			return
		}
		give(rw, n, "3600")
	})
	equal(t, "token", f.must(f.oauth2()), "token-2")
}

// The events of one token number its requests.
func TestEventsNumberTokenRequests(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) {
		if n < 4 {
			status(503, "")(rw, n)
			return
		}
		give(rw, n, "3600")
	})
	s := w.oauth2()
	w.turning(2*time.Second, func() { w.must(s) })
	var got []string
	for _, e := range w.seenEvents() {
		got = append(got, fmt.Sprint(e.Type, e.Attempt))
	}
	r := counterfoil.EventTokenRequested
	equal(t, "events", strings.Join(got, " "), fmt.Sprint(r, 1, " ", r, 2, " ", r, 3, " ", r, 4, " ", counterfoil.EventTokenObtained, 4))
}

// Every status of success can bring a token, and no other.
func TestStatusesOfSuccess(t *testing.T) {
	for code, want := range map[int]bool{200: true, 201: true, 299: true, 300: false} {
		w := newWorld(t)
		w.answers(func(rw http.ResponseWriter, n int) {
			rw.WriteHeader(code)
			give(rw, n, "3600")
		})
		_, err := w.oauth2().Token(w.ctx)
		equal(t, fmt.Sprint("a token with the status ", code), err == nil, want)
	}
}

// A transport's error is the caller's to look at, as long as it is no longer than
// 300 bytes; of a longer one there is the beginning.
func TestTransportErrorOfManyWords(t *testing.T) {
	for size, want := range map[int]string{300: strings.Repeat("x", 300), 301: strings.Repeat("x", 300) + "…"} {
		w := newWorld(t)
		cause := errors.New(strings.Repeat("x", size))
		c := w.config("oauth2")
		c.HTTP = roundTripper(func(*http.Request) (*http.Response, error) { return nil, cause })
		c.Permanent = func(error) bool { return true } // so that nothing is waited for
		e := w.fails(w.source(c))
		equal(t, fmt.Sprint("text of an error of ", size, " bytes"), e.Err.Error(), want)
		equal(t, "it is the transport's own", errors.Is(e, cause), size == 300)
	}
}

// A token response may have 64 KiB, and a token every character that a header's
// field can have.
func TestLongestTokenResponse(t *testing.T) {
	text := `{"access_token":"!~","token_type":"Bearer"}`
	for size, fits := range map[int]bool{64 << 10: true, 64<<10 + 1: false} {
		w := newWorld(t)
		w.answers(status(200, text+strings.Repeat(" ", size-len(text))))
		s := w.oauth2()
		if !fits {
			if e := w.fails(s); !strings.Contains(e.Error(), "larger than 65536 bytes") {
				t.Errorf("got %v", e)
			}
			continue
		}
		equal(t, "token", w.must(s), "!~")
	}
}

// An error code has up to 64 characters.
func TestLongestErrorCode(t *testing.T) {
	for size, fits := range map[int]bool{64: true, 65: false} {
		w := newWorld(t)
		code := strings.Repeat("a", size)
		w.answers(status(400, `{"error":"`+code+`"}`))
		equal(t, fmt.Sprint("a code of ", size, " characters is told"), w.fails(w.oauth2()).Code == code, fits)
	}
}

// A secret that cannot be sent is refused before anybody is asked; one with a space
// at its end may be meant so, and only where it comes from knows.
func TestSecretThatCannotBeSent(t *testing.T) {
	from := func(v counterfoil.Secret) client.SecretFunc {
		return func(ctx context.Context) (counterfoil.Secret, error) { return v, sent.Check(ctx, "file:x", v, true) }
	}
	for _, row := range []struct {
		name  string
		get   client.SecretFunc
		words string
	}{
		{"a line end", client.Static("a\nb"), "it has a line end inside"},
		{"a line end, from a file", from("a\nb"), "secret file:x: it has a line end inside"},
		{"a space", client.Static("a "), ""},
		{"a space, from a file", from("a "), "secret file:x: it begins or ends with a space"},
	} {
		w := newWorld(t)
		c := w.config("oauth2")
		c.ClientSecret = row.get
		if row.words == "" {
			equal(t, row.name, w.must(w.source(c)), "token-1")
			continue
		}
		e := w.fails(w.source(c))
		equal(t, row.name+": reason", e.Reason, counterfoil.ReasonCredentialsMissing)
		if !strings.Contains(e.Error(), row.words) {
			t.Errorf("%s: got %v", row.name, e)
		}
		equal(t, row.name+": token requests", w.asked(), 0)
	}
}
