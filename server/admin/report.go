package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// WriteJSON writes the report as one JSON object and a line end. Rows are
// written as they are read.
func (r *Report) WriteJSON(to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	write := func(before string, v any) error {
		text.Reset()
		if err := enc.Encode(v); err != nil {
			return err
		}
		_, _ = w.WriteString(before) // w keeps the error
		_, err := w.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
		return err
	}
	if err := errors.Join(write(`{"applied":`, r.Applied), write(`,"counts":`, r.Counts)); err != nil {
		return err
	}
	before := `,"rows":[`
	for row, err := range r.Rows() {
		if err != nil {
			return err
		}
		if err := write(before, row); err != nil {
			return err
		}
		before = ","
	}
	if before != "," {
		_, _ = w.WriteString(before)
	}
	_, _ = w.WriteString("]")
	if r.Failed != "" {
		if err := write(`,"failed":`, r.Failed); err != nil {
			return err
		}
	}
	_, _ = w.WriteString("}\n")
	return w.Flush()
}

// readReport reads the output of WriteJSON, and keeps the rows out of memory.
// It skips unknown members, which a newer server may send.
func readReport(r io.Reader) (v Report, err error) {
	rows := new(kept)
	v.rows, v.close = rows.All(), rows.Close
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Close())
			v = Report{}
		}
	}()
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return v, errStranger
	}
	seen := 0
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return v, errStranger
		}
		seen++
		switch name {
		case "applied":
			err = dec.Decode(&v.Applied)
		case "counts":
			err = dec.Decode(&v.Counts)
		case "failed":
			err, seen = dec.Decode(&v.Failed), seen-1
		case "rows":
			if err := readRows(dec, rows); err != nil {
				return v, err
			}
		default:
			var passed json.RawMessage
			err, seen = dec.Decode(&passed), seen-1
		}
		if err != nil {
			return v, errStranger
		}
	}
	if _, err := dec.Token(); err != nil || seen != 3 || v.Len() != rows.Len() {
		return v, errStranger
	}
	return v, nil
}

// readRows reads the rows of a report.
func readRows(dec *json.Decoder, rows *kept) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return errStranger
	}
	for dec.More() {
		var row Row
		if err := dec.Decode(&row); err != nil {
			return errStranger
		}
		if err := rows.Append(row); err != nil {
			return fmt.Errorf("admin: keep the rows: %w", err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return errStranger
	}
	return nil
}
