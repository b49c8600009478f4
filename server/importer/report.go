package importer

import (
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/counterfoil/counterfoil/internal/spool"
)

// Report tells what became of a file, or would. One goroutine uses it.
type Report struct {
	// Applied tells whether anything was to be changed: false after a dry run,
	// and when rows that cannot be taken kept the others out.
	Applied bool

	counts map[Outcome]int
	rows   spool.List[Result]
}

// Result is what became of a row, or would.
type Result struct {
	Place    string
	ClientID string
	Outcome  Outcome
	// Detail says why, or what is other in the realm.
	Detail string
	Notes  []string
}

// Count returns how many rows have an outcome.
func (r *Report) Count(o Outcome) int { return r.counts[o] }

// Len returns how many rows the file has.
func (r *Report) Len() int { return r.rows.Len() }

// Rows are those of the file, in its order, up to an error. They are not in
// memory, and can be read as often as needed.
func (r *Report) Rows() iter.Seq2[Result, error] { return r.rows.All() }

// Close lets go of the report.
func (r *Report) Close() error { return r.rows.Close() }

func (r *Report) add(result Result) error {
	r.counts[result.Outcome]++
	if err := r.rows.Append(result); err != nil {
		return fmt.Errorf("import: keep the report: %w", err)
	}
	return nil
}

// identities are the client IDs of the rows so far, by 64 bits of each: all of
// them would take more memory than all else. That two IDs of a file have the
// same bits has a chance of one in 10^9, and a row is refused for it.
type identities struct {
	seed    maphash.Seed
	numbers map[uint64]int32
}

func newIdentities() *identities {
	return &identities{maphash.MakeSeed(), map[uint64]int32{}}
}

// add notes the ID of a row and returns the number of the first row that had it;
// 0 when there was none. A nil identities knows of none.
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
