package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"

	"github.com/provosthq/provost/host"
)

// Copy writes what the database has at one moment to a new SQLite file, which
// only its owner may read. Others read and write meanwhile; the log of changes
// (WAL) grows until it ends. What was deleted is not in the copy. On PostgreSQL
// it is Unsupported: see [Store.Dump].
func (s *Store) Copy(ctx context.Context, path string) error {
	if s.dialect != "sqlite" {
		return host.Errorf(host.Unsupported, "only a SQLite database is copied as a file")
	}
	return s.explain(copySQLite(ctx, sqlitePath(s.url), path))
}

// CopyFile copies a SQLite database that no store has open, as [Store.Copy] does.
func CopyFile(ctx context.Context, from, to string) error {
	return (&Store{dialect: "sqlite"}).explain(copySQLite(ctx, from, to))
}

func copySQLite(ctx context.Context, from, to string) (err error) {
	// VACUUM INTO takes an empty file as it is, with its mode.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return host.Errorf(host.Unavailable, "the copy can't be made: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(to))
		}
	}()
	db, err := sql.Open("provost-sqlite", sqliteFile(from)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return f.Sync()
}

// CheckCopy tells whether a SQLite file that nobody writes to is whole, and
// which version its schema has. It is not changed.
func CheckCopy(ctx context.Context, path string) (version int, err error) {
	db, err := sql.Open("provost-sqlite", sqliteFile(path)+"?mode=ro&immutable=1&_pragma=query_only(1)")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	broken := func(format string, args ...any) error {
		return host.Errorf(host.InvalidInput, "%s is no whole database: %w", filepath.Base(path), fmt.Errorf(format, args...))
	}
	var said string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&said); err != nil || said != "ok" {
		return 0, broken("integrity_check: %s %w", said, err)
	}
	rows, err := db.QueryContext(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return 0, broken("foreign_key_check: %w", err)
	}
	lost := rows.Next()
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || lost {
		return 0, broken("foreign_key_check: a row names another that is not there: %w", err)
	}
	if version, err = versionOf(ctx, db, "sqlite"); err == nil && version == 0 {
		err = broken("it has no tables of Provost's")
	}
	return version, err
}

// Version is that of the schema of a database, 0 for an empty one, also of one
// that this binary can't use and of one that is in use. Nothing is changed.
func Version(ctx context.Context, databaseURL string) (version int, err error) {
	dialect, driver, name := "postgres", "pgx", databaseURL
	if isSQLite(databaseURL) {
		path := sqlitePath(databaseURL)
		if _, err := os.Stat(path); err != nil {
			return 0, nil
		}
		dialect, driver, name = "sqlite", "provost-sqlite", sqliteFile(path)+"?mode=rw&_pragma=busy_timeout(10000)&_pragma=query_only(1)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return 0, host.Errorf(host.InvalidInput, "database.url is no URL of a database")
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	version, err = versionOf(ctx, db, dialect)
	return version, (&Store{dialect: dialect}).explain(err)
}

// Newest is the version of the schema that this binary makes.
func Newest() int { return schemaVersion() }

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func versionOf(ctx context.Context, db queryer, dialect string) (version int, err error) {
	there, err := hasTable(ctx, db, dialect, "provost_schema")
	if err != nil || !there {
		return 0, err
	}
	return version, db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM provost_schema").Scan(&version)
}

func hasTable(ctx context.Context, db queryer, dialect, name string) (there bool, err error) {
	if dialect == "postgres" {
		return there, db.QueryRowContext(ctx, "SELECT to_regclass(quote_ident(current_schema()) || '.' || $1) IS NOT NULL", name).Scan(&there)
	}
	var n int
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", name).Scan(&n)
	return n > 0, err
}

// SavedCopy is a copy of a SQLite database that was made before its schema was
// changed.
type SavedCopy struct {
	Path    string    `json:"path"`
	Version int       `json:"version"`
	Date    time.Time `json:"date"`
	Size    int64     `json:"size"`
}

const copyTime = "20060102T150405Z"

var copyName = regexp.MustCompile(`\.v([0-9]+)-([0-9]{8}T[0-9]{6}Z)$`)

// Copies lists the copies that stand beside a SQLite database, newest first;
// none for PostgreSQL.
func Copies(databaseURL string) ([]SavedCopy, error) {
	if !isSQLite(databaseURL) {
		return nil, nil
	}
	path := sqlitePath(databaseURL)
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the database's folder: %w", err)
	}
	var list []SavedCopy
	for _, f := range files {
		rest, ours := strings.CutPrefix(f.Name(), filepath.Base(path))
		m := copyName.FindStringSubmatch(rest)
		if !ours || m == nil || m[0] != rest {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue // it went away meanwhile
		}
		c := SavedCopy{Path: filepath.Join(filepath.Dir(path), f.Name()), Size: info.Size()}
		if c.Version, err = strconv.Atoi(m[1]); err != nil {
			continue
		}
		if c.Date, err = time.Parse(copyTime, m[2]); err != nil {
			continue
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b SavedCopy) int { return b.Date.Compare(a.Date) })
	return list, nil
}

