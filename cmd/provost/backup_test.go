package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// posts counts how often a target was asked to make each account.
type posts struct {
	mu   sync.Mutex
	made map[string]int
}

func (p *posts) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body) // of a test
			r.Body = io.NopCloser(bytes.NewReader(b))
			var account struct{ UserName string }
			if json.Unmarshal(b, &account) == nil && account.UserName != "" {
				p.mu.Lock()
				p.made[account.UserName]++
				p.mu.Unlock()
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (p *posts) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.made)
}

func persons(from, to int) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "Username,LastName,Email,Title,IsActive")
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "p%d,Person,p%d@example.com,Engineer,true\n", i, i)
	}
	return b.Bytes()
}

func settled(st api.Status) bool {
	for state, n := range st.Apps[0].Requests {
		if !state.Ended() && n > 0 {
			return false
		}
	}
	return true
}

// stop lets the daemon end as an operator does.
func (w *killWorld) stop() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NoError(w.t, w.daemon.Process.Signal(os.Interrupt))
	require.NoError(w.t, w.daemon.Wait(), w.log)
	w.daemon = nil
}

// A backup is taken in the middle of the work; much is done afterwards, by old
// requests and by new people; then everything is lost, and restored.
func TestNothingIsMadeTwiceAfterABackupFromTheMiddleOfTheWorkIsRestored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		w := newKillWorld(t, url, 100)
		seen := &posts{made: map[string]int{}}
		server := httptest.NewServer(seen.before(http.HandlerFunc(w.serve)))
		t.Cleanup(server.Close)
		w.file = killConfig(t, t.TempDir(), w.database, server.URL, w.token, 100)
		run := func(stdin []byte, args ...string) string {
			t.Helper()
			out, err := w.provost(stdin, args...)
			require.NoError(t, err)
			return string(out)
		}
		w.start()
		w.until("the start", func(api.Status) bool { return true })
		run(persons(0, 60), "user", "import", "-", "--format", "csv", "--assign", "acme")
		w.until("some accounts", func(api.Status) bool { return seen.count() > 5 })
		file := filepath.Join(t.TempDir(), "backup")
		said := run(nil, "backup", file)
		require.Contains(t, said, "1 files of configuration")
		run(persons(60, 90), "user", "import", "-", "--format", "csv", "--assign", "acme")
		w.until("provisioning", settled)
		require.Equal(t, 90, seen.count())
		_, err := w.provost(nil, "restore", file, "--force")
		require.ErrorContains(t, err, "a daemon runs; stop it first")
		w.stop()

		_, err = w.provost(nil, "restore", file)
		require.ErrorContains(t, err, "--force")
		require.Contains(t, run(nil, "restore", file, "--force"), "what was there is kept")
		require.Empty(t, recordsOf(t, w.database).Violations(), "the copy is not of one moment")
		w.start()
		w.until("what the backup knew", settled)
		require.Contains(t, run(nil, "notice", "list"), "acme was not reconciled as a whole since")
		run(persons(0, 90), "user", "import", "-", "--format", "csv", "--assign", "acme")
		w.until("what it did not know", settled)
		w.stop()
		records := recordsOf(t, w.database)
		require.Empty(t, records.Violations())
		linked := 0
		for _, a := range records.Accounts {
			if a.LinkState == host.Linked {
				linked++
			}
		}
		require.Equal(t, 90, linked)
		for name, n := range seen.made {
			require.Equal(t, 1, n, "%s was made again", name)
		}
		require.Len(t, w.behind.Accounts(), 90)
	})
}

