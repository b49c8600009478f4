package sechash_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// What is right at a bound is taken: it may be what another server has kept for
// years. One more is refused with words, before anything is computed.
func TestParseAtTheBounds(t *testing.T) {
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	bcrypt := func(cost int) string {
		return fmt.Sprintf("$2b$%02d$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", cost)
	}
	pbkdf2 := func(iterations, salt, key int) string {
		return fmt.Sprintf("$pbkdf2-sha256$i=%d,l=%d$%s$%s", iterations, key, b64(salt), b64(key))
	}
	argon2 := func(memory, passes, lanes int) string {
		return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, lanes, b64(16), b64(32))
	}
	for text, refused := range map[string]string{
		bcrypt(4):                 "",
		bcrypt(3):                 "the cost must be 4 to 16",
		bcrypt(16):                "",
		bcrypt(17):                "the cost must be 4 to 16",
		pbkdf2(1, 16, 32):         "",
		pbkdf2(0, 16, 32):         "the iterations must be 1 to 2000000, they are 0",
		pbkdf2(2_000_000, 16, 32): "",
		pbkdf2(2_000_001, 16, 32): "the iterations must be 1 to 2000000",
		pbkdf2(1, 4, 32):          "",
		pbkdf2(1, 3, 32):          "the salt must be 4 to 128 bytes, it is 3",
		pbkdf2(1, 128, 32):        "",
		pbkdf2(1, 129, 32):        "the salt must be 4 to 128 bytes, it is 129",
		pbkdf2(1, 16, 16):         "",
		pbkdf2(1, 16, 15):         "the key must be 16 to 64 bytes, it is 15",
		pbkdf2(1, 16, 64):         "",
		pbkdf2(1, 16, 65):         "the key must be 16 to 64 bytes, it is 65",
		argon2(8, 1, 1):           "",
		argon2(8, 1, 0):           "the lanes must be 1 to 16, they are 0",
		argon2(7, 1, 1):           "the memory must be 8 to 262144 KiB, it is 7",
		argon2(15, 1, 2):          "the memory must be 16 to 262144 KiB, it is 15",
		argon2(16, 1, 2):          "",
		argon2(128, 1, 16):        "",
		argon2(136, 1, 17):        "the lanes must be 1 to 16, they are 17",
		argon2(262144, 1, 1):      "",
		argon2(262145, 1, 1):      "the memory must be",
		argon2(64, 0, 1):          "the passes must be 1 to 64",
		argon2(64, 64, 1):         "",
		argon2(64, 65, 1):         "the passes must be 1 to 64",
		argon2(262144, 4, 1):      "",
		argon2(262144, 5, 1):      "at most 1048576 KiB when multiplied",
	} {
		h, err := sechash.Parse(text)
		switch {
		case refused == "" && (err != nil || h.String() != text || !h.Slow()):
			t.Errorf("%s: %v", text, err)
		case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
			t.Errorf("%s: %v, want %q", text, err, refused)
		}
	}
}

// Too long is said of what is too long only.
func TestTooLong(t *testing.T) {
	const most = 512
	for size, long := range map[int]bool{most: false, most + 1: true} {
		text := strings.Repeat("A", size)
		if _, err := sechash.Parse(text); err == nil || strings.Contains(err.Error(), "larger than") != long {
			t.Errorf("%d bytes: %v", size, err)
		}
		if _, err := sechash.FromIdentityServer(text); err == nil || strings.Contains(err.Error(), "too long") != long {
			t.Errorf("%d bytes of IdentityServer: %v", size, err)
		}
	}
	secret := `{"value":"` + sum256 + `","salt":"` + base64.StdEncoding.EncodeToString(make([]byte, 16)) + `"}`
	credential := `{"hashIterations":1,"algorithm":"pbkdf2-sha256"}`
	pad := func(text string, size int) string { return text + strings.Repeat(" ", size-len(text)) }
	for size, taken := range map[int]bool{4 << 10: true, 4<<10 + 1: false} {
		if _, err := sechash.FromKeycloak(pad(secret, size), credential); (err == nil) != taken {
			t.Errorf("secretData of %d bytes: %v", size, err)
		}
		if _, err := sechash.FromKeycloak(secret, pad(credential, size)); (err == nil) != taken {
			t.Errorf("credentialData of %d bytes: %v", size, err)
		}
	}
}

// A secret is hashed fast only when it is certainly random; the bounds of that.
func TestWhatLooksRandom(t *testing.T) {
	for name, tt := range map[string]struct {
		secret counterfoil.Secret
		slow   bool
	}{
		"zeros as digits":               {"0abcdefghijk0abcdefghijk0abcdefg", false},
		"nines as digits":               {"9abcdefghijk9abcdefghijk9abcdefg", false},
		"what stands before the digits": {"/abcdefghijk/abcdefghijk/abcdefg", true},
		"what stands behind the digits": {":abcdefghijk:abcdefghijk:abcdefg", true},
		"digits in two places":          {"0abcdefghijk0abcdefghijkabcdefgh", true},
		"ten different characters":      {"0abcdefghi0abcdefghi0abcdefghi0a", false},
		"nine different characters":     {"0abcdefgh0abcdefgh0abcdefgh0abcd", true},
		"32 characters with a space":    {"0abcdefghijk0abcdefghijk0abcde g", true},
		"32 characters with a tab":      {"0abcdefghijk0abcdefghijk0abcde\tg", true},
	} {
		if got := sechash.FromPlain(tt.secret).Slow(); got != tt.slow {
			t.Errorf("%s: slow is %v", name, got)
		}
	}
}
