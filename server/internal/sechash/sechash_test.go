package sechash_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// The secret behind the vectors below, which other programs made:
//
//	sha256, sha512: python3 -c 'import hashlib,base64; print(base64.b64encode(hashlib.sha256(b"correct horse").digest()))'
//	bcrypt:         perl -e 'print crypt("correct horse", "\$2a\$05\$abcdefghijklmnopqrstuu")' (libxcrypt)
//	PBKDF2:         openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:'correct horse'
//	                -kdfopt hexsalt:000102030405060708090a0b0c0d0e0f -kdfopt iter:25000 PBKDF2
//	                and python3's hashlib.pbkdf2_hmac("sha512", b"correct horse", bytes(range(16)), 1000, 64)
//	Argon2id:       printf 'correct horse' | argon2 somesaltsomesalt -id -t 2 -k 1024 -p 2 -l 32 -e (the reference program)
const secret counterfoil.Secret = "correct horse"

const (
	sum256   = "QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="
	sum512   = "VraY3v7bWkNbY0r+MyC7rz/c2SC2xQOkRvx7endrKY1HnRumqLYXgI6wv1ec6aldZoNHvKtxSQhayTyyeZUZew=="
	bcrypted = "$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
	hydra    = "$pbkdf2-sha256$i=25000,l=32$AAECAwQFBgcICQoLDA0ODw$xj/UpQkwORJJnG9ISfCqwFsD0J5wCAVtyhAVIhPMZdE"
	sha1Key  = "ndhWw3a4srcTtr4HQFTLiKRlVuARheqNDSZ/M5xlIWnV8dW5o4FxWW4SX6V6pwPMFQrFliwwmyqHNSBeApSZPA"
	sha512   = "$pbkdf2-sha512$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$Xpx07WjVx4vCIvrmBRj8uOoVVtGqJqtUv2J5bhizSQs7osCteF7W4A61dZDqSIqQjO+dxO6p5FT/Uy7QRBXSXA"
	argon    = "$argon2id$v=19$m=1024,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$tsO6Y2aSBljG2z0xzqpPrCfUfGL6p4s+3/dK55iDYUs"
)

// url turns padded base64 into the form at rest.
func url(padded string) string {
	return strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(padded), "=")
}

func TestParseVerifies(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		slow bool
	}{
		"sha256":                 {"sha256:" + url(sum256), false},
		"sha512":                 {"sha512:" + url(sum512), false},
		"bcrypt 2a":              {"$2a" + bcrypted, true},
		"bcrypt 2b":              {"$2b" + bcrypted, true},
		"bcrypt 2y":              {"$2y" + bcrypted, true},
		"PBKDF2 SHA-256":         {hydra, true},
		"PBKDF2 SHA-512":         {sha512, true},
		"PBKDF2 SHA-1":           {"$pbkdf2-sha1$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$" + sha1Key, true},
		"Argon2id":               {argon, true},
		"Argon2id, short, lanes": {"$argon2id$v=19$m=64,t=1,p=4$c29tZXNhbHRzb21lc2FsdA$zMe74xZvCn/rJJp8Ws7y2g", true},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := sechash.Parse(row.text)
			if err != nil {
				t.Fatal(err)
			}
			if h.String() != row.text || h.Slow() != row.slow {
				t.Errorf("read %q slow=%v, want %q slow=%v", h.String(), h.Slow(), row.text, row.slow)
			}
			check(t, h)
		})
	}
}

// check holds that h is a hash of secret and of nothing else.
func check(t *testing.T, h sechash.Hash) {
	t.Helper()
	if !h.Verify(secret) {
		t.Errorf("%v does not verify its secret", h)
	}
	for _, wrong := range []counterfoil.Secret{"", "correct hors", "correct horse ", "Correct horse", counterfoil.Secret(h.String())} {
		if h.Verify(wrong) {
			t.Errorf("%v verifies a wrong secret of %d bytes", h, len(wrong))
		}
	}
}

func TestOwn(t *testing.T) {
	h := sechash.Own(secret)
	if want := "sha256:" + url(sum256); h.String() != want || h.Slow() {
		t.Errorf("got %q slow=%v, want %q", h.String(), h.Slow(), want)
	}
	check(t, h)
}

func TestZeroHashVerifiesNothing(t *testing.T) {
	var h sechash.Hash
	if h.Verify("") || h.Verify(secret) || h.Slow() || h.String() != "" {
		t.Errorf("the zero hash is %q", h.String())
	}
}

