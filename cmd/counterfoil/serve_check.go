package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// checked is the result of a 'serve --check' without errors.
type checked struct {
	File     string         `json:"file"`
	Listen   string         `json:"listen"`
	Database string         `json:"database"`
	Expires  time.Time      `json:"certificate_expires"`
	Signing  string         `json:"signing"`
	Admin    string         `json:"admin,omitempty"`
	Realms   []checkedRealm `json:"realms"`
	Alerts   []string       `json:"alerts,omitempty"` // where they go
	Warnings []string       `json:"warnings,omitempty"`
}

type checkedRealm struct {
	Name       string               `json:"name"`
	Provider   string               `json:"provider"`
	Places     []string             `json:"places"`
	Issuer     string               `json:"issuer"`
	TokenURL   string               `json:"token_url"`
	Policy     provider.Policy      `json:"policy"`
	Lifetime   string               `json:"lifetime"`
	Algorithms []provider.Algorithm `json:"signing_algorithms"`
	Methods    []provider.Method    `json:"client_authentication"`
}

// serveCheck prints what a start would serve, or every problem.
func (p *program) serveCheck(ctx context.Context, file string) error {
	config, err := serveConfig(ctx, file, p.getenv, sqlite.Inspect)
	if err != nil {
		return err
	}
	c := checked{
		File: file, Listen: config.Listen, Database: config.DatabaseState,
		Expires: config.Certificate.Leaf().NotAfter.UTC(), Warnings: config.Warnings,
	}
	rsa, err := signing.NewRSABackend(config.Server.Signer)
	if err != nil {
		return err
	}
	c.Signing = rsa.String()
	for i := range config.Realms {
		r := &config.Realms[i]
		t := &r.Provider.TokenEndpoint
		row := checkedRealm{
			Name: r.Name, Provider: r.Provider.Name, Issuer: r.Issuer, TokenURL: r.TokenURL(), Policy: t.Policy,
			Lifetime: t.Lifetime.String(), Algorithms: r.Provider.AccessToken.SigningAlgorithms, Methods: t.ClientAuthentication,
		}
		for _, host := range r.Hosts {
			row.Places = append(row.Places, host+r.Path+"/")
		}
		c.Realms = append(c.Realms, row)
	}
	if r, api := config.Admin(); r != nil {
		c.Admin = r.BaseURL + api.Path
	}
	senders, err := configuredSenders(config, clock.System)
	if err != nil {
		return err
	}
	for _, s := range senders {
		c.Alerts = append(c.Alerts, s.Name())
	}
	return p.print(c, c.people)
}

func (c *checked) people(w io.Writer) {
	fmt.Fprintf(w, "%s is good. It would be served on %s,\nwith a certificate until %s and %s.\n%s.\n",
		c.File, c.Listen, c.Expires.Format(time.RFC3339), c.Database, oneLine(c.Signing))
	for _, r := range c.Realms {
		fmt.Fprintf(w, "\nrealm %s (%s)\n", r.Name, r.Provider)
		for _, line := range [][2]string{
			{"places", join(r.Places)}, {"issuer", r.Issuer}, {"token URL", r.TokenURL},
			{"tokens", fmt.Sprintf("%s, policy %s, signed with %s", r.Lifetime, r.Policy, words(r.Algorithms))},
			{"clients", words(r.Methods)},
		} {
			fmt.Fprintf(w, "  %-10s %s\n", line[0], oneLine(line[1]))
		}
	}
	if c.Admin != "" {
		fmt.Fprintf(w, "\nAdmin API at %s\n", c.Admin)
	}
	if len(c.Alerts) > 0 {
		fmt.Fprintf(w, "\nalerts by %s\n", join(c.Alerts))
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "\nwarning: %s\n", oneLine(warning))
	}
}

// words lists words of a description for a person.
func words[T ~string](list []T) string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = string(s)
	}
	return strings.Join(all, ", ")
}
