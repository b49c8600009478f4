package awssecrets_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/client/credential/awssecrets"
)

const theARN = "arn:aws:secretsmanager:us-east-2:123456789012:secret:acme/client-AbCdEf"

func TestReferences(t *testing.T) {
	m := newManager(t)
	m.set("acme/client", kept+"\n")
	m.set("acme/client", "the "+kept+" to come", "AWSPENDING")
	m.set("object", `{"client_secret":"`+kept+`","count":3,"none":null,"empty":""}`)
	m.set(theARN, "by ARN")
	m.set("empty", "")
	m.set("large", strings.Repeat("x", 65<<10))
	m.keep("binary", map[string]any{"SecretBinary": []byte("in bytes")})
	for name, row := range map[string]struct{ reference, want, err string }{
		"a name, whose line end goes":    {"acme/client", kept, ""},
		"a staging label":                {"acme/client?stage=AWSPENDING", "the " + kept + " to come", ""},
		"an ARN":                         {theARN, "by ARN", ""},
		"a key of an object":             {"object#client_secret", kept, ""},
		"the current label, and a key":   {"object?stage=AWSCURRENT#client_secret", kept, ""},
		"bytes":                          {"binary", "in bytes", ""},
		"a name that is not there":       {"absent", "", "there is no such secret"},
		"a label that is not there":      {"acme/client?stage=AWSPREVIOUS", "", "there is no such secret"},
		"a key that is not there":        {"object#other", "", "no such key"},
		"a key of what is no object":     {"acme/client#client_secret", "", "it is not a JSON object"},
		"a number":                       {"object#count", "", "is not a string"},
		"null":                           {"object#none", "", "is not a string"},
		"an empty string":                {"object#empty", "", "it is empty"},
		"an empty secret":                {"empty", "", "it is empty"},
		"more than the service's bounds": {"large", "", "it is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			get, err := awssecrets.Open(row.reference, m.config())
			if err != nil {
				t.Fatal(err)
			}
			got, err := get(t.Context())
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
			if err != nil {
				clean(t, err)
				if !strings.HasPrefix(err.Error(), "secret awssm:"+row.reference+": ") {
					t.Errorf("the error does not name its reference: %v", err)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), kept) {
				t.Error("the value shows when it is printed")
			}
		})
	}
}

func TestRegionOfTheARN(t *testing.T) {
	m := newManager(t)
	m.set(theARN, kept)
	m.set("named", kept)
	for reference, want := range map[string]string{theARN: "us-east-2", "named": region} {
		get, err := awssecrets.Open(reference, m.config())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, got := m.counts(); got != want {
			t.Errorf("%s was asked for in %s, not in %s", reference, got, want)
		}
	}
}
