package metrics

import (
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/health"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/limits"

	"github.com/counterfoil/counterfoil/server"
)

// Sources are asked for their state at each scrape. All are required.
type Sources struct {
	Clock       counterfoil.Clock
	Server      *server.Server
	Connections *conns.Limiter
	Log         *audit.Log
	Health      *health.Health
	// Database is the path of its file; empty for one that is not a file.
	Database string
	// CertificateEnds returns when the server's certificate expires.
	CertificateEnds func() time.Time
	// Version is that of the program.
	Version string
}

// Watch adds the states of a server to m. It is called once.
func (m *Metrics) Watch(s Sources) { m.registry.MustRegister(&states{s}) }

// states collects the states.
type states struct{ Sources }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("counterfoil_"+name, help, labels, nil)
}

// The metrics that are computed at a scrape.
var (
	waiting   = desc("limits_waiting", "Prefixes, and clients from a prefix, that have to wait after failed authentications.")
	blocks    = desc("limits_blocks_total", "Blocks that began after failed authentications.")
	tracked   = desc("limits_tracked", "Prefixes, pairs of client and prefix, and known clients that are kept.", "kind")
	evictions = desc("limits_evictions_total", "Of what limits keep, what was dropped for others.")

	open     = desc("connections_open", "Connections that are open.")
	most     = desc("connections_limit", "Connections that may be open.")
	accepted = desc("connections_accepted_total", "Connections that were admitted.")
	turned   = desc("connections_refused_total", "Connections that were refused, by the limit.", "limit")
	dropped  = desc("connections_closed_for_others_total", "Idle connections that were closed for new ones.")

	database = desc("store_database_bytes", "Size of the database's file.")
	wal      = desc("store_wal_bytes", "Size of the database's write-ahead log.")
	diskFree = desc("store_disk_free_bytes", "Free space on the disk of the database.")

	records   = desc("audit_records", "Events in the audit record, with those that were dropped.")
	unsigned  = desc("audit_unsigned_records", "Events that no checkpoint covers yet.")
	signedAge = desc("audit_checkpoint_age_seconds", "Time since a checkpoint last covered the whole record.")
	unsignal  = desc("audit_failures_total", "Attempts to extend the audit log that failed.")
	ungiven   = desc("audit_publish_failures_total", "Attempts to give a checkpoint away that failed.")

	keyAge  = desc("key_age_seconds", "Time since the active signing key began to sign.", "realm", "algorithm")
	rotates = desc("key_rotation_timestamp_seconds", "When the next signing key begins to sign, in seconds since 1970.", "realm", "algorithm")

	certificate = desc("certificate_end_timestamp_seconds", "When the server's certificate expires, in seconds since 1970.")
	jumps       = desc("clock_jumps_total", "Jumps of the machine's clock.", "direction")
	healthy     = desc("check_ok", "Whether a check of /healthz/ready succeeds: 1 or 0.", "check")
	build       = desc("build_info", "1, with the version of the program.", "version", "go_version")
)

// Describe implements prometheus.Collector.
func (*states) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		waiting, blocks, tracked, evictions, open, most, accepted, turned, dropped, database, wal, diskFree, records, unsigned, signedAge,
		unsignal, ungiven, keyAge, rotates, certificate, jumps, healthy, build,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *states) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	now, stats := s.Clock.Now(), s.Server.Stats()
	s.limits(gauge, count, s.Server.Limits().Stats())

	c := s.Connections.Stats()
	gauge(open, float64(c.Open))
	gauge(most, float64(c.Total))
	count(accepted, c.Accepted)
	count(turned, c.Full, "total")
	count(turned, c.Crowded, "per_prefix")
	count(dropped, c.Dropped)

	if s.Database != "" {
		for d, file := range map[*prometheus.Desc]string{database: s.Database, wal: s.Database + "-wal"} {
			if info, err := os.Stat(file); err == nil {
				gauge(d, float64(info.Size()))
			}
		}
		if free, ok := freeSpace(s.Database); ok {
			gauge(diskFree, free)
		}
	}

	l := s.Log.Stats()
	gauge(records, float64(l.Recorded))
	gauge(unsigned, float64(l.Recorded-l.Signed))
	gauge(signedAge, now.Sub(l.Checked).Seconds())
	count(unsignal, l.Failures)
	count(ungiven, l.PublishFailures)

	for _, k := range stats.Keys {
		if !k.Activated.IsZero() {
			gauge(keyAge, now.Sub(k.Activated).Seconds(), k.Realm, string(k.Algorithm))
		}
		if !k.Rotates.IsZero() {
			gauge(rotates, float64(k.Rotates.Unix()), k.Realm, string(k.Algorithm))
		}
	}
	gauge(certificate, float64(s.CertificateEnds().Unix()))
	count(jumps, stats.ClockAhead, "ahead")
	count(jumps, stats.ClockBack, "back")
	for _, r := range s.Health.Ask() {
		ok := 0.0
		if r.Good() {
			ok = 1
		}
		gauge(healthy, ok, r.Check)
	}
	gauge(build, 1, s.Version, runtime.Version())
}

func (s *states) limits(
	gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, uint64, ...string), l limits.Stats,
) {
	gauge(waiting, float64(l.Waiting))
	count(blocks, l.Blocked)
	gauge(tracked, float64(l.Prefixes), "prefixes")
	gauge(tracked, float64(l.Pairs), "pairs")
	gauge(tracked, float64(l.Known), "known")
	count(evictions, l.Dropped)
}
