package store

import (
	"context"
	"database/sql"
	"slices"
	"time"
)

// Patient lets transactions go together however long they take.
func (s *Store) Patient() { s.combiner.longest = time.Hour }

// Waiting counts the transactions that wait for SQLite's writer, with the one
// that leads until it has begun.
func (s *Store) Waiting() int {
	s.combiner.mu.Lock()
	defer s.combiner.mu.Unlock()
	return len(s.combiner.waiting)
}

// CountsOfAccounts are the queries that count accounts.
var CountsOfAccounts = []string{countDrifted, countUndecided}

// UpTo makes this the binary of an older version until undo is called.
func UpTo(version int) (undo func()) {
	all := migrations
	for i, m := range all {
		if m.version > version {
			migrations = all[:i:i]
			break
		}
	}
	return func() { migrations = all }
}

// WithoutPrograms hides PostgreSQL's programs where Debian puts them.
func WithoutPrograms() (undo func()) {
	where := debianPrograms
	debianPrograms = "/nowhere/"
	return func() { debianPrograms = where }
}

// Listed lets fn be told of each query of a listing until undo is called.
func Listed(fn func(query string, args []any, explain func(prefix string) []string)) (undo func()) {
	listed = func(ctx context.Context, t *Tx, query string, args []any) {
		fn(query, args, func(prefix string) (lines []string) {
			rows, err := t.db.Tx.QueryContext(ctx, prefix+t.numbered(query), t.arguments(slices.Clone(args))...)
			if err != nil {
				return []string{err.Error()}
			}
			defer rows.Close()
			columns, _ := rows.Columns() // it is open
			for rows.Next() {
				cells := make([]any, len(columns))
				for i := range cells {
					cells[i] = new(sql.NullString)
				}
				if err := rows.Scan(cells...); err != nil {
					return []string{err.Error()}
				}
				lines = append(lines, cells[len(cells)-1].(*sql.NullString).String)
			}
			return lines
		})
	}
	return func() { listed = nil }
}

// NarrowSearches lets searches look at a few rows only until undo is called.
func NarrowSearches() (undo func()) {
	before := searchBounds
	searchBounds = bounds{soon: 5, walked: 20, searched: 25, matched: 60, sorted: 40}
	return func() { searchBounds = before }
}
