package store_test

import (
	"compress/gzip"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/provision/provisiontest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// fixtures are databases as released or earlier binaries left them: a demo, and
// two people whose accounts are still to be made.
func fixture(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer func() { _ = f.Close() }() // it was only read
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

// old puts the fixture of schema version 12 at a new database's URL.
func old(t *testing.T, url string) {
	t.Helper()
	if path, lite := strings.CutPrefix(url, "sqlite://"); lite {
		require.NoError(t, os.WriteFile(path, fixture(t, "schema-12.sqlite.gz"), 0o600))
		return
	}
	db, err := sql.Open("pgx", url+"&default_query_exec_mode=simple_protocol")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), string(fixture(t, "schema-12.postgres.sql.gz")))
	require.NoError(t, err)
}

func openWith(t *testing.T, url string, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, o)
	require.NoError(t, err)
	return s
}

// read reads what the invariants are about.
func read(t *testing.T, s *store.Store) provisiontest.Records {
	t.Helper()
	r := provisiontest.Records{Logs: map[string][]*host.UserProvisioningLog{}, Jobs: map[string]int{}, Now: time.Now()}
	require.NoError(t, s.View(t.Context(), func(tx *store.Tx) (err error) {
		if r.Requests, err = tx.Requests(t.Context(), store.RequestFilter{Limit: 1_000_000}); err != nil {
			return err
		}
		for _, q := range r.Requests {
			if r.Logs[q.Id], err = tx.Logs(t.Context(), q.Id); err != nil {
				return err
			}
			if !q.State.Ended() && q.Operation != host.Reconcile {
				r.Jobs[q.Id]++ // the queue's own tests say that it has one
			}
		}
		r.Accounts, err = tx.Accounts(t.Context(), store.AccountFilter{Limit: 1_000_000})
		return err
	}))
	return r
}

// violations are those of the requests that provision; a run ends in other ways.
func violations(r provisiontest.Records) []string {
	r.Requests = slices.DeleteFunc(slices.Clone(r.Requests), func(q *host.UserProvisioningRequest) bool { return q.Operation == host.Reconcile })
	return r.Violations()
}

func TestADatabaseOfAnOlderSchemaIsMigratedWithAllThatItHas(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		old(t, url)
		version, err := store.Version(t.Context(), url)
		require.NoError(t, err)
		require.Equal(t, 12, version)

		s := openWith(t, url, store.Options{Copies: 3})
		records := read(t, s)
		require.NoError(t, s.Close())
		require.Len(t, records.Requests, 252)
		require.Len(t, records.Accounts, 224)
		require.Empty(t, violations(records))
		version, err = store.Version(t.Context(), url)
		require.NoError(t, err)
		require.Equal(t, store.Newest(), version)

		require.NoError(t, openWith(t, url, store.Options{Copies: 3}).Close())
		copies, err := store.Copies(url)
		require.NoError(t, err)
		if strings.HasPrefix(url, "postgres") {
			require.Empty(t, copies)
			return
		}
		require.Len(t, copies, 1)
		require.Equal(t, 12, copies[0].Version)
		version, err = store.CheckCopy(t.Context(), copies[0].Path)
		require.NoError(t, err)
		require.Equal(t, 12, version)
		info, err := os.Stat(copies[0].Path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
}

func TestTheWayBackIsTheCopyWithTheOlderBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "provost.db")
	url := "sqlite://" + path
	old(t, url)
	s := openWith(t, url, store.Options{Copies: 2})
	require.NoError(t, s.Close())
	copies, err := store.Copies(url)
	require.NoError(t, err)
	require.Len(t, copies, 1)

	undo := store.UpTo(12)
	defer undo()
	_, err = store.Open(t.Context(), url, store.Options{})
	require.ErrorContains(t, err, "it was used by a newer provost", "the older binary takes the newer schema")

	r := &store.Replacement{File: copies[0].Path, Mark: store.Restoration{Taken: copies[0].Date, Date: time.Now(), Actor: "test", Source: copies[0].Path}}
	marked, err := store.Replace(t.Context(), url, r)
	require.NoError(t, err)
	require.EqualValues(t, 2, marked.Requests)
	require.FileExists(t, r.KeptAs)
	kept, err := store.CheckCopy(t.Context(), r.KeptAs)
	require.NoError(t, err)
	require.Greater(t, kept, 12, "what was there is not kept")

	version, err := store.Version(t.Context(), url)
	require.NoError(t, err)
	require.Equal(t, 12, version)
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		require.NoFileExists(t, path+suffix)
	}
	db, err := sql.Open("provost-sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var open, uncertain int
	require.NoError(t, db.QueryRow("SELECT COUNT(*), SUM(uncertain) FROM user_provisioning_requests WHERE state = 'New'").Scan(&open, &uncertain))
	require.Equal(t, 2, open)
	require.Equal(t, 2, uncertain, "what may have been done since is tried as if it had not")
}

