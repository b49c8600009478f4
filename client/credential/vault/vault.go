// Package vault gives secrets from the KV store, version 1 or 2, of HashiCorp
// Vault or OpenBao, over their HTTP API. It is the scheme "vault" of
// credential.Open:
//
//	v, err := vault.New(vault.Config{Address: "https://vault.example.com:8200", Kubernetes: &vault.JWTLogin{Role: "acme"}})
//	secret, err := credential.Open("vault:secret/acme/api#client_secret", credential.Schemes{"vault": v.Open})
//
// It promises:
//
//   - A secret that was changed in the store is given within 30 s, and the last one
//     serves while Vault is sealed or away, as [credential.Keep] says.
//   - A token is renewed while it is used; one that has ended, or that Vault
//     refuses, is replaced by logging in once more, with what the login's
//     references give then.
//   - Secrets and tokens go to the configured address and nowhere else, by TLS or
//     within the machine; answers are bounded; a redirect to another host is not
//     followed.
//   - No error holds a token, a secret, or what the server wrote.
package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Config says where Vault is and how to log in: by exactly one of Token,
// AppRole, Kubernetes and JWT. An agent on this machine that authenticates by
// itself needs none.
type Config struct {
	// Address is the address of the HTTP API: https://HOST:PORT. Plain http is
	// accepted for an agent on a loopback address only, and "unix:///PATH" is an
	// agent's socket.
	Address string
	// Namespace is that of Vault Enterprise, HCP or OpenBao; "" for none.
	Namespace string
	// CAFile is a PEM file with the authorities that are trusted instead of the
	// system's. It is read by New.
	CAFile string
	// KVVersion is 1 or 2; the mount is then the part of a reference before the
	// first slash. 0 asks Vault where the mount ends and which version it has,
	// once for each reference, as Vault's own command line does
	// (sys/internal/ui/mounts); a token that may read the secret may do that.
	KVVersion int
	// Token returns a token that another program obtains, such as an agent that
	// writes it to a file. It is read at each fetch. A renewable one is renewed
	// in the last third of its life if it is used then.
	Token client.SecretFunc
	// AppRole logs in by the AppRole method.
	AppRole *AppRole
	// Kubernetes logs in with the token of the pod's service account, from its
	// usual file if JWT is nil.
	Kubernetes *JWTLogin
	// JWT logs in by the JWT method.
	JWT *JWTLogin
	// Keep is how long secrets are kept. Its Clock also applies to tokens.
	Keep credential.KeepOptions
}

// AppRole is a login with a role's id and a secret id, read at each login.
type AppRole struct {
	// Mount is where the method is; default "approle".
	Mount string
	// RoleID is required.
	RoleID client.SecretFunc
	// SecretID is required unless the role does not use one
	// (bind_secret_id=false).
	SecretID client.SecretFunc
}

// JWTLogin is a login with a token that the platform issues and rotates.
type JWTLogin struct {
	// Mount is where the method is; default "kubernetes" or "jwt".
	Mount string
	// Role is required for Kubernetes; JWT methods can have a default one.
	Role string
	// JWT returns the token; it is read at each login.
	JWT client.SecretFunc
}

// Vault is one server and login. Make it with New. It is safe for concurrent use
// and needs no closing.
type Vault struct {
	base      *url.URL
	namespace string
	version   int
	keep      credential.KeepOptions
	clock     counterfoil.Clock
	http      *http.Client
	login     login

	turn chan struct{} // held while the token is renewed
	held session       // guarded by turn
}

// New returns a Vault, or an error with one line for each problem of c. It does
// not contact the server.
func New(c Config) (*Vault, error) {
	v := &Vault{namespace: c.Namespace, version: c.KVVersion, keep: c.Keep, clock: c.Keep.Clock, turn: make(chan struct{}, 1)}
	if v.clock == nil {
		v.clock = clock.System
	}
	problems := []error{v.connect(c)}
	if c.KVVersion < 0 || c.KVVersion > 2 {
		problems = append(problems, errors.New("vault: Config.KVVersion must be 1, 2 or 0 (ask)"))
	}
	if !isPrintable(c.Namespace) {
		problems = append(problems, errors.New("vault: Config.Namespace must be printable ASCII"))
	}
	var err error
	v.login, err = c.login(v.base == nil || local(v.base))
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	return v, nil
}

// Format prints the address and nothing else, for every verb.
func (v *Vault) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "vault.Vault(%s)", v.base.Host) }

// maxReference bounds a reference, in bytes.
const maxReference = 1024

// Open is a credential.Opener of MOUNT/PATH#FIELD: the field of the newest version
// of a secret in a KV store. The field must be a string, of at most 64 KiB.
func (v *Vault) Open(reference string) (client.SecretFunc, error) {
	path, field, ok := strings.Cut(reference, "#")
	mount, rest, hasRest := strings.Cut(path, "/")
	if !ok || !hasRest || field == "" || !isPrintable(field) || !isPath(mount) || !isPath(rest) || len(reference) > maxReference {
		return nil, errors.New("it does not name a field of a secret: write vault:MOUNT/PATH#FIELD")
	}
	e := &entry{vault: v, path: path, field: field}
	if v.version != 0 {
		e.place.Store(&place{mount: mount, rest: rest, version: v.version})
	}
	return credential.Keep(func(ctx context.Context) (counterfoil.Secret, error) {
		value, err := e.read(ctx)
		if err != nil {
			return "", fmt.Errorf("secret vault:%s: %w", reference, err)
		}
		return value, nil
	}, v.keep), nil
}

// isPath reports whether s is the path of something, and of nothing above it.
func isPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return isPrintable(s)
}

// isPrintable reports whether s is printable ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// entry is one field of one secret.
type entry struct {
	vault       *Vault
	path, field string
	place       atomic.Pointer[place] // nil until it is known
}

// place is where in the API a secret is.
type place struct {
	mount, rest string
	version     int
}

func (p *place) path() string {
	if p.version == 2 {
		return p.mount + "/data/" + p.rest
	}
	return p.mount + "/" + p.rest
}

// read gets the field:
//
//  1. find out where the mount ends, unless that is known;
//  2. read the secret, with a new token when the one that is held is refused;
//  3. pick the field.
func (e *entry) read(ctx context.Context) (counterfoil.Secret, error) {
	p := e.place.Load()
	if p == nil {
		body, err := e.vault.get(ctx, "sys/internal/ui/mounts/"+e.path, "the mount of "+e.path)
		if err != nil {
			return "", err
		}
		if p, err = parseMount(body, e.path); err != nil {
			return "", err
		}
		e.place.Store(p)
	}
	body, err := e.vault.get(ctx, p.path(), p.path())
	if err != nil {
		if e.vault.version == 0 {
			e.place.Store(nil) // the store may have been moved, or upgraded to version 2
		}
		return "", err
	}
	text, err := parseField(body, p.version, e.field)
	if err != nil {
		return "", err
	}
	return content.Secret(text)
}
