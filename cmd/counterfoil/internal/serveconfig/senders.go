package serveconfig

import (
	"context"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/mail"
	"github.com/counterfoil/counterfoil/server/alerts/webhook"
)

// webhookSettings is a URL that alerts are posted to.
type webhookSettings struct {
	URL string `yaml:"url" check:"required"`
	// Secret refers to what signs, PreviousSecret to what it replaces.
	Secret         string `yaml:"secret" check:"required"`
	PreviousSecret string `yaml:"previous_secret,omitempty"`
	// Kinds are the alerts that are sent there; left out, all.
	Kinds []alertKind `yaml:"kinds,omitempty"`
}

// mailSettings says how alerts are mailed, and to whom.
type mailSettings struct {
	// Server is HOST:PORT.
	Server   string  `yaml:"server" check:"required"`
	TLS      mailTLS `yaml:"tls,omitempty"`
	Username string  `yaml:"username,omitempty"`
	// Password refers to the password.
	Password string   `yaml:"password,omitempty"`
	From     string   `yaml:"from" check:"required"`
	To       []string `yaml:"to" check:"required"`
}

type mailTLS string

func (mailTLS) Words() []string {
	return []string{string(mail.TLSStart), string(mail.TLSImplicit), string(mail.TLSNone)}
}

// senders derives how alerts are sent, after outbound.
func (pl *planner) senders(ctx context.Context) {
	var names []string
	for i := range pl.Webhooks {
		in, way := &pl.Webhooks[i], to("webhooks", i)
		out := webhook.Config{URL: in.URL, RootCAs: pl.out.Server.Outbound.RootCAs}
		if u, err := webhook.CheckURL(in.URL); err != nil {
			pl.fail(under(way, "url"), "%v", err)
		} else if name := webhook.Name(u); slices.Contains(names, name) {
			// They would share a queue, and each alert go to one of them.
			pl.fail(under(way, "url"), "a second webhook has this URL: name all its kinds in one")
		} else {
			names = append(names, name)
		}
		for _, s := range []struct {
			key, reference string
			out            *counterfoil.Secret
		}{{"secret", in.Secret, &out.Secret}, {"previous_secret", in.PreviousSecret, &out.Previous}} {
			if !pl.Has(under(way, s.key)) {
				continue // said already where it is required
			}
			value, ok := pl.secret(ctx, under(way, s.key), s.reference)
			if !ok {
				continue
			}
			if _, err := webhook.ParseSecret(value); err != nil {
				pl.fail(under(way, s.key), "%v", err)
			}
			*s.out = value
		}
		for _, kind := range in.Kinds {
			out.Kinds = append(out.Kinds, alerts.Kind(kind))
		}
		if pl.Has(under(way, "kinds")) && len(in.Kinds) == 0 {
			pl.fail(under(way, "kinds"), "the list is empty: name at least one, or leave it out for all kinds")
		}
		pl.out.Webhooks = append(pl.out.Webhooks, out)
	}
	if pl.Has(to("mail")) {
		pl.mail(ctx)
	}
}

// mail derives how alerts are mailed.
func (pl *planner) mail(ctx context.Context) {
	in := &pl.Mail
	out := mail.Config{
		Server: in.Server, TLS: mail.TLS(in.TLS), Username: in.Username, From: in.From, To: in.To,
		RootCAs: pl.out.Server.Outbound.RootCAs,
	}
	sound := true
	fail := func(way []any, err error) {
		if err != nil {
			pl.fail(way, "%v", err)
			sound = false
		}
	}
	_, _, err := mail.ParseServer(in.Server)
	fail(to("mail", "server"), err)
	_, err = mail.ParseAddress(in.From)
	fail(to("mail", "from"), err)
	for i, text := range in.To {
		_, err := mail.ParseAddress(text)
		fail(to("mail", "to", i), err)
	}
	if pl.Has(to("mail", "password")) {
		var ok bool
		out.Password, ok = pl.secret(ctx, to("mail", "password"), in.Password)
		sound = sound && ok
	}
	if sound {
		_, err := mail.New(out)
		fail(to("mail"), err)
	}
	pl.out.Mail = &out
}

// secret reads what a reference names, and reports whether it could.
func (pl *planner) secret(ctx context.Context, way []any, reference string) (counterfoil.Secret, bool) {
	get, err := pl.secrets(reference)
	if err == nil {
		var value counterfoil.Secret
		if value, err = get(ctx); err == nil {
			return value, true
		}
	}
	pl.fail(way, "%v", err)
	return "", false
}
