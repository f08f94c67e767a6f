package store

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// Transaction is one that is over.
type Transaction struct {
	Writes, Committed bool
	// Took is from when it was asked for, Again how often it ran once more because
	// PostgreSQL ended it for the sake of another.
	Took  time.Duration
	Again int
}

// Began is when the transaction began, by this machine's clock.
func (t *Tx) Began() time.Time { return t.began }

// AfterCommit has something done once the transaction is committed, and not at
// all if it is not: what is to be told to somebody who can't be told that it was
// undone. It is done on the goroutine that asked for the transaction.
func (t *Tx) AfterCommit(do func()) { t.after = append(t.after, do) }

func (s *Store) observed(ctx context.Context, writes bool, fn func(*Tx) error, run func(context.Context, func(*Tx) error) (int, error)) error {
	began := time.Now()
	var last *Tx // fn may run again, and only the last counts
	again, err := run(ctx, func(t *Tx) error {
		last, t.began = t, time.Now()
		return fn(t)
	})
	if s.observe != nil {
		s.observe(Transaction{Writes: writes, Committed: err == nil, Took: time.Since(began), Again: again})
	}
	if err == nil && last != nil && host.DryRunOf(ctx) == nil {
		for _, do := range last.after {
			do()
		}
	}
	return err
}

// Pools are the connections of this process by what they are for; on PostgreSQL
// "write" is for both.
func (s *Store) Pools() map[string]sql.DBStats {
	pools := map[string]sql.DBStats{"write": s.write.Stats()}
	if s.read != s.write {
		pools["read"] = s.read.Stats()
	}
	return pools
}

// Bytes is the size of the database, with what SQLite has not yet moved into its
// file.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	if s.dialect == "postgres" {
		err = s.read.QueryRowContext(ctx, "SELECT pg_database_size(current_database())").Scan(&n)
		return n, s.explain(err)
	}
	path := strings.TrimPrefix(strings.TrimPrefix(s.url, "sqlite:"), "//")
	for _, name := range []string{path, path + "-wal"} {
		switch info, err := os.Stat(name); {
		case err == nil:
			n += info.Size()
		case !os.IsNotExist(err):
			return 0, host.Errorf(host.Unavailable, "the database's size: %w", err)
		}
	}
	return n, nil
}
