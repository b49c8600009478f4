package client_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// together makes n calls at the same time and counts those that are answered 200.
func (w *world) together(n int, c *http.Client) int {
	var all sync.WaitGroup
	var good atomic.Int64
	for range n {
		all.Go(func() {
			resp, err := c.Get(w.api.URL)
			if err != nil {
				w.t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				good.Add(1)
			}
		})
	}
	all.Wait()
	return int(good.Load())
}

// afterAll is base with a body of the first n answers 401 that nobody has read
// before all of them are there.
func afterAll(n int, base http.RoundTripper) http.RoundTripper {
	var read sync.WaitGroup
	read.Add(n)
	var refused atomic.Int64
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err == nil && resp.StatusCode == http.StatusUnauthorized && refused.Add(1) <= int64(n) {
			resp.Body = &awaited{ReadCloser: resp.Body, begun: sync.OnceFunc(read.Done), all: &read}
		}
		return resp, err
	})
}

// awaited is a body whose Read waits for all; one that is closed is not waited
// for.
type awaited struct {
	io.ReadCloser
	begun func()
	all   *sync.WaitGroup
}

func (a *awaited) Read(p []byte) (int, error) {
	a.begun()
	a.all.Wait()
	return a.ReadCloser.Read(p)
}

func (a *awaited) Close() error {
	a.begun()
	return a.ReadCloser.Close()
}

// proofOf is the proof of a call with token-1, by whatever clock it was made.
func (w *world) proofOf(r *http.Request) dpop.Proof {
	p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{Method: r.Method, URL: "https://" + r.Host + r.URL.Path, Now: w.clock.Now(), AccessToken: "token-1",
		MaxAge: 100 * time.Hour, Skew: 100 * time.Hour})
	if err != nil {
		w.t.Error(err)
	}
	return p
}

func refuseProof(rw http.ResponseWriter, code string) {
	rw.Header().Set("WWW-Authenticate", `DPoP error="`+code+`"`)
	rw.WriteHeader(http.StatusUnauthorized)
}

// Calls whose proofs were refused together are all made again, not only the first
// that learns: each is compared with its own proof, and a nonce that one refusal
// gave is for the call that it refused.
func TestDPoPOfManyCallsAtOnce(t *testing.T) {
	const n = 20
	for _, row := range []struct {
		name string
		// slow: no call is made again before all were refused.
		slow bool
		// first answers a call of the first n, which all have arrived by then; good
		// judges the others.
		first func(w *world, rw http.ResponseWriter, n int)
		good  func(w *world, rw http.ResponseWriter, p dpop.Proof) bool
	}{
		{"the API's clock is another", true,
			func(w *world, rw http.ResponseWriter, _ int) {
				rw.Header().Set("Date", w.clock.Now().Add(10*time.Minute).Format(http.TimeFormat))
				refuseProof(rw, "invalid_dpop_proof")
			},
			func(w *world, _ http.ResponseWriter, p dpop.Proof) bool {
				return p.IssuedAt.Sub(w.clock.Now().Add(10*time.Minute)).Abs() < 5*time.Second
			}},
		{"the nonce has ended", true,
			func(_ *world, rw http.ResponseWriter, _ int) {
				rw.Header().Set("DPoP-Nonce", "the-next")
				refuseProof(rw, "use_dpop_nonce")
			},
			func(_ *world, _ http.ResponseWriter, p dpop.Proof) bool { return p.Nonce == "the-next" }},
		{"a nonce serves once", true,
			func(_ *world, rw http.ResponseWriter, n int) {
				rw.Header().Set("DPoP-Nonce", fmt.Sprint("once-", n))
				refuseProof(rw, "use_dpop_nonce")
			},
			func() func(*world, http.ResponseWriter, dpop.Proof) bool {
				var used sync.Map
				return func(_ *world, _ http.ResponseWriter, p dpop.Proof) bool {
					_, before := used.LoadOrStore(p.Nonce, true)
					return !before && strings.HasPrefix(p.Nonce, "once-")
				}
			}()},
		{"a late answer brings the nonce before", false,
			func(_ *world, rw http.ResponseWriter, n int) {
				rw.Header().Set("DPoP-Nonce", "the-next")
				refuseProof(rw, "use_dpop_nonce")
			},
			func(_ *world, rw http.ResponseWriter, p dpop.Proof) bool {
				rw.Header().Set("DPoP-Nonce", "the-one-before")
				return p.Nonce == "the-next"
			}},
		{"one answer only has the nonce, and comes first", false,
			func(w *world, rw http.ResponseWriter, n int) {
				if n == 1 {
					rw.Header().Set("DPoP-Nonce", "the-next")
				} else {
					w.eventually("the first is made again", func() bool { return len(w.seenCalls()) > 20 })
				}
				refuseProof(rw, "use_dpop_nonce")
			},
			func(_ *world, _ http.ResponseWriter, p dpop.Proof) bool { return p.Nonce == "the-next" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
			var arrived sync.WaitGroup
			arrived.Add(n)
			w.onCall = func(rw http.ResponseWriter, r seen, k int) {
				switch p := w.proofOf(r.Request); {
				case k <= n:
					arrived.Done()
					arrived.Wait()
					row.first(w, rw, k)
				case !row.good(w, rw, p):
					refuseProof(rw, "invalid_dpop_proof")
				}
			}
			c := w.proving(newKey(t, jose.ES256))
			if row.slow {
				c.HTTP = afterAll(n, c.HTTP)
			}
			s := w.source(c)
			w.must(s)
			equal(t, "calls that are answered 200", w.together(n, s.Client()), n)
			equal(t, "attempts", len(w.seenCalls()), 2*n)
			equal(t, "token requests", w.asked(), 1)
		})
	}
}

