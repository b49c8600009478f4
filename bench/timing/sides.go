package main

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
)

// trimmed is the part of the samples that is left out at each end.
const trimmed = 0.2

// compare returns the medians of two sides, the difference of their trimmed
// means, and that in standard errors (Yuen 1974).
func compare(sides [2][]float64) (medians [2]float64, difference, z float64) {
	var means, variances [2]float64
	for i, side := range sides {
		slices.Sort(side)
		medians[i] = side[len(side)/2]
		means[i], variances[i] = robust(side)
	}
	difference = means[0] - means[1]
	return medians, difference, difference / math.Sqrt(variances[0]+variances[1])
}

// robust returns the trimmed mean of sorted samples and the square of its
// standard error, from the winsorized variance.
func robust(sorted []float64) (mean, variance float64) {
	n := len(sorted)
	cut := int(trimmed * float64(n))
	kept := float64(n - 2*cut)
	low, high := sorted[cut], sorted[n-cut-1]
	var sum, all float64
	for _, v := range sorted {
		all += min(max(v, low), high)
	}
	for _, v := range sorted[cut : n-cut] {
		sum += v
	}
	var squares float64
	for _, v := range sorted {
		d := min(max(v, low), high) - all/float64(n)
		squares += d * d
	}
	return sum / kept, squares / (kept * (kept - 1))
}

// signer signs assertions with a key that no client has registered.
type signer struct {
	key crypto.Signer
	// registered is the key set of the clients, with a key of the same ID.
	registered string
}

func newSigners() (map[string]*signer, error) {
	all := map[string]*signer{}
	for _, algorithm := range []string{jose.ES256, jose.RS256} {
		key, err := jose.Generate(algorithm)
		if err != nil {
			return nil, err
		}
		other, err := jose.Generate(algorithm)
		if err != nil {
			return nil, err
		}
		set, err := jose.MarshalSet([]jose.PublicKey{{ID: "key-1", Key: other.Public(), Algorithm: algorithm}})
		if err != nil {
			return nil, err
		}
		all[algorithm] = &signer{key, string(set)}
	}
	return all, nil
}

// assertion makes a request with an assertion whose signature is wrong.
func (b *bench) assertion(id, algorithm string) (*http.Request, error) {
	text := b.forged[id+algorithm]
	if text == "" {
		claims := fmt.Appendf(nil, `{"iss":%q,"sub":%q,"aud":%q,"jti":"1","exp":%d}`, id, id, b.base, time.Now().Add(30*time.Minute).Unix())
		var err error
		text, err = jose.Sign(b.signers[algorithm].key, algorithm, fmt.Appendf(nil, `{"alg":%q,"kid":"key-1"}`, algorithm), claims)
		if err != nil {
			return nil, err
		}
		// A small signature: one that is larger than the modulus of an RSA key is
		// refused sooner, which depends on the key.
		end := strings.LastIndexByte(text, '.') + 1
		signature, err := base64.RawURLEncoding.DecodeString(text[end:])
		if err != nil {
			return nil, err
		}
		signature[0] = 1
		text = text[:end] + base64.RawURLEncoding.EncodeToString(signature)
		b.forged[id+algorithm] = text
	}
	return b.form(url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {text},
	})
}
