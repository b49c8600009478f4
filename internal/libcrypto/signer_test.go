//go:build linux && (amd64 || arm64) && !nolibcrypto

package libcrypto_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/libcrypto"
)

var saltOfHash = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

// exampleKey is the key of RFC 7515 appendix A.2.1: its n, e, p and q. The
// private exponent follows from them.
func exampleKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	number := func(text string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			tb.Fatal(err)
		}
		return new(big.Int).SetBytes(raw)
	}
	n := number("ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR" +
		"T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7W" +
		"TBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2" +
		"PAcDTW9gb54h4FRWyuXpoQ")
	p := number("4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8" +
		"cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc")
	q := number("uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t" +
		"62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc")
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), order),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		tb.Fatal(err)
	}
	return key
}

// TestRS256OfTheRFC makes the JWS of RFC 7515 appendix A.2.
func TestRS256OfTheRFC(t *testing.T) {
	const want = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19y" +
		"b290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujG" +
		"bds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN938" +
		"3LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVr" +
		"Bp0igcN_IoypGlUPQGe77Rw"
	payload := "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
	token, err := jose.Sign(newSigner(t, open(t), exampleKey(t)), jose.RS256, []byte(`{"alg":"RS256"}`), []byte(payload))
	if err != nil || token != want {
		t.Errorf("the token is %s (%v), want %s", token, err, want)
	}
}

// TestEqual compares with crypto/rsa: PKCS #1 v1.5 byte for byte, PSS by
// verifying in both directions.
func TestEqual(t *testing.T) {
	for _, size := range []struct{ bits, digests int }{{2048, 400}, {3072, 60}, {4096, 40}, {2056, 40}} {
		t.Run(fmt.Sprint(size.bits, " bits"), func(t *testing.T) {
			key := newKey(t, size.bits)
			s := newSigner(t, open(t), key)
			if !key.PublicKey.Equal(s.Public()) {
				t.Fatal("the signer has another public key")
			}
			for i := range size.digests {
				digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
				want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("digest %d: %x (%v), want %x", i, got, err, want)
				}
				got, err = s.Sign(rand.Reader, digest[:], saltOfHash)
				if err != nil {
					t.Fatal(err)
				}
				// The options that demand the length of the salt, as RFC 7518 section 3.5 does.
				if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], got, saltOfHash); err != nil {
					t.Fatalf("digest %d: PSS: %v", i, err)
				}
				again, err := s.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
				if err != nil || bytes.Equal(again, got) {
					t.Fatalf("digest %d: two PSS signatures have the same salt (%v)", i, err)
				}
			}
		})
	}
}

// TestRefuses keeps the signer to RS256 and PS256.
func TestRefuses(t *testing.T) {
	s := newSigner(t, open(t), exampleKey(t))
	for name, test := range map[string]struct {
		digest int
		opts   crypto.SignerOpts
	}{
		"no options":                {32, nil},
		"another hash":              {48, crypto.SHA384},
		"no hash":                   {32, crypto.Hash(0)},
		"a short digest":            {31, crypto.SHA256},
		"a long digest":             {33, crypto.SHA256},
		"no digest":                 {0, crypto.SHA256},
		"PSS, no options":           {32, (*rsa.PSSOptions)(nil)},
		"PSS, no hash":              {32, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}},
		"PSS, another hash":         {64, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA512}},
		"PSS, the longest salt":     {32, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}},
		"PSS, salt of another size": {32, &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}},
		"PSS, a short digest":       {20, saltOfHash},
	} {
		t.Run(name, func(t *testing.T) {
			if signature, err := s.Sign(rand.Reader, make([]byte, test.digest), test.opts); err == nil || signature != nil {
				t.Errorf("signed %x, %v", signature, err)
			}
		})
	}
}

// TestWrongKeys shows that a signer is made of a good key only.
func TestWrongKeys(t *testing.T) {
	good := newKey(t, 2048)
	other := newKey(t, 2048)
	for name, key := range map[string]*rsa.PrivateKey{
		"none":           nil,
		"empty":          {},
		"public half":    {PublicKey: good.PublicKey},
		"another's half": {PublicKey: good.PublicKey, D: other.D, Primes: other.Primes},
		"wrong exponent": {PublicKey: good.PublicKey, D: new(big.Int).Add(good.D, big.NewInt(2)), Primes: good.Primes},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := open(t).Signer(key); err == nil || s != nil {
				t.Errorf("Signer returned %v, %v", s, err)
			}
		})
	}
}

// faulty spoils the signatures of one kind.
type faulty struct {
	crypto.Signer
	spoil func(signature []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f faulty) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := f.Signer.Sign(r, digest, opts)
	if err != nil {
		return nil, err
	}
	return f.spoil(signature, opts)
}

