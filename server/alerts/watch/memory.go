package watch

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of what is remembered.
const (
	// week is how many hours a client's tokens are counted of.
	week = 7 * 24
	// learning is how long a client is watched before its volume can be unusual.
	learning = 24
	// maxNetworks is how many networks of a client are known; of more, the one that it
	// has not used for longest is forgotten. maxNew is how many new ones a day are
	// alerts of their own.
	maxNetworks = 64
	maxNew      = 10
	// maxPairs is how many pairs of a client and a network have their failures
	// counted in an hour: of more, those with the fewest are forgotten.
	maxPairs = 512
	// several is the network of a pair that counts a client's failures from networks
	// with too few of their own; severalTimes how many times as many of them are an
	// alert.
	several      = "*"
	severalTimes = 5
)

// memory is what is remembered of a client, of a realm or of the server.
type memory struct {
	// Networks are where it has authenticated from, with the day of the last time; New
	// counts the new ones of a day.
	Networks map[string]int64 `json:"n,omitempty"`
	New      [2]int64         `json:"w,omitzero"`
	// Hours has how many tokens it got in an hour, by hour since 1970; Loud is the last
	// one that was an alert.
	Hours map[int64]int64 `json:"h,omitempty"`
	Loud  int64           `json:"l,omitempty"`
	// Told says of what ends, or is too old, which alerts there were.
	Told map[string]told `json:"t,omitempty"`

	// quiet is an hour that is no alert, however many tokens follow in this step.
	quiet   int64
	changed bool
}

// told is which alerts there were of something that ends at a time, in seconds since
// 1970: the one for that number of days, and those for more.
type told struct {
	End  int64 `json:"e"`
	Days int64 `json:"d"`
}

// bytes are the form in the database; nil when there is nothing to remember.
func (m *memory) bytes() []byte {
	if len(m.Networks)+len(m.Hours)+len(m.Told) == 0 {
		return nil
	}
	data, _ := json.Marshal(m) // never fails
	return data
}

// memories are those that a step reads and changes.
type memories map[store.AlertOwner]*memory

// read parses memories. One that cannot be read is forgotten.
func read(stored map[store.AlertOwner][]byte, of []store.AlertOwner) memories {
	all := memories{}
	for _, o := range of {
		m := new(memory)
		if data, ok := stored[o]; ok && json.Unmarshal(data, m) != nil {
			*m = memory{}
		}
		all[o] = m
	}
	return all
}

// changes are those that a step stores.
func (all memories) changes() map[store.AlertOwner][]byte {
	changed := map[store.AlertOwner][]byte{}
	for o, m := range all {
		if m.changed {
			changed[o] = m.bytes()
		}
	}
	return changed
}

// state is what is remembered of the search itself.
type state struct {
	// Began is when the first one began, in hours since 1970.
	Began int64 `json:"b"`
	// Hour is the one whose failures are counted.
	Hour  int64  `json:"h,omitempty"`
	Pairs []pair `json:"p,omitempty"`
	// Swept is when the last sweep began, in seconds since 1970; while one is in
	// progress, Realm and After are those of its next page.
	Swept    int64  `json:"s,omitempty"`
	Sweeping bool   `json:"g,omitempty"`
	Realm    string `json:"r,omitempty"`
	After    string `json:"a,omitempty"`
}

// pair is a client and a network that failed to authenticate.
type pair struct {
	Realm   string `json:"r"`
	Client  string `json:"c,omitempty"`
	Network string `json:"n,omitempty"`
	Count   int64  `json:"k"`
}

// find returns the place of a pair, or -1.
func (s *state) find(p *pair) int {
	return slices.IndexFunc(s.Pairs, func(q pair) bool { return q.Realm == p.Realm && q.Client == p.Client && q.Network == p.Network })
}

// count adds to the failures of a pair, and returns how many there are.
func (s *state) count(p *pair, n int64) int64 {
	i := s.find(p)
	if i < 0 {
		if len(s.Pairs) >= maxPairs {
			least := 0
			for j := range s.Pairs {
				if s.Pairs[j].Count < s.Pairs[least].Count {
					least = j
				}
			}
			s.Pairs = slices.Delete(s.Pairs, least, least+1)
		}
		s.Pairs, i = append(s.Pairs, *p), len(s.Pairs)
	}
	s.Pairs[i].Count += n
	return s.Pairs[i].Count
}

func readState(data []byte) *state {
	s := new(state)
	if json.Unmarshal(data, s) != nil {
		*s = state{}
	}
	return s
}

func (s *state) bytes() []byte {
	data, _ := json.Marshal(s) // never fails
	return data
}

// hourOf and dayOf number hours and days since 1970.
func hourOf(t time.Time) int64 { return t.Unix() / 3600 }
func dayOf(t time.Time) int64  { return t.Unix() / 86400 }
