package azurevault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/azurevault"
)

func TestReferences(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept+"\n")
	v.set("client-secret/"+version, "an older "+kept)
	v.set("empty/", "")
	v.set("large/", strings.Repeat("x", 65<<10))
	for name, row := range map[string]struct{ reference, want, err string }{
		"the current version":           {host + "/client-secret", kept, ""},
		"a version":                     {host + "/client-secret/" + version, "an older " + kept, ""},
		"a name that is not there":      {host + "/absent", "", "there is no such secret"},
		"a version that is not there":   {host + "/client-secret/" + strings.Repeat("0", 32), "", "there is no such secret"},
		"an empty secret":               {host + "/empty", "", "it is empty"},
		"more than the service's bound": {host + "/large", "", "it is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := must(t, row.reference, v.config(t, loginKey))(t.Context())
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
			if err != nil {
				clean(t, err)
				if !strings.HasPrefix(err.Error(), "secret azurekv:"+row.reference+": ") {
					t.Errorf("the error does not name its reference: %v", err)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), kept) {
				t.Error("the value shows when it is printed")
			}
		})
	}
}

func TestWhatIsNoReference(t *testing.T) {
	v := newVault(t)
	for name, reference := range map[string]string{
		"nothing":               "",
		"a secret in the clear": kept,
		"a vault's short name":  "acme/" + kept,
		"a URL":                 "https://" + host + "/secrets/" + kept,
		"a path":                host + "/../" + kept,
		"no name":               host + "/",
		"a query":               host + "/name?x=" + kept,
		"a line end":            host + "/name\n",
		"too much":              host + "/a/b/c",
		"credentials":           "u:p@" + host + "/name",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := azurevault.Open(reference, v.config(t, loginKey))
			if err == nil || !strings.Contains(err.Error(), "must be HOST/NAME") {
				t.Fatalf("got %v", err)
			}
			clean(t, err)
		})
	}
}

