package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestADumpIsLoadedInThePlaceOfWhatIsThere(t *testing.T) {
	url := storetest.Postgres(t)
	old(t, url)
	s := openWith(t, url, store.Options{})
	dump := filepath.Join(t.TempDir(), "dump")
	require.NoError(t, s.Dump(t.Context(), dump))
	require.Equal(t, host.Unsupported, host.CodeOf(s.Copy(t.Context(), dump+"2")))
	require.NoError(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertRequest(t.Context(), request()) }))
	require.NoError(t, s.Close())
	r := store.Restoration{Taken: time.Now().Add(-time.Hour), Date: time.Now(), Actor: "test", Source: "a test"}

	_, _, err := store.Load(t.Context(), url, dump, false, r)
	require.Equal(t, host.Conflict, host.CodeOf(err))
	require.ErrorContains(t, err, "--force")

	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	exec := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	exec("INSERT INTO worker_leases (client_id, expires) VALUES ('somebody', extract(epoch FROM now())::bigint + 8)")
	_, _, err = store.Load(t.Context(), url, dump, true, r)
	require.ErrorContains(t, err, "a daemon uses the database")
	exec("DELETE FROM worker_leases")
	exec("CREATE TABLE theirs (id int)")
	_, _, err = store.Load(t.Context(), url, dump, true, r)
	require.ErrorContains(t, err, "the table theirs, which is not Provost's")
	exec("DROP TABLE theirs")

	broken := filepath.Join(t.TempDir(), "broken")
	b, err := os.ReadFile(dump)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(broken, b[:len(b)/2], 0o600))
	_, _, err = store.Load(t.Context(), url, broken, true, r)
	require.ErrorContains(t, err, "pg_restore")
	s = openWith(t, url, store.Options{})
	require.Len(t, read(t, s).Requests, 253, "what was there is not back")
	require.NoError(t, s.Close())

	marked, kept, err := store.Load(t.Context(), url, dump, true, r)
	require.NoError(t, err)
	require.EqualValues(t, 2, marked.Requests)
	var before int
	require.NoError(t, db.QueryRow("SELECT COUNT(*) FROM "+kept+".user_provisioning_requests").Scan(&before))
	require.Equal(t, 253, before, "what was there is not kept")
	s = openWith(t, url, store.Options{})
	records := read(t, s)
	require.Len(t, records.Requests, 252)
	require.Empty(t, violations(records))
	for _, q := range records.Requests {
		require.Equal(t, q.State == host.StateNew || q.State == host.StateFailed, q.Uncertain && q.State != host.StateCompleted, "%s is %s", q.Name(), q.State)
	}
	require.NoError(t, s.View(t.Context(), func(tx *store.Tx) error {
		require.WithinDuration(t, r.Date, tx.Restored(), time.Second)
		return nil
	}))
	require.NoError(t, s.Close())

	// To an empty database of elsewhere, by a password that no command line shows.
	elsewhere := storetest.Postgres(t)
	_, kept, err = store.Load(t.Context(), elsewhere, dump, false, r)
	require.NoError(t, err)
	require.Empty(t, kept)
	s = openWith(t, elsewhere, store.Options{})
	require.Len(t, read(t, s).Requests, 252)
	require.NoError(t, s.Close())
}

func TestWithoutPostgresOwnProgramsTheErrorSaysWhatToRun(t *testing.T) {
	url := storetest.Postgres(t)
	s := openWith(t, url, store.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	t.Setenv("PATH", t.TempDir())
	defer store.WithoutPrograms()()
	err := s.Dump(t.Context(), filepath.Join(t.TempDir(), "dump"))
	require.Equal(t, host.Unsupported, host.CodeOf(err))
	require.ErrorContains(t, err, "apt install postgresql-client")
	require.ErrorContains(t, err, "pg_dump --format=custom")
}
