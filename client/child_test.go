package client_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// child returns a command that runs this test binary as another process of the
// same user, which knows the world's endpoints; dir is for what they share.
func (w *world) child(mode, dir string) *exec.Cmd {
	cert := filepath.Join(dir, "ca.pem")
	for name, text := range map[string][]byte{
		cert:                         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.auth.Certificate().Raw}),
		filepath.Join(dir, "secret"): []byte(theSecret),
		filepath.Join(dir, "key"):    []byte(theKey),
	} {
		if err := files.Write(name, text, 0o600); err != nil { // whole, for who reads it already
			w.t.Fatal(err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.ctx, exe)
	cmd.Env = append(os.Environ(), "COUNTERFOIL_TEST_CHILD="+mode, "CHILD_DIR="+dir, "CHILD_AUTH="+w.auth.URL, "CHILD_API="+w.api.URL)
	return cmd
}

// child is the other process.
func child(mode string) {
	dir := os.Getenv("CHILD_DIR")
	cert, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	p, err := provider.Builtin("altrata")
	must(err)
	cache, err := dircache.Open(filepath.Join(dir, "cache"))
	must(err)
	file := func(name string) client.SecretFunc {
		return func(context.Context) (counterfoil.Secret, error) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			return counterfoil.Secret(b), err
		}
	}
	c := client.Config{
		Provider: p, TokenURL: os.Getenv("CHILD_AUTH") + "/token", APIURL: os.Getenv("CHILD_API") + "/v1/graphql",
		ClientID: "the-client", ClientSecret: file("secret"), APIKey: file("key"), Cache: cache,
		HTTP: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	switch mode {
	case "crash":
		crash(c)
	case "parallel":
		c.HTTP, c.RequestsPerMinute = nil, -1
		s, err := client.New(c)
		must(err)
		for range 2 {
			var all sync.WaitGroup
			for range parallel {
				all.Go(func() {
					resp, err := s.Client().Get(c.APIURL)
					must(err)
					_, err = io.Copy(io.Discard, resp.Body)
					must(err)
					_ = resp.Body.Close()
				})
			}
			all.Wait()
		}
	case "token":
		s, err := client.New(c)
		must(err)
		fmt.Println("ready")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		t, err := s.Token(context.Background())
		must(err)
		fmt.Println(t.Value.Reveal())
	case "write":
		for i := 0; ; i++ {
			_, err := cache.Renew(context.Background(), aKey, cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
				return bigToken(i), nil
			}))
			must(err)
			fmt.Println(i)
		}
	}
}

// parallel is how many calls the child makes at once, twice.
const parallel = 100

const aKey = "abc-def"

// bigToken is one whose file takes more than one write to a disk's page.
func bigToken(i int) counterfoil.Token {
	return counterfoil.Token{Value: counterfoil.Secret(strings.Repeat(fmt.Sprintf("%08d", i), 6000)), Issued: theStart, Expires: theStart.Add(time.Hour)}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// lines returns a function that reads the next line of r.
func lines(r io.Reader) func() string {
	b := bufio.NewReader(r)
	return func() string { s, _ := b.ReadString('\n'); return strings.TrimSpace(s) }
}
