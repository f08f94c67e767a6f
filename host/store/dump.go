package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/provosthq/provost/host"
)

// Dump writes what the PostgreSQL schema of the database has at one moment to a
// new file, as pg_dump's custom format. Others read and write meanwhile. Where
// pg_dump is missing or too old, the error says what to run instead.
func (s *Store) Dump(ctx context.Context, path string) (err error) {
	if s.dialect != "postgres" {
		return host.Errorf(host.Unsupported, "only a PostgreSQL database is dumped")
	}
	c, err := connectionOf(ctx, s.write, s.url)
	if err != nil {
		return s.explain(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return host.Errorf(host.Unavailable, "the dump can't be made: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := c.run(ctx, "pg_dump", nil, f, "--format=custom", "--compress=0", "--no-owner", "--no-privileges", "--schema="+c.quotedSchema()); err != nil {
		return err
	}
	return f.Sync()
}

// Load puts a dump in the place of what a PostgreSQL schema has, which nobody
// may use. What was there is kept in a schema of another name, and is back where
// anything fails.
func Load(ctx context.Context, databaseURL, path string, force bool, r Restoration) (m Marked, keptAs string, err error) {
	explain := (&Store{dialect: "postgres"}).explain
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return m, "", host.Errorf(host.InvalidInput, "database.url is no PostgreSQL URL")
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(2)
	c, err := connectionOf(ctx, db, databaseURL)
	if err != nil {
		return m, "", explain(err)
	}
	there, err := c.lookAt(ctx, db)
	switch {
	case err != nil:
		return m, "", explain(err)
	case there.alive:
		return m, "", host.Errorf(host.Conflict, "a daemon uses the database, or did until a moment ago; stop all of them, and wait ten seconds")
	case there.tables > 0 && !force:
		return m, "", host.Errorf(host.Conflict, "the schema %s of the database has tables already; --force puts the backup in their place, and keeps them in a schema of another name", c.schema)
	case there.stranger != "":
		return m, "", host.Errorf(host.Conflict, "the schema %s has %s, which is not Provost's: restore to a schema or a database of its own", c.schema, there.stranger)
	}
	exec := func(format string, names ...any) error {
		for i, n := range names {
			names[i] = pgx.Identifier{n.(string)}.Sanitize()
		}
		_, err := db.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf(format, names...))
		return explain(err)
	}
	kept := ""
	if there.tables > 0 {
		kept = c.schema + "_replaced_" + strings.ToLower(r.Date.UTC().Format(copyTime))
		if err := exec("ALTER SCHEMA %s RENAME TO %s", c.schema, kept); err != nil {
			return m, "", err
		}
	} else if err := exec("DROP SCHEMA IF EXISTS %s", c.schema); err != nil { // the dump makes it
		return m, "", err
	}
	defer func() {
		if err == nil {
			return
		}
		if kept != "" {
			err = errors.Join(err, exec("DROP SCHEMA IF EXISTS %s CASCADE", c.schema), exec("ALTER SCHEMA %s RENAME TO %s", kept, c.schema))
		} else {
			err = errors.Join(err, exec("DROP SCHEMA IF EXISTS %s CASCADE", c.schema), exec("CREATE SCHEMA %s", c.schema))
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return m, "", host.Errorf(host.InvalidInput, "%w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	if err := c.run(ctx, "pg_restore", f, nil, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"); err != nil {
		return m, "", err
	}
	if m, err = mark(ctx, db, "postgres", r); err != nil {
		return m, "", explain(err)
	}
	return m, kept, nil
}

// connection is what PostgreSQL's own programs need to know.
type connection struct {
	uri, password, schema string
}

// ownParameters are those of pgx that PostgreSQL's programs do not know.
var ownParameters = []string{"search_path", "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity", "statement_cache_mode", "prefer_simple_protocol"}

func connectionOf(ctx context.Context, db *sql.DB, databaseURL string) (c connection, err error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return c, host.Errorf(host.InvalidInput, "database.url is no PostgreSQL URL")
	}
	c.password = cfg.Password
	u, err := url.Parse(databaseURL)
	if err != nil {
		return c, host.Errorf(host.InvalidInput, "database.url is no URL")
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Del("password")
	for name := range query {
		if slices.Contains(ownParameters, name) || strings.HasPrefix(name, "pool_") {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	c.uri = u.String()
	var schema sql.NullString
	if err := db.QueryRowContext(ctx, "SELECT current_schema()").Scan(&schema); err != nil {
		return c, err
	}
	if c.schema = schema.String; c.schema == "" {
		c.schema = strings.Trim(strings.TrimSpace(strings.SplitN(cfg.RuntimeParams["search_path"], ",", 2)[0]), `"`)
	}
	if c.schema == "" {
		return c, host.Errorf(host.InvalidInput, "the database has no schema to be used: make one, or name it with search_path in database.url")
	}
	return c, nil
}

// quotedSchema is the schema as a pattern that means it alone.
func (c connection) quotedSchema() string { return `"` + strings.ReplaceAll(c.schema, `"`, `""`) + `"` }

// run runs one of PostgreSQL's programs. The password goes by the environment,
// where other users do not see it.
func (c connection) run(ctx context.Context, program string, stdin, stdout *os.File, args ...string) error {
	found, err := postgresProgram(program)
	if err != nil {
		return host.Errorf(host.Unsupported, "%s is not here (Debian: apt install postgresql-client); or run it where it is: %s %s --dbname=URL",
			program, program, strings.Join(args, " "))
	}
	cmd := exec.CommandContext(ctx, found, append(args, "--no-password", "--dbname="+c.uri)...)
	cmd.Env = os.Environ()
	if c.password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+c.password)
	}
	cmd.WaitDelay = 5 * time.Second
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	said := new(bytes.Buffer)
	cmd.Stderr = &firstBytes{to: said, left: 4 << 10}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return host.Errorf(host.Unavailable, "%s: %w: %s", program, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// firstBytes keeps the beginning of what is written.
type firstBytes struct {
	to   *bytes.Buffer
	left int
}

func (w *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.to.Write(p[:n])
	w.left -= n
	return len(p), nil
}

var debianPrograms = "/usr/lib/postgresql/*/bin/"

// postgresProgram finds a program of PostgreSQL's: on the path, else the newest
// where Debian puts them.
func postgresProgram(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err == nil {
		return found, nil
	}
	versions, _ := filepath.Glob(debianPrograms + name) // the pattern is right
	slices.SortFunc(versions, func(a, b string) int { return majorOf(a) - majorOf(b) })
	if len(versions) == 0 {
		return "", err
	}
	return versions[len(versions)-1], nil
}

func majorOf(program string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program)))) // 0 for what is no version
	return n
}

// found is what stands in a schema.
type found struct {
	tables   int
	alive    bool
	stranger string
}

var created = regexp.MustCompile(`CREATE TABLE (?:IF NOT EXISTS )?(\w+)`)

// lookAt tells what a schema has, whether a daemon uses it, and whether there is
// anything that neither we nor the queue have made.
func (c connection) lookAt(ctx context.Context, db *sql.DB) (there found, err error) {
	ours := map[string]bool{"provost_schema": true}
	for _, m := range migrations {
		for _, name := range created.FindAllStringSubmatch(m.sql+m.own["postgres"], -1) {
			ours[name[1]] = true
		}
	}
	rows, err := db.QueryContext(ctx, `SELECT c.relname, 'table' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		UNION ALL SELECT e.extname, 'extension' FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname = $1`, c.schema)
	if err != nil {
		return there, err
	}
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return there, errors.Join(err, rows.Close())
		}
		if kind == "table" {
			there.tables++
		}
		if kind != "table" || !ours[name] && !strings.HasPrefix(name, "river_") {
			there.stranger = "the " + kind + " " + name
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return there, err
	}
	leases, err := hasTable(ctx, db, "postgres", "worker_leases")
	if err != nil || !leases {
		return there, err
	}
	return there, db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM worker_leases WHERE expires > extract(epoch FROM clock_timestamp()))").Scan(&there.alive)
}