// The hash of nothing is a valid text, and still the empty secret is refused.
func TestEmptySecretIsNeverRight(t *testing.T) {
	if sechash.Own("").Verify("") {
		t.Error("the empty secret verifies")
	}
}

// bcrypt ends at 72 bytes. The vectors are perl's, of 72 times the letter k,
// and the same with "tail" after it.
func TestBcryptOfLongSecrets(t *testing.T) {
	h, err := sechash.Parse("$2a$04$abcdefghijklmnopqrstuuxC5zBssI9/6x/6iWxqqDBY.Vv9oVG2q")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		secret string
		want   bool
	}{
		"71 bytes":              {strings.Repeat("k", 71), false},
		"72 bytes":              {strings.Repeat("k", 72), true},
		"72 bytes and a tail":   {strings.Repeat("k", 72) + "tail", true},
		"another within the 72": {strings.Repeat("k", 71) + "l" + "tail", false},
	} {
		if got := h.Verify(counterfoil.Secret(row.secret)); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}

// The vector is perl's: crypt("gr\xc3\xbc\xc3\x9fe", …).
func TestBcryptOfUTF8(t *testing.T) {
	h, err := sechash.Parse("$2a$04$abcdefghijklmnopqrstuuukcFUuF1uD2.SsVXl2Kxf7oTFxL3IEq")
	if err != nil || !h.Verify("grüße") || h.Verify("grusse") {
		t.Errorf("%v, %v", h, err)
	}
}

func TestFromIdentityServer(t *testing.T) {
	for name, row := range map[string]struct{ value, want string }{
		"SHA-256":         {sum256, "sha256:" + url(sum256)},
		"SHA-512":         {sum512, "sha512:" + url(sum512)},
		"SHA-384":         {base64.StdEncoding.EncodeToString(make([]byte, 48)), ""},
		"without padding": {strings.TrimRight(sum256, "="), ""},
		"hexadecimal":     {strings.Repeat("ab", 32), ""},
		"line break":      {sum256[:20] + "\n" + sum256[20:], ""},
		"empty":           {"", ""},
		"large":           {strings.Repeat("A", 1<<20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := sechash.FromIdentityServer(row.value)
			if (err == nil) != (row.want != "") || h.String() != row.want {
				t.Fatalf("got %q, %v; want %q", h.String(), err, row.want)
			}
			if row.want != "" {
				check(t, h)
			}
		})
	}
}

func TestFromHydra(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"bcrypt":                 {"$2a" + bcrypted, "$2a" + bcrypted},
		"PBKDF2":                 {hydra, hydra},
		"a length that is wrong": {strings.Replace(hydra, "l=32", "l=256", 1), hydra},
		"Argon2id":               {argon, argon},
		"a form of ours":         {"sha256:" + url(sum256), ""},
		"the secret itself":      {secret.Reveal(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := sechash.FromHydra(row.text)
			if (err == nil) != (row.want != "") || h.String() != row.want {
				t.Fatalf("got %q, %v; want %q", h.String(), err, row.want)
			}
			if row.want != "" {
				check(t, h)
			}
		})
	}
}

