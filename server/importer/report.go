package importer

import (
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/counterfoil/counterfoil/internal/spool"
)

// Report has the outcomes of an import, or of a dry run. It is not safe for
// concurrent use.
type Report struct {
	// Applied says whether the import was executed: false after a dry run, and
	// when refused rows prevented it.
	Applied bool

	counts map[Outcome]int
	rows   spool.List[Result]
}

// Result is the outcome of a row.
type Result struct {
	Place    string
	ClientID string
	Outcome  Outcome
	// Detail gives the reason, or the differences from the realm's client.
	Detail string
	Notes  []string
}

// Count returns how many rows have an outcome.
func (r *Report) Count(o Outcome) int { return r.counts[o] }

// Len returns how many rows the file has.
func (r *Report) Len() int { return r.rows.Len() }

// Rows returns the rows of the file, in its order, up to an error. They are
// not in memory, and can be read repeatedly.
func (r *Report) Rows() iter.Seq2[Result, error] { return r.rows.All() }

// Close releases the report.
func (r *Report) Close() error { return r.rows.Close() }

func (r *Report) add(result Result) error {
	r.counts[result.Outcome]++
	if err := r.rows.Append(result); err != nil {
		return fmt.Errorf("import: keep the report: %w", err)
	}
	return nil
}

// identities are the client IDs of the rows so far, by 64 bits of each: whole
// IDs would take more memory than all else. Two IDs of a file have the same
// bits with a probability of one in 10^9; then a row is refused.
type identities struct {
	seed    maphash.Seed
	numbers map[uint64]int32
}

func newIdentities() *identities {
	return &identities{maphash.MakeSeed(), map[uint64]int32{}}
}

// add records the ID of a row and returns the number of the first row that had
// it; 0 when no row had it. A nil identities knows of none.
func (ids *identities) add(id string, number int) int {
	if ids == nil {
		return 0
	}
	key := maphash.String(ids.seed, id)
	if before, twice := ids.numbers[key]; twice {
		return int(before)
	}
	ids.numbers[key] = int32(number)
	return 0
}
