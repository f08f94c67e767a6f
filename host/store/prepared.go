package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"

	"modernc.org/sqlite"
)

// To parse a statement costs SQLite more than to run it. The driver below is
// modernc.org/sqlite with the statements that have parameters kept, by their
// text, on the connection that prepared them: pgx does the same for PostgreSQL
// by itself.

func init() { sql.Register("provost-sqlite", &preparedDriver{}) }

// mostPrepared bounds what one connection keeps.
const mostPrepared = 256

type preparedDriver struct{ sqlite.Driver }

// Open opens a connection that keeps its statements.
func (d *preparedDriver) Open(name string) (driver.Conn, error) {
	c, err := d.Driver.Open(name)
	if err != nil {
		return nil, err
	}
	return &preparedConn{Conn: c, idle: map[string]*preparedStmt{}}, nil
}

// preparedConn is a connection. As database/sql promises, it is used by one
// goroutine at a time. It has no Query and Exec of its own, so that everything
// goes through PrepareContext.
type preparedConn struct {
	driver.Conn
	idle map[string]*preparedStmt
	// order is the oldest first.
	order []string
}

func (c *preparedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if s := c.idle[query]; s != nil {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil || !strings.Contains(query, "?") {
		return s, err
	}
	return &preparedStmt{s, c, query}, nil
}

func (c *preparedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

func (c *preparedConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }

func (c *preparedConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

func (c *preparedConn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

func (c *preparedConn) Close() error {
	for _, s := range c.idle {
		_ = s.Stmt.Close() // the connection closes with them
	}
	c.idle = nil
	return c.Conn.Close()
}

type preparedStmt struct {
	driver.Stmt
	conn  *preparedConn
	query string
}

func (s *preparedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *preparedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// Close keeps the statement for the next who has its text.
func (s *preparedStmt) Close() error {
	c := s.conn
	if c.idle == nil || c.idle[s.query] != nil {
		return s.Stmt.Close()
	}
	c.idle[s.query] = s
	c.order = append(c.order, s.query)
	if len(c.order) < 4*mostPrepared {
		return nil
	}
	// What was used last stays.
	seen := map[string]bool{}
	var keep []string
	for i := len(c.order) - 1; i >= 0; i-- {
		q := c.order[i]
		if c.idle[q] == nil || seen[q] {
			continue
		}
		seen[q] = true
		if len(keep) < mostPrepared {
			keep = append(keep, q)
			continue
		}
		_ = c.idle[q].Stmt.Close()
		delete(c.idle, q)
	}
	c.order = c.order[:0]
	for i := len(keep) - 1; i >= 0; i-- {
		c.order = append(c.order, keep[i])
	}
	return nil
}
