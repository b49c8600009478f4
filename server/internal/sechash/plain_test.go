package sechash_test

import (
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// few returns a secret of the server's form with hardly any digit.
func few() counterfoil.Secret {
	for {
		if s := cfsecret.New(); strings.Count(strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0'
			}
			return r
		}, s.Reveal()), "0") < 3 {
			return s
		}
	}
}

func TestFromPlain(t *testing.T) {
	for name, row := range map[string]struct {
		secret counterfoil.Secret
		slow   bool
	}{
		"Cognito's":               {"1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe", false},
		"Keycloak's":              {"YNqtYBjO0Gi2MTg5JlbJBPLENLWd12KB", false},
		"this server's":           {few(), false},
		"a UUID":                  {"067fb6c7-cae6-402d-8899-f646558223de", false},
		"openssl rand -hex 16":    {"3f6a0c9b1e7d4825a0b6c3f19e8d7042", false},
		"a word":                  {"secret", true},
		"a sentence":              {"correct horse battery staple 1 2 3 of many more words", true},
		"dashes for spaces":       {"correct-horse-battery-staple-of-2024", true},
		"a word again and again":  {counterfoil.Secret(strings.Repeat("secret1", 9)), true},
		"random, but too short":   {"a8F3kQ0z", true},
		"31 bytes, one too short": {"3f6a0c9b1e7d4825a0b6c3f19e8d704", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := sechash.FromPlain(row.secret)
			if h.Slow() != row.slow || !h.Verify(row.secret) || h.Verify(row.secret+"x") {
				t.Errorf("slow %v", h.Slow())
			}
			again, err := sechash.Parse(h.String())
			if err != nil || !again.Verify(row.secret) {
				t.Errorf("read again: %v", err)
			}
			if other := sechash.FromPlain(row.secret); row.slow && other.String() == h.String() {
				t.Error("two hashes have the same salt")
			}
		})
	}
}
