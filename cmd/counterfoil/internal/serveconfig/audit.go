package serveconfig

import (
	"cmp"
	"time"

	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/server/store"
)

// auditSettings is how the audit record is proven and for how long it is kept.
type auditSettings struct {
	// CheckpointEvery is how often a checkpoint of new records is signed.
	CheckpointEvery time.Duration `yaml:"checkpoint_every,omitempty"`
	// PublishEvery is how often the latest checkpoint is written to
	// CheckpointFile and sent to CheckpointURL.
	PublishEvery   time.Duration `yaml:"publish_every,omitempty"`
	CheckpointFile string        `yaml:"checkpoint_file,omitempty"`
	CheckpointURL  string        `yaml:"checkpoint_url,omitempty"`
	// Keep is how long records are kept, KeepRecords how many; EraseAfter is when
	// their addresses and user agents are erased. Left out, forever, all and never.
	Keep        time.Duration `yaml:"keep,omitempty"`
	KeepRecords int64         `yaml:"keep_records,omitempty"`
	EraseAfter  time.Duration `yaml:"erase_addresses_after,omitempty"`
}

// Audit is how the audit record is proven and for how long it is kept.
type Audit struct {
	CheckpointEvery, PublishEvery time.Duration
	// CheckpointFile and CheckpointURL get checkpoints; empty for none.
	CheckpointFile, CheckpointURL string
	// Keep says which records are kept; EraseAfter is 0 for never.
	Keep       store.Keep
	EraseAfter time.Duration
}

// minRecords is the smallest number of records to keep.
const minRecords = 10_000

// DefaultAudit returns the configuration of a server that says nothing of it.
func DefaultAudit() Audit {
	return Audit{CheckpointEvery: 10 * time.Second, PublishEvery: 10 * time.Minute}
}

// audit checks the settings of the audit record.
func (pl *planner) audit() {
	in, by := &pl.Audit, DefaultAudit()
	for _, d := range []struct {
		key          string
		value        time.Duration
		least, most  time.Duration
		mayBeOmitted string
	}{
		{"checkpoint_every", in.CheckpointEvery, time.Second, time.Hour, "10s"},
		{"publish_every", in.PublishEvery, time.Second, 30 * 24 * time.Hour, "10m"},
		{"keep", in.Keep, store.MinKeep, 100 * 365 * 24 * time.Hour, "forever"},
		{"erase_addresses_after", in.EraseAfter, time.Hour, 100 * 365 * 24 * time.Hour, "never"},
	} {
		if pl.Has(to("audit", d.key)) && (d.value < d.least || d.value > d.most) {
			pl.fail(to("audit", d.key), "%s must be from %v to %v, or left out for %s", d.key, d.least, d.most, d.mayBeOmitted)
		}
	}
	if pl.Has(to("audit", "keep_records")) && in.KeepRecords < minRecords {
		pl.fail(to("audit", "keep_records"), "keep_records must be %d or more, or left out for all", minRecords)
	}
	if u := in.CheckpointURL; u != "" {
		if _, ok := httpsurl.Base(u); !ok {
			pl.fail(to("audit", "checkpoint_url"), "checkpoint_url %q must be an https URL without a query or a fragment", u)
		}
	}
	out := &pl.out.Audit
	*out = Audit{
		CheckpointEvery: cmp.Or(in.CheckpointEvery, by.CheckpointEvery), PublishEvery: cmp.Or(in.PublishEvery, by.PublishEvery),
		CheckpointURL: in.CheckpointURL, Keep: store.Keep{Age: in.Keep, Count: in.KeepRecords}, EraseAfter: in.EraseAfter,
	}
	if in.CheckpointFile != "" {
		out.CheckpointFile = within(pl.dir, in.CheckpointFile)
	}
}