// keepBefore copies a SQLite database whose schema is about to be changed, and
// drops the oldest of more than keep copies. A copy that can't be made stops
// the change.
func (s *Store) keepBefore(ctx context.Context, version, keep int, log *slog.Logger) error {
	path := sqlitePath(s.url)
	to := fmt.Sprintf("%s.v%d-%s", path, version, time.Now().UTC().Format(copyTime))
	if _, err := os.Stat(to); err == nil {
		return nil // made in this very second, by a start that was cut off
	}
	unfinished := to + ".unfinished"
	_ = os.Remove(unfinished) // of a start that was cut off; what can't go can't be made either
	err := copySQLite(ctx, path, unfinished)
	if err == nil {
		err = os.Rename(unfinished, to)
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return host.Errorf(host.Unavailable, "the schema would be changed from version %d to %d, and no copy could be made before: %w; nothing was changed: make room in %s, or do without one (database.copies: 0)",
			version, schemaVersion(), s.explain(err), filepath.Dir(to))
	}
	log.InfoContext(ctx, "the database was copied before its schema is changed", "copy", to, "version", version, "to", schemaVersion())
	list, err := Copies(s.url)
	if err != nil {
		return err
	}
	for _, old := range list[min(keep, len(list)):] {
		if err := os.Remove(old.Path); err != nil {
			log.WarnContext(ctx, "an old copy of the database can't be removed", "copy", old.Path, "error", err)
		}
	}
	return nil
}

// Replacement says how a SQLite database is replaced by another file.
type Replacement struct {
	// File takes the place; it is in the same folder, and is moved.
	File string
	// Mark is what whoever opens it must know.
	Mark Restoration
	// KeptAs is where the database that was there went, with Replace's end; "" for
	// none.
	KeptAs string
}

// Replace puts another file in the place of a SQLite database that nobody uses.
// What was there stays beside it. Cut off at any point there is one of the two:
// the file is marked and whole before it takes the place.
func Replace(ctx context.Context, databaseURL string, r *Replacement) (m Marked, err error) {
	path := sqlitePath(databaseURL)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return m, host.Errorf(host.Unavailable, "the database's folder: %w", err)
	}
	lock := flock.New(path + ".lock")
	held, err := lock.TryLock()
	if err != nil {
		return m, host.Errorf(host.Unavailable, "the database's lock: %w", err)
	}
	if !held {
		return m, host.Errorf(host.Conflict, "the database %s is in use; stop the daemon first", path)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if m, err = markFile(ctx, r.File, r.Mark); err != nil {
		return m, err
	}
	if _, err := os.Stat(path); err == nil {
		kept := path + ".replaced-" + r.Mark.Date.UTC().Format(copyTime)
		// What its log (WAL) still holds goes into the file first, so that the file
		// alone is the database.
		if err := settle(ctx, path); err != nil {
			return m, err
		}
		if err := os.Link(path, kept); err != nil {
			return m, host.Errorf(host.Unavailable, "the database that is there can't be kept: %w", err)
		}
		r.KeptAs = kept
	}
	if err := os.Rename(r.File, path); err != nil {
		return m, host.Errorf(host.Unavailable, "%w", err)
	}
	return m, syncDir(filepath.Dir(path))
}

// settle empties the log of a SQLite database that nobody uses. One that can't
// be read has none that could be saved.
func settle(ctx context.Context, path string) error {
	db, err := sql.Open("provost-sqlite", sqliteFile(path)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "PRAGMA journal_mode = DELETE")
	if err := errors.Join(err, db.Close()); err != nil && isDamaged(err) {
		for _, suffix := range []string{"-wal", "-shm"} { // they would be taken for those of the next
			if err := os.Rename(path+suffix, path+".damaged"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return host.Errorf(host.Unavailable, "%w", err)
			}
		}
		return nil
	} else if err != nil {
		return (&Store{dialect: "sqlite"}).explain(err)
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return host.Errorf(host.Conflict, "another program reads the database %s; stop it first", path)
	}
	return nil
}

func isDamaged(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == 11 || lite.Code()&0xff == 26) // SQLITE_CORRUPT, SQLITE_NOTADB
}

// markFile marks a database that is a file of its own, and leaves no log beside
// it.
func markFile(ctx context.Context, path string, r Restoration) (m Marked, err error) {
	db, err := sql.Open("provost-sqlite", sqliteFile(path)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(DELETE)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return m, err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	return mark(ctx, db, "sqlite", r)
}

func isSQLite(databaseURL string) bool { return strings.HasPrefix(databaseURL, "sqlite:") }

func sqlitePath(databaseURL string) string {
	return strings.TrimPrefix(strings.TrimPrefix(databaseURL, "sqlite:"), "//")
}

func sqliteFile(path string) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String()
}

// syncDir makes what was renamed in a folder outlive a loss of power.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which has no such thing
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
