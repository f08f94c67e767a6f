// Package storetest runs one test on each database that the store knows. Its
// PostgreSQL is a server of the test process's own, in a temporary folder.
package storetest

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
)

var (
	once     sync.Once
	dir      string
	bin      string
	port     int
	startErr error
	count    atomic.Int64
)

// Each runs fn with a new, empty database of each kind.
func Each(t *testing.T, fn func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, "sqlite://"+filepath.Join(t.TempDir(), "test.db")) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// Bench runs fn as [Each] does, as benchmarks.
func Bench(b *testing.B, fn func(b *testing.B, url string)) {
	b.Run("sqlite", func(b *testing.B) { fn(b, "sqlite://"+filepath.Join(b.TempDir(), "test.db")) })
	b.Run("postgres", func(b *testing.B) { fn(b, Postgres(b)) })
}

// Postgres returns the URL of a new database. Where PostgreSQL is missing the
// test is skipped, or fails when CI is set.
func Postgres(t testing.TB) string {
	t.Helper()
	once.Do(func() { startErr = start() })
	if startErr != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL: %v", startErr)
		}
		t.Skipf("PostgreSQL: %v", startErr)
	}
	name := fmt.Sprintf("t%d", count.Add(1))
	db, err := sql.Open("pgx", at("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return at(name)
}

// Main runs the tests of a package and stops the server afterwards.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop stops the server, if one was started.
func Stop() {
	if dir == "" {
		return
	}
	_ = run("pg_ctl", "-D", filepath.Join(dir, "data"), "-m", "immediate", "-w", "stop")
	_ = os.RemoveAll(dir)
}

func at(name string) string {
	return fmt.Sprintf("postgres://provost@127.0.0.1:%d/%s?sslmode=disable", port, name)
}

func start() error {
	path, err := exec.LookPath("pg_ctl")
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
		if len(found) == 0 {
			return err
		}
		path = found[len(found)-1]
	}
	bin = filepath.Dir(path)
	if dir, err = os.MkdirTemp("/tmp", "storetest"); err != nil {
		return err
	}
	if err := giveToServer(dir); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	data := filepath.Join(dir, "data")
	if err := run("initdb", "-D", data, "-U", "provost", "-A", "trust", "-E", "UTF8", "-N"); err != nil {
		return err
	}
	options := fmt.Sprintf("-c listen_addresses=127.0.0.1 -c port=%d -c unix_socket_directories='' -c fsync=off -c max_connections=200", port)
	return run("pg_ctl", "-D", data, "-l", filepath.Join(dir, "log"), "-w", "-o", options, "start")
}

func run(program string, args ...string) error {
	c := exec.Command(filepath.Join(bin, program), args...)
	c.Dir = dir
	asServer(c)
	out, err := os.CreateTemp("", "storetest") // not a pipe: the server keeps it open
	if err != nil {
		return err
	}
	defer func() { _ = out.Close(); _ = os.Remove(out.Name()) }()
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return nil
}
