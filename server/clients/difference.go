package clients

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/server/store"
)

// maxRecorded bounds a value in the record, in bytes: a digest stands for a
// longer one.
const maxRecorded = 400

// recorded is what the record tells of a client: its settings and what else a
// change can change, without hashes.
type recorded struct {
	store.Settings
	Disabled  bool             `json:"disabled"`
	Maker     string           `json:"maker"`
	NotBefore time.Time        `json:"not_before,omitzero"`
	Secrets   []recordedSecret `json:"secrets"`
	APIKeys   []recordedSecret `json:"api_keys"`
}

type recordedSecret struct {
	ID   string    `json:"id"`
	Ends time.Time `json:"ends,omitzero"`
}

// difference returns the Changes of an Event: a JSON object from the path of each
// member that differs to its old and new value, null or false for none.
func difference(before, after *store.Client) string {
	was, is := membersOf(before), membersOf(after)
	changed := map[string][2]json.RawMessage{}
	for name, value := range is {
		if old, ok := was[name]; !ok {
			changed[name] = [2]json.RawMessage{none(value), value}
		} else if !bytes.Equal(old, value) {
			changed[name] = [2]json.RawMessage{old, value}
		}
	}
	for name, value := range was {
		if _, ok := is[name]; !ok {
			changed[name] = [2]json.RawMessage{value, none(value)}
		}
	}
	if len(changed) == 0 {
		return ""
	}
	text, err := json.Marshal(changed)
	if err != nil {
		return "" // unreachable: all values are JSON
	}
	return string(text)
}

// none returns what a member is without a value.
func none(value json.RawMessage) json.RawMessage {
	if string(value) == "true" {
		return json.RawMessage("false")
	}
	return nil
}

// membersOf returns the members of a client that are not empty, by their path.
func membersOf(c *store.Client) map[string]json.RawMessage {
	r := recorded{Settings: c.Settings, Disabled: c.Disabled, Maker: c.Maker, NotBefore: c.NotBefore}
	for into, hashes := range map[*[]recordedSecret][]store.SecretHash{&r.Secrets: c.Secrets, &r.APIKeys: c.APIKeys} {
		for _, h := range hashes {
			*into = append(*into, recordedSecret{h.ID, stored(h.Expires)})
		}
	}
	r.Expires, r.NotBefore = stored(r.Expires), stored(r.NotBefore)
	text, err := json.Marshal(r)
	if err != nil {
		return nil // unreachable: settings are checked before
	}
	all := map[string]json.RawMessage{}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(text, &members)
	for name, value := range members {
		if name != "tokens" && name != "authentication" {
			addMember(all, name, value)
			continue
		}
		var inner map[string]json.RawMessage
		_ = json.Unmarshal(value, &inner)
		for below, value := range inner {
			addMember(all, name+"/"+below, value)
		}
	}
	return all
}

// stored returns a time as a store returns it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func addMember(all map[string]json.RawMessage, name string, value json.RawMessage) {
	switch string(value) {
	case "null", `""`, "[]", "{}", "false":
		return
	}
	if len(value) > maxRecorded {
		sum := sha256.Sum256(value)
		value = fmt.Appendf(nil, `"%d bytes, SHA-256 %s"`, len(value), base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	all[name] = value
}