func TestCopiesAreKeptForSoManyUpgradesAndMadeBeforeAnythingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "provost.db")
	old(t, "sqlite://"+path)
	for _, name := range []string{".v9-20250101T000000Z", ".v10-20250601T000000Z", ".v11-20260101T000000Z", ".v1x-20260101T000000Z", "-wal.v9-20250101T000000Z"} {
		require.NoError(t, os.WriteFile(path+name, nil, 0o600))
	}
	require.NoError(t, openWith(t, "sqlite://"+path, store.Options{Copies: 2}).Close())
	copies, err := store.Copies("sqlite://" + path)
	require.NoError(t, err)
	require.Len(t, copies, 2)
	require.Equal(t, []int{12, 11}, []int{copies[0].Version, copies[1].Version})
	require.FileExists(t, path+".v1x-20260101T000000Z", "a stranger's file")

	// Where no copy can be made nothing is changed.
	other := filepath.Join(t.TempDir(), strings.Repeat("x", 240)) // a copy's name is too long
	old(t, "sqlite://"+other)
	_, err = store.Open(t.Context(), "sqlite://"+other, store.Options{Copies: 2})
	require.ErrorContains(t, err, "nothing was changed")
	version, err := store.Version(t.Context(), "sqlite://"+other)
	require.NoError(t, err)
	require.Equal(t, 12, version)
}

func TestACopyIsOfOneMomentWhileOthersWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "provost.db")
	s := openWith(t, "sqlite://"+path, store.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	wrote := make(chan struct{}, 100)
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("u%d-%d", w, i)
				// Two people a transaction: a copy with an odd number is torn.
				err := s.Update(ctx, func(tx *store.Tx) error {
					for _, half := range []string{"a", "b"} {
						if err := tx.PutUser(ctx, &host.User{User: pdk.User{Id: host.NewID(), Username: name + half, IsActive: true}}); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil && ctx.Err() == nil {
					t.Errorf("write: %v", err)
					return
				}
				select {
				case wrote <- struct{}{}:
				default:
				}
			}
		})
	}
	last := int64(0)
	for i := range 5 {
		for range 50 {
			<-wrote
		}
		to := filepath.Join(t.TempDir(), fmt.Sprintf("copy%d", i))
		require.NoError(t, s.Copy(t.Context(), to))
		version, err := store.CheckCopy(t.Context(), to)
		require.NoError(t, err)
		require.Equal(t, store.Newest(), version)
		c := openWith(t, "sqlite://"+to, store.Options{})
		require.NoError(t, c.View(t.Context(), func(tx *store.Tx) error {
			n, err := tx.CountUsers(t.Context())
			require.Zero(t, n%2, "the copy is torn")
			require.Greater(t, n, last, "nobody wrote meanwhile")
			last = n
			return err
		}))
		require.NoError(t, c.Close())
	}
	stop()
	writers.Wait()
	require.ErrorContains(t, s.Copy(t.Context(), path), "exists", "a file is overwritten")
	require.NoError(t, s.Close())
}

func TestADamagedCopyIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	b := fixture(t, "schema-12.sqlite.gz")
	for name, damage := range map[string]func([]byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)/2] },
		"noise": func(b []byte) []byte { copy(b[40<<10:], strings.Repeat("provost", 9000)); return b },
		"other": func([]byte) []byte { return []byte("people: []\n") },
		"empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, damage(append([]byte(nil), b...)), 0o600))
			_, err := store.CheckCopy(t.Context(), path)
			require.ErrorContains(t, err, "is no whole database")
		})
	}
}