func TestARestoreChecksEverythingBeforeItChangesAnything(t *testing.T) {
	dir := t.TempDir()
	identity := provost("credential", "identity").out
	keys := filepath.Join(dir, "identity")
	require.NoError(t, os.WriteFile(keys, []byte(identity), 0o600))
	sealer, err := secret.NewSealer(identity)
	require.NoError(t, err)
	sealed, err := sealer.Seal(secret.New("canary-0123456789"), "credential/Acme/bearer.token")
	require.NoError(t, err)
	home := filepath.Join(dir, "home")
	require.NoError(t, os.MkdirAll(filepath.Join(home, "conf.d"), 0o700))
	file, more := filepath.Join(home, "provost.yaml"), filepath.Join(home, "conf.d", "acme.yaml")
	text := fmt.Appendf(nil, "listen: {api: \"\", metrics: \"\"}\nsecrets: {identity_file: %q}\n", keys)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	require.NoError(t, os.WriteFile(more, fmt.Appendf(nil, "credentials:\n  - {name: Acme, endpoint: \"https://acme.example.com\", bearer: {token: {sealed: %q}}}\n", sealed), 0o600))
	archive := filepath.Join(dir, "backup")
	got := provost("backup", archive, "--config", file, "-o", "json")
	require.Equal(t, 0, got.code, got.errors)
	info, err := os.Stat(archive)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	got = provost("backup", archive, "--config", file)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "--force writes over it")
	left, err := filepath.Glob(filepath.Join(home, "data", ".backup-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	// What differs is named, and nothing changes.
	extra := filepath.Join(home, "conf.d", "later.yaml")
	require.NoError(t, os.WriteFile(extra, []byte("workers: 3\n"), 0o600))
	got = provost("restore", archive, "--config", file)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "later.yaml")

	// Without the key it would be worth nothing.
	require.NoError(t, os.Rename(keys, keys+".away"))
	got = provost("restore", archive, "--config", file, "--force")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "credentials.Acme.bearer.token is sealed with the key "+sealer.KeyID())
	require.NoError(t, os.Rename(keys+".away", keys))

	// A damaged archive.
	b, err := os.ReadFile(archive)
	require.NoError(t, err)
	broken := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(broken, b[:len(b)-100], 0o600))
	got = provost("restore", broken, "--config", file, "--force")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "cut off")
	require.FileExists(t, extra, "it was changed before all was checked")

	unfinished := filepath.Join(home, "data", ".restore-1")
	require.NoError(t, os.Mkdir(unfinished, 0o700))
	got = provost("restore", archive, "--config", file, "--force")
	require.Equal(t, 0, got.code, got.errors)
	require.NoDirExists(t, unfinished, "a copy of everything is left")
	require.Contains(t, got.out, "later.yaml.replaced-")
	require.NoFileExists(t, extra)
	got = provost("audit", "list", "--config", file)
	require.Contains(t, got.out, "database.restore")

	// To a machine that has nothing but the key.
	elsewhere := filepath.Join(dir, "elsewhere", "provost.yaml")
	got = provost("restore", archive, "--config", elsewhere)
	require.Equal(t, 0, got.code, got.errors)
	kept, err := os.ReadFile(filepath.Join(dir, "elsewhere", "conf.d", "acme.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(kept), sealed)
	require.FileExists(t, filepath.Join(dir, "elsewhere", "data", "provost.db"))
	got = provost("config", "validate", elsewhere)
	require.Equal(t, 0, got.code, got.errors)
}

func TestABackupIsGivenOverTheSocketOnly(t *testing.T) {
	w := httptest.NewRecorder()
	onSocketOnly(w, httptest.NewRequest(http.MethodPost, api.BackupPath, nil))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "provost backup FILE")
}

func TestACopyFromBeforeAnUpgradeIsPutBackOnceItIsAskedForTwice(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, []byte("listen: {api: \"\", metrics: \"\"}\n"), 0o600))
	got := provost("user", "list", "--config", file) // makes the database
	require.Equal(t, 0, got.code, got.errors)
	database := filepath.Join(dir, "data", "provost.db")
	copied := database + ".v12-" + time.Now().UTC().Format("20060102T150405Z")
	require.NoError(t, store.CopyFile(t.Context(), database, copied))
	got = provost("database", "list", "--config", file)
	require.Equal(t, 0, got.code, got.errors)
	require.Contains(t, got.out, filepath.Base(copied))
	got = provost("database", "rollback", filepath.Base(copied), "--config", file)
	require.Equal(t, 2, got.code)
	require.Contains(t, got.errors, "--yes")
	got = provost("database", "rollback", "provost.db", "--yes", "--config", file)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "there is "+filepath.Base(copied))
	got = provost("database", "rollback", filepath.Base(copied), "--yes", "--config", file)
	require.Equal(t, 0, got.code, got.errors)
	require.Contains(t, got.out, "start the provost that made it")
	require.FileExists(t, copied, "the copy itself is gone")
	require.FileExists(t, strings.TrimSpace(got.out[strings.Index(got.out, "kept: ")+6:strings.Index(got.out, "\n0 open")]))
}