// The keys are python3's hashlib.pbkdf2_hmac over bytes(range(16)), and the
// reference program's: argon2 somesaltsomesalt -id -t 5 -k 7168 -p 1 -l 32.
func TestFromKeycloak(t *testing.T) {
	const salt = "AAECAwQFBgcICQoLDA0ODw=="
	data := func(value, salt string) string {
		return fmt.Sprintf(`{"value":%q,"salt":%q,"additionalParameters":{}}`, value, salt)
	}
	cost := func(iterations int, algorithm string) string {
		return fmt.Sprintf(`{"hashIterations":%d,"algorithm":%q,"additionalParameters":{}}`, iterations, algorithm)
	}
	const key256 = "qnA427fe69fAjkevcHZvnm7vp3MewnxKL4g2WLfI7U6teQVH1eR2L5DfcV0psPIfjGPtlZbkpnogYX+2TaSl6w=="
	const key512 = "l4pqr0UVqxiWEnbGDBV//hzeVcB7ZgsFnr5Z+SZYIYjhXWCECCVC/oKM2WWMwBzQGCBfe2yb+20zK3Rr1rkPjg=="
	const argonCost = `{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"hashLength":["32"],"memory":["7168"],"type":["id"],"version":["1.3"],"parallelism":["1"]}}`
	argonData := data("Ab6+sBE+Tsn+6D2ktLNSwf7zGnZPIzn8umPKJj3WcwM=", "c29tZXNhbHRzb21lc2FsdA==")
	for name, row := range map[string]struct{ secretData, credentialData, want string }{
		"SHA-1":              {data(sha1Key+"==", salt), cost(1000, "pbkdf2"), "$pbkdf2-sha1$i=1000,l=64$"},
		"SHA-256":            {data(key256, salt), cost(27500, "pbkdf2-sha256"), "$pbkdf2-sha256$i=27500,l=64$"},
		"SHA-512":            {data(key512, salt), cost(210000, "pbkdf2-sha512"), "$pbkdf2-sha512$i=210000,l=64$"},
		"Argon2":             {argonData, argonCost, "$argon2id$v=19$m=7168,t=5,p=1$"},
		"Argon2i":            {argonData, strings.Replace(argonCost, `"id"`, `"i"`, 1), ""},
		"Argon2 without m":   {argonData, strings.Replace(argonCost, `"memory"`, `"space"`, 1), ""},
		"Argon2, m no digit": {argonData, strings.Replace(argonCost, "7168", "7168,t=1", 1), ""},
		"Argon2, much m":     {argonData, strings.Replace(argonCost, "7168", "99999999", 1), ""},
		"no salt":            {data(key256, ""), cost(27500, "pbkdf2-sha256"), ""},
		"no value":           {data("", salt), cost(27500, "pbkdf2-sha256"), ""},
		"no iterations":      {data(key256, salt), cost(0, "pbkdf2-sha256"), ""},
		"negative":           {data(key256, salt), cost(-1, "pbkdf2-sha256"), ""},
		"many iterations":    {data(key256, salt), cost(2_000_001, "pbkdf2-sha256"), ""},
		"another algorithm":  {data(key256, salt), cost(27500, "scrypt"), ""},
		"members swapped":    {cost(27500, "pbkdf2-sha256"), data(key256, salt), ""},
		"no JSON":            {"value", "credential", ""},
		"large":              {data(strings.Repeat("A", 8<<10), salt), cost(27500, "pbkdf2-sha256"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := sechash.FromKeycloak(row.secretData, row.credentialData)
			if row.want == "" {
				if err == nil || strings.Contains(err.Error(), "\n") {
					t.Fatalf("got %q, %v; want one line of refusal", h.String(), err)
				}
				return
			}
			if err != nil || !strings.HasPrefix(h.String(), row.want) {
				t.Fatalf("got %q, %v; want %s…", h.String(), err, row.want)
			}
			check(t, h)
			if again, err := sechash.Parse(h.String()); err != nil || again.String() != h.String() {
				t.Errorf("parsed again: %q, %v", again.String(), err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	long := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	pbkdf2 := func(i, salt, key string) string { return "$pbkdf2-sha256$i=" + i + ",l=32$" + salt + "$" + key }
	argon2 := func(m, t, p string) string {
		return "$argon2id$v=19$m=" + m + ",t=" + t + ",p=" + p + "$" + long(16) + "$" + long(32)
	}
	for name, text := range map[string]string{
		"empty":                     "",
		"a plain secret":            "correct horse",
		"sha256, padded":            "sha256:" + sum256,
		"sha256, 31 bytes":          "sha256:" + url(base64.StdEncoding.EncodeToString(make([]byte, 31))),
		"sha256 of 64 bytes":        "sha256:" + url(sum512),
		"sha512 of 32 bytes":        "sha512:" + url(sum256),
		"sha256, line break":        "sha256:" + url(sum256)[:9] + "\n" + url(sum256)[9:],
		"sha256, surplus bits":      "sha256:" + strings.Repeat("_", 43),
		"md5":                       "md5:" + url(sum256),
		"bcrypt 2":                  "$2" + bcrypted,
		"bcrypt 2x":                 "$2x" + bcrypted,
		"bcrypt, cost 3":            "$2a$03" + bcrypted[3:],
		"bcrypt, cost 17":           "$2a$17" + bcrypted[3:],
		"bcrypt, cost 31":           "$2a$31" + bcrypted[3:],
		"bcrypt, cut":               "$2a" + bcrypted[:len(bcrypted)-1],
		"bcrypt, longer":            "$2a" + bcrypted + "x",
		"bcrypt, foreign letter":    "$2a" + strings.Replace(bcrypted, "H", "+", 1),
		"bcrypt, line break":        "$2a" + bcrypted[:len(bcrypted)-1] + "\n",
		"PBKDF2, no iteration":      pbkdf2("0", long(16), long(32)),
		"PBKDF2, too many":          pbkdf2("2000001", long(16), long(32)),
		"PBKDF2, far too many":      pbkdf2("99999999999999999999", long(16), long(32)),
		"PBKDF2, negative":          pbkdf2("-1", long(16), long(32)),
		"PBKDF2, salt of 3":         pbkdf2("1", long(3), long(32)),
		"PBKDF2, salt of 129":       pbkdf2("1", long(129), long(32)),
		"PBKDF2, key of 15":         pbkdf2("1", long(16), long(15)),
		"PBKDF2, key of 65":         pbkdf2("1", long(16), long(65)),
		"PBKDF2, padded":            pbkdf2("1", long(16)+"==", long(32)+"="),
		"PBKDF2, a field more":      pbkdf2("1", long(16), long(32)) + "$",
		"PBKDF2, line break":        pbkdf2("1", long(16), long(32)+"\n"),
		"PBKDF2, no length":         "$pbkdf2-sha256$i=1$" + long(16) + "$" + long(32),
		"PBKDF2, SHA-3 of Hydra":    "$pbkdf2-sha384$i=1,l=32$" + long(16) + "$" + long(32),
		"PBKDF2, MD5":               "$pbkdf2-md5$i=1,l=32$" + long(16) + "$" + long(32),
		"Argon2i":                   strings.Replace(argon, "argon2id", "argon2i", 1),
		"Argon2id, version 16":      strings.Replace(argon, "v=19", "v=16", 1),
		"Argon2id, no version":      strings.Replace(argon, "v=19$", "", 1),
		"Argon2id, no memory":       argon2("0", "1", "1"),
		"Argon2id, too much memory": argon2("262145", "1", "1"),
		"Argon2id, no pass":         argon2("64", "0", "1"),
		"Argon2id, too many passes": argon2("64", "65", "1"),
		"Argon2id, too much work":   argon2("262144", "5", "1"),
		"Argon2id, no lane":         argon2("64", "1", "0"),
		"Argon2id, too many lanes":  argon2("1024", "1", "17"),
		"Argon2id, lanes overflow":  argon2("4096", "1", "256"),
		"larger than any":           "$2a$" + strings.Repeat("$", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			h, err := sechash.Parse(text)
			if err == nil || h.String() != "" || h.Verify("correct horse") {
				t.Fatalf("read %q", h.String())
			}
			if strings.Contains(err.Error(), "\n") || (len(text) > 20 && strings.Contains(err.Error(), text[len(text)-10:])) {
				t.Errorf("the error shows the text: %v", err)
			}
		})
	}
}

func TestHashIsNeverPrinted(t *testing.T) {
	for want, text := range map[string]string{
		"[sha256]": "sha256:" + url(sum256), "[sha512]": "sha512:" + url(sum512), "[bcrypt]": "$2a" + bcrypted,
		"[pbkdf2-sha256]": hydra, "[argon2id]": argon,
	} {
		h, err := sechash.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if got := fmt.Sprintf(verb, h); got != want {
				t.Errorf("%s: %s, want %s", verb, got, want)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "hash", h)
		if strings.Contains(log.String(), text[len(text)-8:]) {
			t.Errorf("the log shows the hash: %s", log.String())
		}
	}
	if got := fmt.Sprint(sechash.Hash{}); got != "no hash" {
		t.Errorf("the zero hash prints as %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "sha256:" + url(sum256), "sha512:" + url(sum512), "$2a" + bcrypted, hydra, sha512, argon, "$$$$$", "$argon2id$$$$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := sechash.Parse(text)
		if err != nil {
			if h.String() != "" || strings.Contains(err.Error(), "\n") {
				t.Fatalf("refused with %q and %v", h.String(), err)
			}
			return
		}
		again, err := sechash.Parse(h.String())
		if err != nil || again.String() != h.String() || again.Slow() != h.Slow() {
			t.Fatalf("%q came back as %q, %v", h.String(), again.String(), err)
		}
		if !h.Slow() && h.Verify(secret) != (h.String() == sechash.Own(secret).String() || h.String() == "sha512:"+url(sum512)) {
			t.Fatalf("%q verifies wrongly", h.String())
		}
	})
}
