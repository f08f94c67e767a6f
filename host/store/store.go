// Package store keeps the domain's records in SQLite or PostgreSQL, by one
// code path. A [Store] gives transactions; a [Tx] has a method for each thing
// that the engines do with a record. It knows the domain and its constraints,
// and no engine.
package store

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"

	"github.com/provosthq/provost/host"
)

// Options are for [Open].
type Options struct {
	Logger *slog.Logger
	// Rehearse lets every transaction that writes run once and be undone before
	// it counts: for tests that it may run again.
	Rehearse bool
	// Observe is told of each transaction when it is over; nil for none.
	Observe func(Transaction)
	// Copies is how many copies of a SQLite database are kept that were made before
	// its schema was changed; 0 makes none.
	Copies int
}

// Store is one organisation's database.
type Store struct {
	dialect string // "sqlite" or "postgres"
	url     string
	write   *sql.DB
	read    *sql.DB // the same as write on PostgreSQL
	writer  *bun.DB
	reader  *bun.DB
	lock    *flock.Flock
	// configs are the apps' configs as last read, by app.
	configs  sync.Map
	rehearse bool
	observe  func(Transaction)
	// copies is Options.Copies, restored what [Tx.Restored] says.
	copies   int
	restored time.Time
	combiner combiner // on SQLite
	// cursors seals those of listings.
	cursors cipher.AEAD
}

// Open connects to sqlite://path or postgres://…, and brings the schema up to
// date. A SQLite file belongs to one process at a time.
func Open(ctx context.Context, databaseURL string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var s *Store
	var err error
	switch {
	case strings.HasPrefix(databaseURL, "sqlite:"):
		s, err = openSQLite(databaseURL)
	case strings.HasPrefix(databaseURL, "postgres://"), strings.HasPrefix(databaseURL, "postgresql://"):
		s, err = openPostgres(databaseURL)
	default:
		return nil, host.Errorf(host.InvalidInput, "database.url must begin with sqlite:// or postgres://")
	}
	if err != nil {
		return nil, err
	}
	s.rehearse, s.observe, s.copies = o.Rehearse, o.Observe, o.Copies
	err = s.prepare(ctx, o.Logger)
	if err == nil {
		err = s.readRestored(ctx)
	}
	if err == nil {
		err = s.readCursorKey(ctx)
	}
	if err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

func openSQLite(databaseURL string) (*Store, error) {
	path := sqlitePath(databaseURL)
	if strings.HasPrefix(path, ":memory:") {
		return nil, host.Errorf(host.InvalidInput, "database.url %q keeps nothing: what is stored must outlive the process; write sqlite:///var/lib/provost/provost.db", databaseURL)
	}
	if path == "" || strings.Contains(path, "?") {
		return nil, host.Errorf(host.InvalidInput, "database.url %q names no file; write sqlite:///var/lib/provost/provost.db", databaseURL)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, host.Errorf(host.Unavailable, "the database's folder: %w", err)
	}
	lock := flock.New(path + ".lock")
	held, err := lock.TryLock()
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "the database's lock: %w", err)
	}
	if !held {
		return nil, host.Errorf(host.Unavailable, "the database %s is in use by another provost; stop it, or talk to it through its socket", path)
	}
	file := sqliteFile(path)
	pragmas := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)"
	s := &Store{dialect: "sqlite", url: databaseURL, lock: lock, combiner: combiner{longest: longestCombined}}
	if s.write, err = sql.Open("provost-sqlite", file+pragmas+"&_txlock=immediate"); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	s.write.SetMaxOpenConns(1) // one writer: River's authors found it the only way without SQLITE_BUSY
	if s.read, err = sql.Open("provost-sqlite", file+pragmas+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, s.write.Close(), lock.Unlock())
	}
	s.read.SetMaxOpenConns(4)
	s.writer, s.reader = bun.NewDB(s.write, sqlitedialect.New()), bun.NewDB(s.read, sqlitedialect.New())
	return s, nil
}

func openPostgres(databaseURL string) (*Store, error) {
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "database.url is no PostgreSQL URL")
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	b := bun.NewDB(db, pgdialect.New())
	return &Store{dialect: "postgres", url: databaseURL, write: db, read: db, writer: b, reader: b}, nil
}