// No proof is made by a clock that is more than a day off, though the token
// endpoint's and the API's are each within a day of the other they are compared
// with.
func TestDPoPClockIsBounded(t *testing.T) {
	const hour = time.Hour
	for _, row := range []struct {
		name string
		// endpoint is by how much the token endpoint's clock is ahead, before the
		// first call and after it; api the API's, which refuses the first call.
		endpoint, api [2]time.Duration
		want          time.Duration // of the last proof
		called        int
	}{
		{"together a day and less", [2]time.Duration{10 * hour, 10 * hour}, [2]time.Duration{20 * hour, 20 * hour}, 20 * hour, 3},
		{"the API's beyond", [2]time.Duration{20 * hour, 20 * hour}, [2]time.Duration{40 * hour, 40 * hour}, 20 * hour, 2},
		{"the API's beyond, behind", [2]time.Duration{-20 * hour, -20 * hour}, [2]time.Duration{-40 * hour, -40 * hour}, -20 * hour, 2},
		{"the token endpoint's moves after", [2]time.Duration{0, 20 * hour}, [2]time.Duration{20 * hour, 20 * hour}, 24 * hour, 3},
		{"the token endpoint's moves after, behind", [2]time.Duration{0, -20 * hour}, [2]time.Duration{-20 * hour, -20 * hour}, -24 * hour, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, _ int) { giveBound(rw, 1, "3600") })
			w.onCall = func(rw http.ResponseWriter, r seen, n int) {
				rw.Header().Set("Date", w.clock.Now().Add(row.api[min(n-1, 1)]).Format(http.TimeFormat))
				if n == 1 {
					refuseProof(rw, "invalid_dpop_proof")
				}
			}
			w.ahead = row.endpoint[0]
			s := w.source(w.proving(newKey(t, jose.ES256)))
			w.get(s.Client(), w.api.URL)
			w.mu.Lock()
			w.ahead = row.endpoint[1]
			w.mu.Unlock()
			w.clock.Turn(2 * hour)
			equal(t, "status", w.get(s.Client(), w.api.URL).StatusCode, http.StatusOK)
			calls := w.seenCalls()
			equal(t, "calls", len(calls), row.called)
			if off := w.proofOf(calls[len(calls)-1].Request).IssuedAt.Sub(w.clock.Now()); (off - row.want).Abs() > 3*time.Second {
				t.Errorf("the last proof is made %s ahead, want %s", off, row.want)
			}
		})
	}
}

// A nonce is kept for as long as a Source is; the answer that brought it is not.
func TestDPoPNonceKeepsNothingElse(t *testing.T) {
	var kept []weak.Pointer[byte]
	var fields []weak.Pointer[string]
	answer := func(status int, body string) *http.Response {
		head := []byte("the-nonce" + strings.Repeat(" and what is beside it", 1000))
		values := make([]string, 50)
		values[0] = unsafe.String(&head[0], len("the-nonce"))
		kept, fields = append(kept, weak.Make(&head[0])), append(fields, weak.Make(&values[0]))
		return &http.Response{StatusCode: status, Header: http.Header{"Dpop-Nonce": values[:1:1]}, Body: io.NopCloser(strings.NewReader(body))}
	}
	w := newWorld(t)
	c := w.proving(newKey(t, jose.ES256))
	c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return answer(200, `{"access_token":"a","token_type":"DPoP"}`), nil
		}
		return answer(200, ""), nil
	})
	s := w.source(c)
	resp, err := s.Client().Get(w.api.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	equal(t, "answers", len(kept), 2)
	w.eventually("the answers are garbage", func() bool {
		runtime.GC()
		for i := range kept {
			if kept[i].Value() != nil || fields[i].Value() != nil {
				return false
			}
		}
		return true
	})
	runtime.KeepAlive(s)
}
