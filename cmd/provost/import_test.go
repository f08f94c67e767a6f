package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
)

// hostWithoutApps is a host of this process over a database.
func hostWithoutApps(t *testing.T, databaseURL string) service {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "{database: {url: %q}, data_dir: %q, listen: {api: '', metrics: ''}}", databaseURL, dir), 0o600))
	cfg, err := config.Load(file)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close(t.Context())) })
	return service{d}
}

func (s service) importText(t *testing.T, text string, o api.ImportOptions) (api.ImportResult, error) {
	t.Helper()
	o.Name = "people." + o.Format
	return s.ImportUsers(t.Context(), strings.NewReader(text), o, nil)
}

// manyPeople is a CSV file that is written while it is read.
type manyPeople struct {
	left, next int
	filler     string
	line       []byte
}

func (m *manyPeople) Read(p []byte) (int, error) {
	if len(m.line) == 0 {
		if m.next > m.left {
			return 0, io.EOF
		}
		if m.next == 0 {
			m.line = []byte("Username,FirstName,LastName,Email,Notes\n")
		} else {
			m.line = fmt.Appendf(m.line, "person.%d@example.com,Person,Number %d,person.%d@example.com,%s\n", m.next, m.next, m.next, m.filler)
		}
		m.next++
	}
	n := copy(p, m.line)
	m.line = m.line[n:]
	return n, nil
}

func TestImportingFiftyThousandPeopleTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of importing; run without -short")
	}
	const people, fillerBytes, bound = 50_000, 2000, 32 << 20 // the file has 100 MB
	s := hostWithoutApps(t, "sqlite://"+filepath.Join(t.TempDir(), "many.db"))
	alive := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most := alive(), int64(0)
	for _, key := range []string{"", "Email"} {
		file := &manyPeople{left: people, filler: strings.Repeat("x", fillerBytes)}
		result, err := s.ImportUsers(t.Context(), file, api.ImportOptions{Name: "many.csv", Format: "csv", Key: key, Prune: key != ""}, func(done, total int64) {
			require.EqualValues(t, people, total)
			if done%5000 == 0 {
				most = max(most, alive()-before)
			}
		})
		require.NoError(t, err)
		if key == "" {
			require.Equal(t, api.ImportResult{Created: people}, result)
		} else {
			require.Equal(t, api.ImportResult{Unchanged: people}, result)
		}
	}
	t.Logf("at most %.1f MB more than before", float64(most)/1e6)
	require.Less(t, most, int64(bound))
}

func TestAnImportIsTakenWholeOrNotAtAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := hostWithoutApps(t, url)
		const csv = "Username,IsActive,Email\nada,yes,a@x.org\nbob,maybe,b@x.org\nada,no,c@x.org\n,yes,d@x.org\ncleo,yes\n\"dan\"x,yes,e@x.org\n"
		result, err := s.importText(t, csv, api.ImportOptions{Format: "csv"})
		require.Equal(t, host.InvalidInput, host.CodeOf(err))
		require.ErrorContains(t, err, "5 rows are wrong; nothing was taken")
		require.Equal(t, []string{
			`people.csv:3: column 5 (IsActive): "maybe" is neither true nor false`,
			`people.csv:4: column 1 (Username): "ada" is the same as in line 2`,
			`people.csv:5: column 1 (Username): is missing`,
			`people.csv:6: has 2 fields, the first line names 3`,
			`people.csv:7: column 5: extraneous or missing " in quoted-field`,
		}, result.Errors)
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Zero(t, status.Users)

		result, err = s.importText(t, csv, api.ImportOptions{Format: "csv", KeepGoing: true})
		require.NoError(t, err)
		require.Equal(t, 1, result.Created)
		require.Equal(t, 5, result.Refused)
	})
}

func TestPruningDisablesNobodyWhoseRowMayHaveBeenRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := hostWithoutApps(t, url)
		_, err := s.importText(t, "Username,IsActive\nada,yes\nbob,yes\ncleo,yes\n", api.ImportOptions{Format: "csv"})
		require.NoError(t, err)
		result, err := s.importText(t, "Username,IsActive\nada,yes\nbob,perhaps\n", api.ImportOptions{Format: "csv", KeepGoing: true, Prune: true})
		require.NoError(t, err)
		require.Zero(t, result.Disabled)
		require.Contains(t, result.Errors, "nobody was disabled: --prune needs every row to be taken")
		result, err = s.importText(t, "Username,IsActive\nADA,yes\nbob,yes\n", api.ImportOptions{Format: "csv", Prune: true})
		require.NoError(t, err)
		require.Equal(t, 1, result.Disabled)
		u, err := s.User(t.Context(), "cleo")
		require.NoError(t, err)
		require.False(t, u.IsActive)
	})
}

func TestAnotherKeyFindsPeopleWhoseUsernameChanged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := hostWithoutApps(t, url)
		_, err := s.importText(t, `[{"Username":"ada","badge":"7"},{"Username":"bob","badge":"8"},{"Username":"cleo","badge":"8"}]`, api.ImportOptions{Format: "json"})
		require.NoError(t, err)
		before, err := s.User(t.Context(), "ada")
		require.NoError(t, err)
		result, err := s.importText(t, `[{"Username":"ada.l","badge":"7"}]`, api.ImportOptions{Format: "json", Key: "badge"})
		require.NoError(t, err)
		require.Equal(t, 1, result.Updated)
		after, err := s.User(t.Context(), "ada.l")
		require.NoError(t, err)
		require.Equal(t, before.Id, after.Id)

		_, err = s.importText(t, "[\n {\"Username\":\"bob\",\"badge\":\"8\"}]", api.ImportOptions{Format: "json", Key: "badge"})
		require.EqualError(t, err, `people.json:2: column 2 (badge): "8" is that of more than one user; nothing was taken`)
		_, err = s.importText(t, `{"Username":"bob","badge":"7"}`, api.ImportOptions{Format: "jsonl", Key: "badge"})
		require.EqualError(t, err, `people.jsonl:1: Username: "bob" is another user's already; nothing was taken`)
	})
}

func TestAnImportThatCanNotBeReadSaysWhere(t *testing.T) {
	s := hostWithoutApps(t, "sqlite://"+filepath.Join(t.TempDir(), "test.db"))
	for _, c := range []struct{ format, text, says string }{
		{"csv", "", "the file is empty"},
		{"csv", "Name\nx\n", "no field is named Username"},
		{"csv", "Username,username\nx,y\n", "line 1, column 10: the field Username is named twice"},
		{"csv", "Username\n" + strings.Repeat("x", 2<<20), "a user has more than 1048576 bytes"},
		{"jsonl", `{"Username":"` + strings.Repeat("x", 2<<20), "line 1: a user has more than 1048576 bytes"},
		{"json", `[{"Username":"` + strings.Repeat("x", 2<<20), "a user has more than 1048576 bytes"},
		{"json", "[{\"Username\":\"a\"},\n {\"Username\" \"b\"}]", "user 2, after line 1, column 18"},
		{"json", `[{"Username":"a"}`, "the list does not end"},
		{"xml", "<a/>", "none of csv, json, jsonl"},
	} {
		_, err := s.importText(t, c.text, api.ImportOptions{Format: c.format})
		require.ErrorContains(t, err, c.says, "%.40s", c.text)
	}
	result, err := s.importText(t, "{\"Username\":\"a\"}\n{\"Username\" 1}\n", api.ImportOptions{Format: "jsonl"})
	require.Error(t, err)
	require.Equal(t, []string{"people.jsonl:2: column 13: is no JSON object: invalid character '1' after object key"}, result.Errors)
}