func TestConfigurations(t *testing.T) {
	v := newVault(t)
	for name, row := range map[string]struct {
		change func(*azurevault.Config)
		want   string
	}{
		"no verification": {func(c *azurevault.Config) {
			c.Options.Transport = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		}, "does not verify certificates"},
		"a cloud without logins": {func(c *azurevault.Config) {
			c.Login, c.Options.Cloud = nil, cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{"x": {}}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := v.config(t, loginKey)
			row.change(&c)
			get, err := azurevault.Open(host+"/name", c)
			if err == nil {
				_, err = get(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

// The vault is asked without a token once, and a token is taken from where it
// says as long as it lives.
func TestOneLogin(t *testing.T) {
	v := newVault(t)
	v.set("one/", kept)
	v.set("two/", kept)
	open := azurevault.Opener(v.config(t, loginKey))
	for _, name := range []string{"one", "two"} {
		get, err := open(host + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if issued, scope := v.login.state(); issued != 1 || !strings.HasPrefix(scope, resource+"/.default") {
		t.Errorf("%d tokens, the last for %q", issued, scope)
	}
}

func TestRotation(t *testing.T) {
	v := newVault(t)
	v.Rotation(t, v.open("client-secret"), func(secret string) { v.set("client-secret/", secret) })
}

func TestFaults(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept)
	v.Faults(t, v.open("client-secret"), kept, loginKey, token)
}

func TestRefusals(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept)
	for name, row := range map[string]struct {
		status int
		want   string
	}{
		"not the name":    {400, "does not accept the name"},
		"not the login":   {401, "does not accept the login"},
		"denied":          {403, "Key Vault Secrets User"},
		"not there":       {404, "there is no such secret"},
		"throttled":       {429, "fewer requests"},
		"down":            {503, "the vault answers 503"},
		"something other": {451, "the vault answers 451"},
	} {
		t.Run(name, func(t *testing.T) {
			v.Break(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Authorization") == "" {
					return false
				}
				refuse(w, row.status, kept)
				return true
			})
			_, err := must(t, host+"/client-secret", v.config(t, loginKey))(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

func TestThrottledOnce(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept)
	v.Answer(1, http.StatusTooManyRequests, `{"error":{"code":"Throttled","message":"Request was not processed because too many requests were received."}}`)
	if got, err := must(t, host+"/client-secret", v.config(t, loginKey))(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}

func TestLoginFails(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*testing.T, *vault, *azurevault.Config)
		want   string
	}{
		"a wrong secret": {func(t *testing.T, v *vault, c *azurevault.Config) { c.Login = v.config(t, loginKey+"x").Login }, "the login is refused (AADSTS7000215)"},
		"a server that fails": {func(_ *testing.T, v *vault, _ *azurevault.Config) {
			v.login.Answer(-1, http.StatusInternalServerError, loginKey)
		}, "the login"},
		"a server that is gone": {func(_ *testing.T, v *vault, _ *azurevault.Config) { v.login.Close() }, "the login fails"},
		"a server with a page": {func(_ *testing.T, v *vault, _ *azurevault.Config) {
			v.login.Answer(-1, http.StatusOK, "<html>"+loginKey)
		}, "the login"},
		"one of the program's own": {func(_ *testing.T, _ *vault, c *azurevault.Config) { c.Login = failing{} }, "there is no login"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			v.set("client-secret/", kept)
			c := v.config(t, loginKey)
			row.change(t, v, &c)
			_, err := must(t, host+"/client-secret", c)(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

// failing is a login that gives away what it has.
type failing struct{}

func (failing) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New("not with " + loginKey)
}

// A vault cannot have a token that is for others, nor end the program with what
// it says about logging in.
func TestChallenges(t *testing.T) {
	for name, challenge := range map[string]string{
		"for another domain":       `Bearer authorization="https://login.example.com/` + tenant + `", resource="https://vault.azure.net"`,
		"for a part of the domain": `Bearer authorization="https://login.example.com/` + tenant + `", resource="https://ample.com"`,
		"without a tenant":         `Bearer authorization="https://login.example.com", resource="` + resource + `"`,
		"without an address":       `Bearer authorization="x", resource="` + resource + `"`,
		"with two addresses":       `Bearer authorization="https://login.example.com/` + tenant + `", authorization=x resource="` + resource + `"`,
		"without a resource":       `Bearer authorization="https://login.example.com/` + tenant + `"`,
		"of another kind":          `Basic realm="x"`,
		"none":                     "",
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			v.set("client-secret/", kept)
			v.challenge = challenge
			_, err := must(t, host+"/client-secret", v.config(t, loginKey))(t.Context())
			if err == nil {
				t.Fatal("the secret was given")
			}
			clean(t, err)
			if issued, _ := v.login.state(); issued != 0 {
				t.Errorf("%d tokens were asked for", issued)
			}
		})
	}
}

// The default chain, with an application's secret in the environment and the
// server of logins of another cloud, through a credential.Schemes as programs
// have it.
func TestDefaultChain(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept)
	for name, value := range map[string]string{
		"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": clientID, "AZURE_CLIENT_SECRET": loginKey,
		"AZURE_AUTHORITY_HOST": authority, "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
	} {
		t.Setenv(name, value)
	}
	c := azurevault.Config{Options: azcore.ClientOptions{Transport: v.network(t)}}
	get, err := credential.Open("azurekv:"+host+"/client-secret", credential.Schemes{"azurekv": azurevault.Opener(c)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	t.Setenv("AZURE_CLIENT_SECRET", "")
	if _, err := must(t, host+"/client-secret", c)(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no login") {
		t.Errorf("got %v", err)
	}
	t.Setenv("AZURE_TOKEN_CREDENTIALS", kept)
	_, err = azurevault.Open(host+"/client-secret", c)
	if err == nil || !strings.Contains(err.Error(), "AZURE_TOKEN_CREDENTIALS") {
		t.Fatalf("got %v", err)
	}
	clean(t, err)
}

// A program that logs what the SDK does has no secret in its log.
func TestLogOfTheSDK(t *testing.T) {
	v := newVault(t)
	v.set("client-secret/", kept)
	lines := make(chan string, 1000)
	log.SetListener(func(_ log.Event, line string) { lines <- line })
	defer log.SetListener(nil)
	c := v.config(t, loginKey)
	c.Options.Logging = policy.LogOptions{IncludeBody: true}
	if _, err := must(t, host+"/client-secret", c)(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(lines)
	n := 0
	for line := range lines {
		n++
		for _, secret := range []string{kept, loginKey, token} {
			if strings.Contains(line, secret) {
				t.Errorf("logged: %s", line)
			}
		}
	}
	if n == 0 {
		t.Error("nothing was logged at all")
	}
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{host + "/name", host + ":8443/name/" + version, "acme/name", "/", host + "//", host + "/name/"} {
		f.Add(seed)
	}
	c := azurevault.Config{Login: failing{}}
	f.Fuzz(func(t *testing.T, reference string) {
		get, err := azurevault.Open(reference, c)
		if (get == nil) == (err == nil) {
			t.Fatalf("got %v and %v", get != nil, err)
		}
		if err == nil && strings.ContainsAny(reference, "@?#%\\\r\n\x00 ") {
			t.Errorf("%q is a reference", reference)
		}
	})
}

// challenging answers every request with one challenge.
type challenging string

func (c challenging) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {string(c)}}, Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

// giving is a login that gives the token.
type giving struct{}

func (giving) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Whatever a vault says about logging in, there is an error and no more.
func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer authorization="https://login.example.com/` + tenant + `", resource="https://example.com"`)
	f.Add(`Bearer authorization=https://a/b resource=https://example.com`)
	f.Add(`Bearer authorization=x resource=https://example.com`)
	f.Add(`Bearer realm="", authorization_uri="https://a/b", error="insufficient_claims", claims="e30="`)
	f.Fuzz(func(t *testing.T, challenge string) {
		c := azurevault.Config{Login: giving{}, Options: azcore.ClientOptions{Transport: &http.Client{Transport: challenging(challenge)}, Retry: policy.RetryOptions{MaxRetries: -1}}}
		_, err := must(t, host+"/name", c)(t.Context())
		if err == nil {
			t.Fatal("there is a secret")
		}
		clean(t, err)
	})
}
