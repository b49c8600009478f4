package serveconfig

import (
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
)

// alertSettings say what is an alert; left out, the defaults of package watch.
type alertSettings struct {
	// Failures is how many failed authentications of a client from a network in an hour
	// are an alert.
	Failures int `yaml:"failures,omitempty"`
	// VolumeFactor and VolumeAbove bound the tokens of a client in an hour: so many
	// times those of the busiest hour of its last seven days, and so many.
	VolumeFactor int64 `yaml:"volume_factor,omitempty"`
	VolumeAbove  int64 `yaml:"volume_above,omitempty"`
	// SecretAge is the age that a secret should not reach.
	SecretAge time.Duration `yaml:"secret_age,omitempty"`
	// Repeat is after how long an alert whose count grows is sent again.
	Repeat time.Duration `yaml:"repeat,omitempty"`
	// Off are the kinds that are never raised.
	Off []alertKind `yaml:"off,omitempty"`
}

type alertKind string

func (alertKind) Words() (all []string) {
	for _, k := range alerts.Kinds() {
		all = append(all, string(k))
	}
	return all
}

// alerts checks what is an alert.
func (pl *planner) alerts() {
	in, out := &pl.Alerts, &pl.out.Alerts
	for _, f := range []struct {
		key   string
		given int64
		most  int64
	}{
		{"failures", int64(in.Failures), 1_000_000}, {"volume_factor", in.VolumeFactor, 1000}, {"volume_above", in.VolumeAbove, 1_000_000_000},
	} {
		if way := to("alerts", f.key); pl.Has(way) && (f.given < 1 || f.given > f.most) {
			pl.fail(way, "%d is not a number from 1 to %d", f.given, f.most)
		}
	}
	for _, f := range []struct {
		key         string
		given       time.Duration
		least, most time.Duration
	}{
		{"secret_age", in.SecretAge, 24 * time.Hour, 100 * 365 * 24 * time.Hour}, {"repeat", in.Repeat, time.Minute, 7 * 24 * time.Hour},
	} {
		if way := to("alerts", f.key); pl.Has(way) && (f.given < f.least || f.given > f.most) {
			pl.fail(way, "%v is not a time from %v to %v", f.given, f.least, f.most)
		}
	}
	*out = watch.Settings{
		Failures: in.Failures, VolumeFactor: in.VolumeFactor, VolumeAbove: in.VolumeAbove, SecretAge: in.SecretAge, Repeat: in.Repeat,
	}
	for _, k := range in.Off {
		out.Off = append(out.Off, alerts.Kind(k))
	}
}

// same reports whether two say the same.
func (a *alertSettings) same(b *alertSettings) bool {
	return a.Failures == b.Failures && a.VolumeFactor == b.VolumeFactor && a.VolumeAbove == b.VolumeAbove &&
		a.SecretAge == b.SecretAge && a.Repeat == b.Repeat && slices.Equal(a.Off, b.Off)
}

// AuthorityFile is a file with the certificates of authorities, and the realm that
// it is for; "" for all.
type AuthorityFile struct{ Path, Realm string }

// AuthorityFiles are those that the configuration names.
func (c *Config) AuthorityFiles() (all []AuthorityFile) {
	if c.settings.Outbound.CAFile != "" {
		all = append(all, AuthorityFile{within(c.dir, c.settings.Outbound.CAFile), ""})
	}
	for i := range c.settings.Realms {
		if r := &c.settings.Realms[i]; r.CertificateAuthorities != "" {
			all = append(all, AuthorityFile{within(c.dir, r.CertificateAuthorities), r.Name})
		}
	}
	return all
}
