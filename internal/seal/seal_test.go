package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/seal"
)

// counting is the master key 00 01 02 … 1f.
const counting = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func key(t testing.TB, text counterfoil.Secret) *seal.Key {
	t.Helper()
	k, err := seal.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKey(t *testing.T) {
	bright := bytes.Repeat([]byte{0xfb, 0xff}, 16)
	standard, url := base64.StdEncoding.EncodeToString(bright), base64.RawURLEncoding.EncodeToString(bright)
	for name, row := range map[string]struct {
		text string
		same string // the key that it is equal to; refused when empty
	}{
		"standard":            {counting, counting},
		"without padding":     {strings.TrimRight(counting, "="), counting},
		"white space around":  {" \t" + counting + "\r\n", counting},
		"standard alphabet":   {standard, standard},
		"URL alphabet":        {url, standard},
		"URL, padded":         {url + "=", standard},
		"empty":               {"", ""},
		"31 bytes":            {base64.StdEncoding.EncodeToString(bright[:31]), ""},
		"33 bytes":            {base64.StdEncoding.EncodeToString(append(bright, 1)), ""},
		"hexadecimal":         {hex.EncodeToString(bright), ""},
		"mixed alphabets":     {"+-" + counting[2:], ""},
		"line break inside":   {counting[:20] + "\n" + counting[20:], ""},
		"too much padding":    {counting + "=", ""},
		"surplus bits set":    {strings.Replace(counting, "8=", "9=", 1), ""},
		"two keys":            {counting + counting, ""},
		"a passphrase":        {"correct horse battery staple", ""},
		"megabytes of letter": {strings.Repeat("A", 4<<20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := seal.ParseKey(counterfoil.Secret(row.text))
			if row.same == "" {
				if err == nil || !strings.Contains(err.Error(), "openssl rand -base64 32") {
					t.Fatalf("got %v, want an error that says how to make a key", err)
				}
				if len(row.text) > 8 && strings.Contains(err.Error(), row.text[:8]) {
					t.Errorf("the error shows the key: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := key(t, counterfoil.Secret(row.same)).Open(k.Seal(nil, ""), ""); err != nil {
				t.Errorf("not the same key: %v", err)
			}
		})
	}
}

// The values are python3's (hmac and hashlib, RFC 5869 written out):
//
//	import hmac, hashlib
//	h = lambda k, m: hmac.new(k, m, hashlib.sha256).digest()
//	prk = h(b'counterfoil master key', bytes(range(32)))
//	for info in b'id', b'derive:DPoP nonces': print(h(prk, info + b'\x01').hex())
func TestDerivedValuesStayTheSame(t *testing.T) {
	k := key(t, counting)
	if got, want := k.ID(), "f96c4535"; got != want {
		t.Errorf("ID %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(k.Derive("DPoP nonces")), "7a2b8a4ac7401bb17d415d70527f399b5cd5166b21bd319391c35fedfa4c7591"; got != want {
		t.Errorf("derived %s, want %s", got, want)
	}
	if bytes.Equal(k.Derive("a"), k.Derive("b")) {
		t.Error("two purposes, one value")
	}
}

// What version 1 sealed must open for ever. Made with node:
//
//	const c = require('crypto'), h = (k, m) => c.createHmac('sha256', k).update(m).digest()
//	const prk = h('counterfoil master key', Buffer.from([...Array(32).keys()]))
//	const head = Buffer.concat([Buffer.from('cfseal1:'), h(prk, 'id\x01').subarray(0, 4)])
//	const nonce = Buffer.from('000102030405060708090a0b', 'hex')
//	const g = c.createCipheriv('aes-256-gcm', h(prk, 'seal\x01'), nonce)
//	g.setAAD(Buffer.concat([head, Buffer.from('signing key/a/b')]))
//	console.log(Buffer.concat([head, nonce, g.update('private'), g.final(), g.getAuthTag()]).toString('hex'))
func TestOpenWhatVersion1Sealed(t *testing.T) {
	sealed, err := hex.DecodeString("63667365616c313af96c4535000102030405060708090a0b52f7f48c046cd71cd9302ace61d3afffc17e87281d57d2")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := key(t, counting).Open(sealed, "signing key/a/b")
	if err != nil || string(plain) != "private" {
		t.Errorf("got %q, %v", plain, err)
	}
}

func TestSealAndOpen(t *testing.T) {
	k := key(t, seal.NewKey())
	for name, plain := range map[string][]byte{
		"empty": {}, "short": []byte("private"), "long": bytes.Repeat([]byte("key"), 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			first, second := k.Seal(plain, "a/b"), k.Seal(plain, "a/b")
			if bytes.Equal(first, second) {
				t.Error("sealed twice, it is the same")
			}
			for _, sealed := range [][]byte{first, second} {
				if len(plain) > 0 && bytes.Contains(sealed, plain) {
					t.Error("the plain value is in the sealed one")
				}
				if id, ok := seal.Sealed(sealed); !ok || id != k.ID() {
					t.Errorf("sealed under %q, %v; want %s", id, ok, k.ID())
				}
				if got, err := k.Open(sealed, "a/b"); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("opened %q, %v", got, err)
				}
			}
		})
	}
}

func TestOpenRefusesAnotherKey(t *testing.T) {
	one, other := key(t, counting), key(t, seal.NewKey())
	_, err := other.Open(one.Seal([]byte("private"), "a"), "a")
	if !errors.Is(err, seal.ErrOtherKey) || !strings.Contains(err.Error(), one.ID()) || !strings.Contains(err.Error(), other.ID()) {
		t.Errorf("got %v, want ErrOtherKey with %s and %s", err, one.ID(), other.ID())
	}
}

func TestOpenRefusesAnotherContext(t *testing.T) {
	k := key(t, counting)
	for _, context := range []string{"", "a/", "a/bc", "b/a"} {
		if plain, err := k.Open(k.Seal([]byte("private"), "a/b"), context); !errors.Is(err, seal.ErrDamaged) || plain != nil {
			t.Errorf("context %q: got %q, %v", context, plain, err)
		}
	}
}

func TestOpenRefusesEveryChangedByteAndLength(t *testing.T) {
	k := key(t, counting)
	sealed := k.Seal([]byte("private"), "a")
	refused := func(data []byte, what string, at int) {
		t.Helper()
		plain, err := k.Open(data, "a")
		if plain != nil || (!errors.Is(err, seal.ErrDamaged) && !errors.Is(err, seal.ErrOtherKey)) {
			t.Errorf("%s %d: got %q, %v", what, at, plain, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused(changed, "byte", i)
		refused(sealed[:i], "cut at", i)
	}
	refused(append(bytes.Clone(sealed), 0), "longer than", len(sealed))
}

func TestSealedTellsWhatIsNot(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil, "DER": {0x30, 0x82, 1, 2, 3}, "the magic alone": []byte("cfseal1:"),
		"PEM": []byte("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"),
	} {
		if id, ok := seal.Sealed(data); ok || id != "" {
			t.Errorf("%s: sealed under %q", name, id)
		}
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	k := key(t, counting)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got, want := fmt.Sprintf(verb, k), "master key "+k.ID(); got != want {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := key(f, counting)
	f.Add([]byte(nil), "")
	f.Add([]byte("cfseal1:"), "a")
	f.Add(k.Seal([]byte("private"), "a"), "a")
	f.Add(k.Seal(nil, ""), "")
	f.Fuzz(func(t *testing.T, data []byte, context string) {
		plain, err := k.Open(data, context)
		id, ok := seal.Sealed(data)
		switch {
		case err == nil && (!ok || id != k.ID() || len(data) != len(k.Seal(plain, context))):
			t.Errorf("opened what was not sealed: %x", data)
		case err != nil && plain != nil:
			t.Errorf("an error and a value: %v", err)
		case errors.Is(err, seal.ErrOtherKey) && (!ok || id == k.ID()):
			t.Errorf("not another key: %v", err)
		}
		if got, err := k.Open(k.Seal(data, context), context); err != nil || !bytes.Equal(got, data) {
			t.Errorf("sealed and opened: %v", err)
		}
	})
}
