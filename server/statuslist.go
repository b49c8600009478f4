package server

import (
	"bytes"
	"compress/zlib"
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/signing"
)

// Bounds of status lists (draft-ietf-oauth-status-list, sections by its version 20).
const (
	// indexBlock is how many indexes are reserved at once.
	indexBlock = 1024
	// listFor is how long a signed list is reused: anonymous callers may ask as
	// often as they like, and cost one signature in that time.
	listFor = 5 * time.Second
	// listTTL is how long a verifier may keep a list (section 5.1, ttl);
	// listLife is how long it may be used when no newer one can be obtained
	// (exp).
	listTTL  = 15 * time.Second
	listLife = 2 * time.Minute
	// keptLists bounds the signed lists in memory: at most 180 kB each, and in
	// practice a few hundred bytes.
	keptLists = 128
)

// statusLists are the status lists of a realm.
type statusLists struct {
	*recorder
	issuer, url string // url is that of all lists, with a slash
	algorithm   provider.Algorithm
	keys        *signing.Ring

	mu sync.Mutex
	// left are the reserved indexes that no token has yet.
	left []int64

	signing sync.Mutex
	lists   *bounded.Cache[int64, signedList]
	// end is one past the last index that is known to be reserved; asked is when
	// the store was asked.
	end   int64
	asked time.Time
}

type signedList struct {
	token string
	made  time.Time
}

// index returns an index for a new token. A holder of tokens must not learn
// from their indexes how many others were issued in between (section 12.4):
// within a block, which every process reserves for itself, the order is
// random. A block still reveals, to within 1,024 tokens, which were issued at
// about the same time; their iat does so already. Indexes that a process has
// reserved and not used when it ends are lost.
func (s *statusLists) index(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) == 0 {
		first, err := s.store.StatusIndexes(ctx, s.realm, indexBlock)
		if err != nil {
			return 0, fmt.Errorf("reserve status indexes: %w", err)
		}
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // never fails
		s.left = make([]int64, indexBlock)
		for i, at := range rand.New(rand.NewChaCha8(seed)).Perm(indexBlock) {
			s.left[i] = first + int64(at)
		}
	}
	last := len(s.left) - 1
	n := s.left[last]
	s.left = s.left[:last]
	return n, nil
}

// serve answers one list as a signed token (section 8). It needs no
// authentication.
func (s *statusLists) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	n, ok := listNumber(strings.TrimPrefix(r.URL.Path, statusPath))
	if !ok {
		http.NotFound(w, r)
		return
	}
	ctx := context.WithoutCancel(r.Context())
	token, err := s.signed(ctx, n)
	if err != nil {
		s.logger.ErrorContext(ctx, "status list failed", "realm", s.realm, "error", err)
		http.Error(w, "temporarily unavailable", http.StatusServiceUnavailable)
		return
	}
	if token == "" {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/statuslist+jwt")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(listTTL.Seconds())))
	h.Set("Access-Control-Allow-Origin", "*") // section 8.1
	_, _ = w.Write([]byte(token))
}

// listNumber reads the number of a list in its canonical form.
func listNumber(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 40)
	return int64(n), err == nil && strconv.FormatUint(n, 10) == s
}

// signed returns a recently signed list, or signs it; "" when there is no such
// list. One is signed at a time.
func (s *statusLists) signed(ctx context.Context, n int64) (string, error) {
	s.signing.Lock()
	defer s.signing.Unlock()
	now := s.clock.Now()
	fresh := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < listFor }
	if n*listSize >= s.end && !fresh(s.asked) {
		// Reserving 0 indexes only returns where the next ones would begin.
		end, err := s.store.StatusIndexes(ctx, s.realm, 0)
		if err != nil {
			return "", fmt.Errorf("look for status indexes: %w", err)
		}
		s.end, s.asked = end, now
	}
	if n*listSize >= s.end {
		return "", nil
	}
	if l, ok := s.lists.Get(n); ok && fresh(l.made) {
		return l.token, nil
	}
	token, err := s.sign(ctx, n, now)
	if err != nil {
		return "", err
	}
	s.lists.Put(n, signedList{token, now})
	return token, nil
}

// sign makes the token of a list (section 5.1).
func (s *statusLists) sign(ctx context.Context, n int64, now time.Time) (string, error) {
	revoked, err := s.store.RevokedIndexes(ctx, s.realm, n*listSize, (n+1)*listSize)
	if err != nil {
		return "", fmt.Errorf("read revoked indexes: %w", err)
	}
	list, err := packList(revoked, n*listSize)
	if err != nil {
		return "", err
	}
	type statusListClaim struct {
		Bits int    `json:"bits"`
		List string `json:"lst"`
	}
	payload, err := json.Marshal(struct {
		Issuer  string          `json:"iss"`
		Subject string          `json:"sub"`
		Issued  int64           `json:"iat"`
		Expires int64           `json:"exp"`
		TTL     int64           `json:"ttl"`
		List    statusListClaim `json:"status_list"`
	}{
		s.issuer, s.url + strconv.FormatInt(n, 10), now.Unix(), now.Add(listLife).Unix(),
		int64(listTTL.Seconds()), statusListClaim{1, list},
	})
	if err != nil {
		return "", err
	}
	key, err := s.keys.Active(ctx, s.algorithm, now)
	if err != nil {
		return "", err
	}
	protected, err := listHeader(key)
	if err != nil {
		return "", err
	}
	return jose.Sign(key.Signer, key.Algorithm, protected, payload)
}

// packList returns the bits of a list that begins at an index: compressed, in
// base64url (section 4.2).
func packList(revoked []int64, first int64) (string, error) {
	bits := make([]byte, listSize/8)
	for _, i := range revoked {
		i -= first
		bits[i/8] |= 1 << (i % 8)
	}
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err = z.Write(bits); err == nil {
		err = z.Close()
	}
	return base64.RawURLEncoding.EncodeToString(packed.Bytes()), err
}

// listHeader is the protected header of a list: that of a token of the same
// key with another typ, so that neither can be mistaken for the other.
func listHeader(key *signing.Key) ([]byte, error) {
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(key.Protected, &header); err != nil {
		return nil, err
	}
	var t template
	t = t.fixed(string(provider.HeaderAlg), appendString(nil, key.Algorithm))
	t = t.fixed(string(provider.HeaderKid), appendString(nil, header.KeyID))
	return t.fixed(string(provider.HeaderTyp), []byte(`"statuslist+jwt"`)).append(nil, nil), nil
}
