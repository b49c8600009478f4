package relational

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// Conn is a connection to a database. It calls the driver directly: package
// database/sql would double the time of a short statement. It is not safe for
// concurrent use.
//
// The statements of this package are in a common dialect: their parameters are ?,
// in order, or ?1, ?2 and so on; greatest and least are functions; integers are of
// 64 bits, and truth is an integer.
type Conn struct {
	conn driver.Conn
	// translate translates a statement from the common dialect.
	translate func(string) string
	// prepare says that each statement is prepared once.
	prepare    bool
	prepared   map[string]statement
	translated map[string]string
	args       []driver.NamedValue
	values     []driver.Value
}

// statement is the interface of the driver's statements.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// NewConn uses a connection of the driver. With prepare, each statement is
// prepared once.
func NewConn(conn driver.Conn, translate func(string) string, prepare bool) *Conn {
	c := &Conn{translate: translate, prepare: prepare}
	c.Reset(conn)
	return c
}

// Reset replaces the driver's connection by a new one.
func (c *Conn) Reset(conn driver.Conn) {
	c.conn, c.prepared, c.translated = conn, map[string]statement{}, map[string]string{}
}

// bind converts arguments to the driver's form.
func (c *Conn) bind(args []any) {
	c.args = c.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case bool:
			a = integer(v)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
}

// integer is the form of a truth value in the database.
func integer(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// statement returns the prepared statement of a query.
func (c *Conn) statement(query string) (statement, error) {
	if p, ok := c.prepared[query]; ok {
		return p, nil
	}
	p, err := c.conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), c.translate(query))
	if err != nil {
		return nil, err
	}
	c.prepared[query] = p.(statement)
	return c.prepared[query], nil
}

// text returns a query in the dialect of the database.
func (c *Conn) text(query string) string {
	text, ok := c.translated[query]
	if !ok {
		text = c.translate(query)
		c.translated[query] = text
	}
	return text
}

func (c *Conn) execute(query string) (driver.Result, error) {
	if !c.prepare {
		return c.conn.(driver.ExecerContext).ExecContext(context.Background(), c.text(query), c.args)
	}
	p, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return p.ExecContext(context.Background(), c.args)
}

func (c *Conn) query(query string) (driver.Rows, error) {
	if !c.prepare {
		return c.conn.(driver.QueryerContext).QueryContext(context.Background(), c.text(query), c.args)
	}
	p, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return p.QueryContext(context.Background(), c.args)
}

// Exec runs a statement and returns how many rows it changed.
func (c *Conn) Exec(query string, args ...any) (int64, error) {
	c.bind(args)
	r, err := c.execute(query)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Row reads one row; false when no row matches.
func (c *Conn) Row(query string, args []any, into ...any) (found bool, err error) {
	err = c.Rows(query, args, len(into), func(values []driver.Value) error {
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
		switch v := v.(type) {
		case int64:
			*into = v != 0
			return nil
		case bool:
			*into = v
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

// Rows reads rows of n columns, whose values are valid until each returns. It
// stops early without an error when each returns io.EOF.
func (c *Conn) Rows(query string, args []any, n int, each func(values []driver.Value) error) (err error) {
	c.bind(args)
	rows, err := c.query(query)
	if err != nil {
		return err
	}
	defer func() {
		if cause := rows.Close(); cause != nil { // what each returned stays as it is
			err = errors.Join(err, cause)
		}
	}()
	for len(c.values) < n {
		c.values = append(c.values, nil)
	}
	for {
		if err := rows.Next(c.values[:n]); err != nil {
			return ended(err)
		}
		if err := each(c.values[:n]); err != nil {
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

// Close closes the prepared statements, not the driver's connection: SQLite keeps
// that open while one of them is.
func (c *Conn) Close() error {
	var err error
	for _, p := range c.prepared {
		err = errors.Join(err, p.Close())
	}
	return err
}
