package serveconfig

import (
	"time"

	"github.com/counterfoil/counterfoil/server/limits"
)

// guessSettings are how many failed authentications an hour are answered as such.
type guessSettings struct {
	Mode          limitMode     `yaml:"mode,omitempty"`
	ClientAddress int           `yaml:"client_address,omitempty"`
	ClientNetwork int           `yaml:"client_network,omitempty"`
	Address       int           `yaml:"address,omitempty"`
	Network       int           `yaml:"network,omitempty"`
	Block         time.Duration `yaml:"block,omitempty"`
	KnownFor      time.Duration `yaml:"known_for,omitempty"`
}

// requestSettings are how many token requests a minute are allowed; 0 is no limit.
type requestSettings struct {
	Mode    limitMode `yaml:"mode,omitempty"`
	Client  int       `yaml:"client,omitempty"`
	Tenant  int       `yaml:"tenant,omitempty"`
	Realm   int       `yaml:"realm,omitempty"`
	Address int       `yaml:"address,omitempty"`
}

type limitMode string

func (limitMode) Words() []string {
	return []string{string(limits.Enforce), string(limits.Monitor), string(limits.Off)}
}

// Suffix is what the name of the file with the state of limits has more than that
// of the database beside it.
const Suffix = ".limits"

// guesses derives the limits of guesses and of token requests.
func (pl *planner) guesses() {
	g, r := &pl.Limits.Guesses, &pl.Limits.Requests
	out := &pl.out.Server.Limits
	out.Direct = pl.Limits.Direct
	out.Guesses.Mode, out.Requests.Mode = limits.Mode(g.Mode), limits.Mode(r.Mode)
	for _, f := range []struct {
		way   []any
		given int
		out   *int
		// least is the smallest that may be given.
		least int
	}{
		{to("limits", "guesses", "client_address"), g.ClientAddress, &out.Guesses.ClientAddress, 1},
		{to("limits", "guesses", "client_network"), g.ClientNetwork, &out.Guesses.ClientNetwork, 1},
		{to("limits", "guesses", "address"), g.Address, &out.Guesses.Address, 1},
		{to("limits", "guesses", "network"), g.Network, &out.Guesses.Network, 1},
		{to("limits", "token_requests", "client"), r.Client, &out.Requests.Client, 0},
		{to("limits", "token_requests", "tenant"), r.Tenant, &out.Requests.Tenant, 0},
		{to("limits", "token_requests", "realm"), r.Realm, &out.Requests.Realm, 0},
		{to("limits", "token_requests", "address"), r.Address, &out.Requests.Address, 0},
	} {
		switch {
		case !pl.Has(f.way):
		case f.given < f.least || f.given > limits.MaxCount:
			pl.fail(f.way, "%d is not a number from %d to %d", f.given, f.least, limits.MaxCount)
		case f.given == 0:
			*f.out = -1 // no limit
		default:
			*f.out = f.given
		}
	}
	for _, f := range []struct {
		way         []any
		given       time.Duration
		out         *time.Duration
		least, most time.Duration
	}{
		{to("limits", "guesses", "block"), g.Block, &out.Guesses.Block, limits.MinBlock, limits.MaxBlock},
		{to("limits", "guesses", "known_for"), g.KnownFor, &out.Guesses.KnownFor, limits.MinKnown, limits.MaxKnown},
	} {
		if !pl.Has(f.way) {
			continue
		}
		if *f.out = f.given; f.given < f.least || f.given > f.most {
			pl.fail(f.way, "%v is not a time from %v to %v", f.given, f.least, f.most)
		}
	}
}