// prepare migrates our schema and River's.
func (s *Store) prepare(ctx context.Context, log *slog.Logger) error {
	if err := s.write.PingContext(ctx); err != nil {
		return err
	}
	if s.dialect == "postgres" {
		return s.preparePostgres(ctx, log)
	}
	m, err := rivermigrate.New(riversqlite.New(s.write), &rivermigrate.Config{Logger: log})
	if err != nil {
		return err
	}
	version, err := versionOf(ctx, s.write, s.dialect)
	if err != nil {
		return err
	}
	if version > 0 && version <= schemaVersion() && s.copies > 0 {
		queue, err := m.Validate(ctx, nil)
		if err != nil {
			return err
		}
		if version < schemaVersion() || !queue.OK {
			if err := s.keepBefore(ctx, version, s.copies, log); err != nil {
				return err
			}
		}
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo once it is committed
	if err := migrate(ctx, tx, s.dialect); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// preparePostgres holds the lock for the session, because River's migrations
// need a transaction each: one adds an enum value that the next one uses.
func (s *Store) preparePostgres(ctx context.Context, log *slog.Logger) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock(7207646)"); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(7207646)")
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo once it is committed
	if err := migrate(ctx, tx, s.dialect); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	m, err := rivermigrate.New(riverdatabasesql.New(s.write), &rivermigrate.Config{Logger: log})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// Close closes the connections and gives the file free.
func (s *Store) Close() error {
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Unlock())
	}
	return err
}

// Dialect is "sqlite" or "postgres".
func (s *Store) Dialect() string { return s.dialect }

// DB is the pool that writes, for the queue. On SQLite it has one connection.
func (s *Store) DB() *sql.DB { return s.write }

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.explain(s.read.PingContext(ctx)) }

// mostTries is how often a transaction that PostgreSQL ends for the sake of
// another is begun again.
const mostTries = 5

var errRehearsed = errors.New("it was only rehearsed")

// Update runs fn in a transaction that may write. fn may run again, and on
// another goroutine, so it must have no effect of its own outside.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.observed(ctx, true, fn, s.update)
}

// update also tells how often another transaction made it run again.
func (s *Store) update(ctx context.Context, fn func(*Tx) error) (again int, err error) {
	undo, dry := func() {}, host.DryRunOf(ctx)
	if dry != nil {
		undo = dry.Mark()
	}
	if s.rehearse {
		_ = s.once(ctx, s.writer, nil, func(t *Tx) error { return errors.Join(fn(t), errRehearsed) })
		undo()
	}
	if s.dialect == "sqlite" && dry == nil {
		return 0, s.explain(s.combine(ctx, fn))
	}
	for try := 1; ; try++ {
		err := s.once(ctx, s.writer, nil, fn)
		var pg *pgconn.PgError
		if try < mostTries && errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") {
			undo()
			continue
		}
		return try - 1, s.explain(err)
	}
}

// View runs fn in a transaction that only reads, from one moment's state.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.observed(ctx, false, fn, s.view)
}

func (s *Store) view(ctx context.Context, fn func(*Tx) error) (int, error) {
	o := &sql.TxOptions{ReadOnly: true}
	if s.dialect == "postgres" {
		o.Isolation = sql.LevelRepeatableRead
	} else {
		o = nil // the connection is query_only already
	}
	return 0, s.explain(s.once(ctx, s.reader, o, fn))
}

func (s *Store) once(ctx context.Context, db *bun.DB, o *sql.TxOptions, fn func(*Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo once it is committed
	t := &Tx{db: tx, bun: db, store: s, dialect: s.dialect}
	if err := fn(t); err != nil {
		return err
	}
	if err := t.appendAudit(ctx); err != nil {
		return err
	}
	if host.DryRunOf(ctx) != nil {
		return tx.Rollback()
	}
	return tx.Commit()
}

// explain turns the database's own errors into the host's.
func (s *Store) explain(err error) error {
	var known *host.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case 5, 6: // SQLITE_BUSY, SQLITE_LOCKED
			return host.Errorf(host.Unavailable, "the database is locked by another program: %w", err)
		case 13: // SQLITE_FULL
			return host.Errorf(host.Unavailable, "the disk is full; nothing was stored: %w", err)
		case 11, 26: // SQLITE_CORRUPT, SQLITE_NOTADB
			return host.Errorf(host.InvalidInput, "the file is no SQLite database or is damaged; restore a backup: %w", err)
		case 19: // SQLITE_CONSTRAINT
			return host.Errorf(host.Conflict, "the database refused it: %w", err)
		}
		return host.Errorf(host.Unavailable, "the database: %w", err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case strings.HasPrefix(pg.Code, "23"):
			return host.Errorf(host.Conflict, "the database refused it: %w", err)
		case strings.HasPrefix(pg.Code, "53"):
			return host.Errorf(host.Unavailable, "the database is out of room: %w", err)
		}
		return host.Errorf(host.Unavailable, "the database: %w", err)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return host.Errorf(host.Unavailable, "the database does not answer; check database.url and that it runs: %w", err)
	}
	return err
}
