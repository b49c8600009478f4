package calendar

import (
	"encoding/json"
	"io"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// Read imports a file without a database and hands over each event as JSON: a
// fuzz target has no time for a database.
func Read(r io.Reader, event func([]byte)) error {
	load := &loader{ids: apis.IDs{}, put: func(e *graph.Event) error {
		body, err := json.Marshal(e)
		event(body)
		return err
	}}
	return load.read(r)
}