// TestSelfCheck shows that a library that signs wrongly is noticed before
// anybody gets a signature of it.
func TestSelfCheck(t *testing.T) {
	s := newSigner(t, open(t), exampleKey(t))
	isPSS := func(opts crypto.SignerOpts) bool { _, ok := opts.(*rsa.PSSOptions); return ok }
	flip := func(signature []byte) []byte { signature[100] ^= 1; return signature }
	for name, test := range map[string]struct {
		spoil func([]byte, crypto.SignerOpts) ([]byte, error)
		want  string
	}{
		"a bit of PKCS #1 v1.5": {func(sig []byte, o crypto.SignerOpts) ([]byte, error) {
			if !isPSS(o) {
				flip(sig)
			}
			return sig, nil
		}, "crypto/rsa refuses its PKCS #1 v1.5 signature"},
		"a bit of PSS": {func(sig []byte, o crypto.SignerOpts) ([]byte, error) {
			if isPSS(o) {
				flip(sig)
			}
			return sig, nil
		}, "crypto/rsa refuses its PSS signature"},
		"no PSS": {func(sig []byte, o crypto.SignerOpts) ([]byte, error) {
			if isPSS(o) {
				return nil, errors.New("not in this configuration")
			}
			return sig, nil
		}, "not in this configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := libcrypto.Check(faulty{s, test.spoil}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the check says %v, want %q", err, test.want)
			}
		})
	}
	if err := libcrypto.Check(s); err != nil {
		t.Errorf("the check refuses a good signer: %v", err)
	}
}

// TestErrorText shows that an error carries the library's reason, each its own
// and none of the input.
func TestErrorText(t *testing.T) {
	l := open(t)
	input := []byte("0\x82\x01\x00 these bytes are no key but must stay unknown")
	var first string
	for range 20 {
		err := libcrypto.Parse(l, input)
		if err == nil {
			t.Fatal("the library took text for a key")
		}
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Fatalf("the second error is %q, the first %q: something was left behind", err, first)
		}
	}
	if !strings.HasPrefix(first, "libcrypto: error:") || strings.Contains(first, "bytes are") || strings.Contains(first, "\n") {
		t.Errorf("the error is %q", first)
	}
}

// TestConcurrent has more goroutines than slots sign with two keys and in both ways.
func TestConcurrent(t *testing.T) {
	l := open(t)
	keys := []*rsa.PrivateKey{exampleKey(t), newKey(t, 2048)}
	signers := []crypto.Signer{newSigner(t, l, keys[0]), newSigner(t, l, keys[1])}
	var wait sync.WaitGroup
	for g := range 64 {
		wait.Go(func() {
			key, s := keys[g%2], signers[g%2]
			for i := range 10 {
				digest := sha256.Sum256(fmt.Append(nil, g, i))
				signature, err := s.Sign(nil, digest[:], crypto.SHA256)
				if err == nil {
					err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature)
				}
				if err != nil {
					t.Errorf("PKCS #1 v1.5: %v", err)
				}
				signature, err = s.Sign(nil, digest[:], saltOfHash)
				if err == nil {
					err = rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], signature, saltOfHash)
				}
				if err != nil {
					t.Errorf("PSS: %v", err)
				}
			}
		})
	}
	wait.Wait()
}

// TestProfiler signs while a profiler interrupts the threads in the library's
// code, where a traceback finds nothing that it knows.
func TestProfiler(t *testing.T) {
	s, key := newSigner(t, open(t), exampleKey(t)), exampleKey(t)
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("profiled"))
	want, _ := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 100 {
				if got, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil || !bytes.Equal(got, want) {
					t.Errorf("the signature is %x (%v), want %x", got, err, want)
				}
			}
		})
	}
	wait.Wait()
	pprof.StopCPUProfile()
	if profile.Len() == 0 {
		t.Error("there is no profile")
	}
}

// TestCollector signs while the collector runs all the time: with a signer that
// lives, and with signers that are let go of in the middle of their last signature.
// When all are gone, so is what they held.
func TestCollector(t *testing.T) {
	l, err := libcrypto.OpenNames("libcrypto.so.3")
	if err != nil {
		t.Fatal(err)
	}
	key := exampleKey(t)
	func() {
		stop := make(chan struct{})
		var wait sync.WaitGroup
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		lasting := newSigner(t, l, key)
		for i := range 100 {
			digest := sha256.Sum256(fmt.Append(nil, i))
			want, _ := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
			for _, s := range []crypto.Signer{lasting, newSigner(t, l, key)} {
				if got, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil || !bytes.Equal(got, want) {
					t.Errorf("signature %d differs (%v)", i, err)
				}
			}
		}
		if libcrypto.Held(l) < 3 {
			t.Errorf("%d objects are held while a signer lives", libcrypto.Held(l))
		}
		runtime.KeepAlive(lasting)
		close(stop)
		wait.Wait()
	}()
	for range 1000 {
		if libcrypto.Held(l) == 0 {
			return
		}
		runtime.GC()
	}
	t.Errorf("%d objects are still held", libcrypto.Held(l))
}
