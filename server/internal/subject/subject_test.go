package subject_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/internal/subject"
)

// TestSubject compares names in their string form (RFC 4514) with DER.
func TestSubject(t *testing.T) {
	name := pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "DE"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: " A, B "}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "job"}, {Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "7"}},
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		same       bool
		wrong      string
	}{
		{"as it is", `UID=7+CN=job,O=\ A\, B\ ,C=DE`, true, ""},
		{"parts of a part in another order", `CN=job+UID=7,O=\ A\, B\ ,C=DE`, true, ""},
		{"hexadecimal", `CN=#0c036a6f62+UID=#0c0137,O=\20A\2c B\20,C=DE`, true, ""},
		{"OIDs and small letters", `2.5.4.3=job+0.9.2342.19200300.100.1.1=7 , o=\ A\, B\  , c=DE`, true, ""},
		{"spaces that are not kept", `CN=job+UID=7,O= A\, B ,C=DE`, false, ""},
		{"two parts instead of one", `CN=job,UID=7,O=\ A\, B\ ,C=DE`, false, ""},
		{"one attribute less", `CN=job,O=\ A\, B\ ,C=DE`, false, ""},
		{"a beginning", `UID=7+CN=job,O=\ A\, B\ `, false, ""},
		{"nothing", ``, false, "attributes"},
		{"no attribute", `job`, false, "attributes"},
		{"unknown type", `X=job`, false, "attributes"},
		{"empty value", `CN=,C=DE`, false, "empty"},
		{"comma at the end", `CN=job,`, false, "attributes"},
		{"quotes", `CN="job"`, false, "backslash"},
		{"semicolon", `CN=job;C=DE`, false, "backslash"},
		{"backslash at the end", `CN=job\`, false, "backslash"},
		{"a backslash itself", `CN=\\,C=DE`, false, ""},
		{"backslash before a letter", `CN=\job`, false, "backslash"},
		{"bad hexadecimal", `CN=#0c036a`, false, "hexadecimal"},
		{"hexadecimal of a number", `CN=#020107`, false, "hexadecimal"},
		{"hexadecimal of two values", `CN=#0c01610c0161`, false, "hexadecimal"},
		{"not UTF-8", `CN=\ff`, false, "UTF-8"},
		{"as long as may be", "CN=" + strings.Repeat("x", 1021), false, ""},
		{"a byte too long", "CN=" + strings.Repeat("x", 1022), false, "1024"},
		{"too long", "CN=" + strings.Repeat("x", 1024), false, "1024"},
	} {
		t.Run(row.name, func(t *testing.T) {
			same, err := subject.Same(der, row.text)
			if same != row.same || (err == nil) != (row.wrong == "") || err != nil && !strings.Contains(err.Error(), row.wrong) {
				t.Errorf("same %v, %v", same, err)
			}
		})
	}
	if same, err := subject.Same(append(der, 0), `CN=job+UID=7,O=\ A\, B\ ,C=DE`); same || err != nil {
		t.Errorf("with a byte behind it: %v, %v", same, err)
	}
}

// FuzzSubject: a name that is read compares equal to what it says and, written
// as the standard library writes it, reads the same.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{`CN=job,O=A,C=DE`, `CN=a+UID=b\, c , O = \#x\20`, `2.5.4.3=#0c0161`, `CN=\"`, `=`, `CN=`, `CN=a\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		der, err := subject.DER(s)
		if err != nil {
			if len(err.Error()) > 200 || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		if same, err := subject.Same(der, s); !same || err != nil {
			t.Errorf("%q is not itself: %v", s, err)
		}
		var sequence pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &sequence); err != nil {
			t.Fatal(err)
		}
		if same, err := subject.Same(der, sequence.String()); err == nil && !same {
			t.Errorf("%q is not %q", s, sequence)
		}
	})
}
