package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/provider"
	"golang.org/x/term"
)

// readConsumer reads the client configuration.
func (p *program) readConsumer() (*consumer.Config, error) {
	o := consumer.Options{Getenv: p.getenv, Stdin: p.In}
	if p.noExec {
		o.NoExec = errors.New("exec: is forbidden by --no-exec")
	}
	if in, ok := p.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		o.Prompt = func(_ context.Context, question string) (string, error) {
			return ask(in, p.Err, cmp.Or(question, "Secret"))
		}
	}
	config, err := consumer.Load(p.config, o)
	switch _, mistaken := errors.AsType[strict.Problems](err); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(err, "name one with --config; 'counterfoil up' writes consumer.yaml to its directory")
	case mistaken:
		return nil, withHint(err, "fix the configuration; the lines above name each mistake")
	}
	return config, err
}

// link is an open connection.
type link struct {
	*client.Source
	name     string
	config   client.Config
	api      *provider.API
	tokenURL string
	apiURL   string // "" for one that gives tokens and makes no calls
	// doubts are about the modes of the files that define it.
	doubts []string
	watching
}

// open opens the connection of that name.
func (p *program) open(name string) (*link, error) {
	config, err := p.readConsumer()
	if err != nil {
		return nil, err
	}
	c, ok := config.Connections[name]
	if !ok {
		return nil, chooseFrom(config.Names(), fmt.Errorf("no connection %q%s", name, didYouMean(name, config.Names())))
	}
	p.place = &place{config: config, connection: name, keyed: c.PrivateKey != ""}
	l := &link{name: name}
	l.Source, err = config.Source(name, func(setup *client.Config) {
		setup.Permanent = refusedHere
		l.tokenURL = cmp.Or(c.TokenURL, setup.Provider.TokenEndpoint.URL)
		if u, err := url.Parse(l.tokenURL); err == nil {
			if proxy, _ := proxyOf(setup.HTTP, u); proxy != nil { // if its URL is invalid, each request says so
				p.place.proxy = proxy.Host
			}
		}
		p.watch(l, setup, c)
		l.config = *setup // steps use its transport and its provider
	})
	if err != nil {
		return nil, withRemedy(err, c)
	}
	if l.api, ok = l.config.Provider.API(c.API); ok {
		l.apiURL = cmp.Or(c.APIURL, l.api.URL)
	} else {
		l.api = &provider.API{}
	}
	l.doubts = config.Warnings(name)
	return l, nil
}

// noCalls says why a connection makes no calls; nil if it does.
func (p *program) noCalls(l *link) error {
	switch {
	case l.apiURL != "":
		return nil
	case l.api.Name == "":
		return fmt.Errorf("connection %s gives tokens only: %s leads to a description without an API", l.name, p.place.key("provider"))
	}
	return fmt.Errorf(
		"connection %s gives tokens only: %s is missing, and the description has no URL of the API", l.name,
		p.place.key("api_url"),
	)
}

// withRemedy adds the next action to an error of a value of the configuration.
func withRemedy(err error, c consumer.Connection) error {
	e, ok := errors.AsType[*consumer.Error](err)
	if _, said := errors.AsType[*client.FieldError](err); !ok || said {
		return err
	}
	switch e.Key {
	case "provider":
		return withHint(err, "%s", ofProvider(err, c.Provider))
	case "client_secret", "api_key", "private_key":
		return withHint(err, "fix the reference")
	case "token_cache":
		return withHint(err, "set COUNTERFOIL_CACHE to a directory that only you can read")
	}
	return err
}

// ask reads a line from a terminal without echo, including input that was typed
// ahead: the echo is off before the prompt.
func ask(in *os.File, out io.Writer, question string) (string, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(in.Fd()), state)
	answer, err := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "").ReadPassword(question + ": ")
	if errors.Is(err, io.EOF) { // Ctrl-C and Ctrl-D are reported as EOF
		return "", &failure{code: exitInterrupted, err: errors.New("interrupted")}
	}
	return answer, err
}
