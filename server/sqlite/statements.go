package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// statements are the writer's connection, with each statement prepared once.
type statements struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func (s *statements) statement(query string) (*sql.Stmt, error) {
	if p, ok := s.prepared[query]; ok {
		return p, nil
	}
	p, err := s.conn.PrepareContext(context.Background(), query)
	if err == nil {
		s.prepared[query] = p
	}
	return p, err
}

// exec runs a statement and returns how many rows it changed.
func (s *statements) exec(query string, args ...any) (int64, error) {
	p, err := s.statement(query)
	if err != nil {
		return 0, err
	}
	r, err := p.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row reads one row; false when there is none.
func (s *statements) row(query string, args []any, into ...any) (bool, error) {
	p, err := s.statement(query)
	if err != nil {
		return false, err
	}
	err = p.QueryRowContext(context.Background(), args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// close lets go of the connection. With a statement left it would stay open.
func (s *statements) close() error {
	var err error
	for _, p := range s.prepared {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// rows reads rows of n columns, whose values are good until each returns.
func (s *statements) rows(query string, args []any, n int, each func(values []any)) error {
	p, err := s.statement(query)
	if err != nil {
		return err
	}
	rows, err := p.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values, into := make([]any, n), make([]any, n)
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		each(values)
	}
	return rows.Err()
}
