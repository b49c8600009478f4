package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// statements are a connection with each statement prepared once. They call the
// driver directly: package database/sql would double the time of a short
// statement. They are not safe for concurrent use.
type statements struct {
	conn     driver.ConnPrepareContext
	prepared map[string]statement
	args     []driver.NamedValue
	values   []driver.Value
}

// statement is the interface of the driver's statements.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// newStatements uses a connection of the driver, from sql.Conn.Raw.
func newStatements(conn any) statements {
	return statements{conn: conn.(driver.ConnPrepareContext), prepared: map[string]statement{}}
}

// bind finds the statement and converts its arguments to the driver's form.
func (s *statements) bind(query string, args []any) (statement, error) {
	s.args = s.args[:0]
	for i, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	if p, ok := s.prepared[query]; ok {
		return p, nil
	}
	p, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s.prepared[query] = p.(statement)
	return s.prepared[query], nil
}

// exec runs a statement and returns how many rows it changed.
func (s *statements) exec(query string, args ...any) (int64, error) {
	p, err := s.bind(query, args)
	if err != nil {
		return 0, err
	}
	r, err := p.ExecContext(context.Background(), s.args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row reads one row; false when no row matches.
func (s *statements) row(query string, args []any, into ...any) (found bool, err error) {
	err = s.rows(query, args, len(into), func(values []driver.Value) error {
		found = true
		for i, v := range values {
			if err := assign(into[i], v); err != nil {
				return err
			}
		}
		return io.EOF // one is enough
	})
	return found, err
}

func assign(into any, v driver.Value) error {
	switch into := into.(type) {
	case *int64:
		n, ok := v.(int64)
		if *into = n; ok {
			return nil
		}
	case *bool:
		n, ok := v.(int64)
		if *into = n != 0; ok {
			return nil
		}
	case *[]byte:
		data, ok := v.([]byte)
		if *into = bytes.Clone(data); ok {
			return nil
		}
	case *string:
		text, ok := v.(string)
		if *into = text; ok {
			return nil
		}
	}
	return fmt.Errorf("a column holds a %T for a %T", v, into)
}

// rows reads rows of n columns, whose values are valid until each returns. It
// stops early without an error when each returns io.EOF.
func (s *statements) rows(query string, args []any, n int, each func(values []driver.Value) error) (err error) {
	p, err := s.bind(query, args)
	if err != nil {
		return err
	}
	rows, err := p.QueryContext(context.Background(), s.args)
	if err != nil {
		return err
	}
	defer func() {
		if cause := rows.Close(); cause != nil { // what each returned stays as it is
			err = errors.Join(err, cause)
		}
	}()
	for len(s.values) < n {
		s.values = append(s.values, nil)
	}
	for {
		if err := rows.Next(s.values[:n]); err != nil {
			return ended(err)
		}
		if err := each(s.values[:n]); err != nil {
			return ended(err)
		}
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// close closes the statements: an open one would keep the connection open.
func (s *statements) close() error {
	var err error
	for _, p := range s.prepared {
		err = errors.Join(err, p.Close())
	}
	return err
}
