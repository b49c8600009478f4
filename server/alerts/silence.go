package alerts

import (
	"strings"
	"time"
)

// MaxSilence is how long a silence lasts at most.
const MaxSilence = 30 * 24 * time.Hour

// Silence keeps alerts from being sent until a time. They are raised, counted and
// listed as ever; those that nobody has acknowledged by then are sent when it ends.
type Silence struct {
	// ID is its number in the database.
	ID int64 `json:"id"`
	// Kind, Realm and ClientID are those of the alerts; empty for any. A "*" at the
	// end of ClientID stands for any ending.
	Kind     Kind   `json:"kind,omitempty"`
	Realm    string `json:"realm,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// Until is when it ends.
	Until   time.Time `json:"until"`
	Created time.Time `json:"created"`
	// CreatedBy is who made it.
	CreatedBy string `json:"created_by"`
}

// Matches reports whether the silence is about an alert, whenever it ends.
func (s *Silence) Matches(a *Alert) bool {
	prefix, wild := strings.CutSuffix(s.ClientID, "*")
	return (s.Kind == "" || s.Kind == a.Kind) && (s.Realm == "" || s.Realm == a.Realm) &&
		(s.ClientID == "" || s.ClientID == a.ClientID || wild && strings.HasPrefix(a.ClientID, prefix))
}

// Silenced returns until when an alert is silenced at a time; the zero time when it
// is not.
func Silenced(a *Alert, by []Silence, at time.Time) (until time.Time) {
	for i := range by {
		if s := &by[i]; s.Matches(a) && at.Before(s.Until) && s.Until.After(until) {
			until = s.Until
		}
	}
	return until
}

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		KindFailures, KindBlocked, KindVolume, KindNewNetwork, KindRotatedCredential, KindLeakedSecret, KindOldSecret,
		KindExpiry, KindKeys, KindCheckpoint, KindStore, KindClock,
	}
}
