package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/backup"
)

func manifest() backup.Manifest {
	return backup.Manifest{Provost: "1.0", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Database: "sqlite", Schema: 19, Config: "provost.yaml"}
}

func archive(t testing.TB) []byte {
	t.Helper()
	database := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.WriteFile(database, bytes.Repeat([]byte("people "), 10_000), 0o600))
	var out bytes.Buffer
	require.NoError(t, backup.Write(context.Background(), &out, manifest(), []backup.File{
		{Name: "config/provost.yaml", Text: []byte("workers: 8\n")},
		{Name: "config/conf.d/app-acme.yaml", Text: []byte("apps: []\n")},
		{Name: backup.DatabaseName, Path: database},
	}))
	return out.Bytes()
}

func TestAnArchiveGivesBackWhatWentIn(t *testing.T) {
	a := archive(t)
	dir := t.TempDir()
	m, err := backup.Extract(t.Context(), bytes.NewReader(a), dir, func(backup.Manifest) error { return nil })
	require.NoError(t, err)
	require.Equal(t, backup.Format, m.Format)
	require.Len(t, m.Entries, 3)
	for name, text := range map[string]string{"config/provost.yaml": "workers: 8\n", "config/conf.d/app-acme.yaml": "apps: []\n", "database": strings.Repeat("people ", 10_000)} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.Equal(t, a, archive(t), "the same files make another archive")

	refused := errors.New("no")
	_, err = backup.Extract(t.Context(), bytes.NewReader(a), t.TempDir(), func(backup.Manifest) error { return refused })
	require.ErrorIs(t, err, refused)
	_, err = backup.Extract(t.Context(), bytes.NewReader(a), dir, func(backup.Manifest) error { return nil })
	require.Equal(t, host.Unavailable, host.CodeOf(err), "a file was overwritten")
}

func TestAnArchiveThatIsCutOffOrChangedIsNeverWhole(t *testing.T) {
	a := archive(t)
	for n := range len(a) {
		_, err := backup.Verify(t.Context(), bytes.NewReader(a[:n]))
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "%d of %d bytes: %v", n, len(a), err)
	}
	is, err := backup.Verify(t.Context(), bytes.NewReader(a))
	require.NoError(t, err)
	for i := range len(a) {
		changed := bytes.Clone(a)
		changed[i] ^= 0x40
		if m, err := backup.Verify(t.Context(), bytes.NewReader(changed)); err == nil {
			require.Equal(t, is, m, "a changed byte at %d changed something", i) // not all of what packs it matters
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestAFileThatCanNotBeReadIsNoDamage(t *testing.T) {
	_, err := backup.Verify(t.Context(), io.MultiReader(bytes.NewReader(archive(t)[:100]), brokenReader{errors.New("the cable is out")}))
	require.Equal(t, host.Unavailable, host.CodeOf(err))
	require.ErrorContains(t, err, "the cable is out")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, backup.Write(ctx, io.Discard, manifest(), []backup.File{{Name: "config/provost.yaml"}}), context.Canceled)
}

// packed makes an archive of whatever files.
func packed(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f[0], Size: int64(len(f[1])), Mode: 0o600}))
		_, err := io.WriteString(w, f[1])
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	return out.Bytes()
}

func TestWhatOthersMadeIsRefusedWithTheReason(t *testing.T) {
	with := func(change func(*backup.Manifest)) string {
		m := manifest()
		m.Format = backup.Format
		empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		m.Entries = []backup.Entry{{Name: "config/provost.yaml", SHA256: empty}, {Name: "database", SHA256: empty}}
		change(&m)
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return string(b)
	}
	entry := func(name string) func(*backup.Manifest) {
		return func(m *backup.Manifest) {
			e := m.Entries[0]
			e.Name = name
			m.Entries = append(m.Entries, e)
		}
	}
	whole := func(m string) [][2]string {
		return [][2]string{{"manifest.json", m}, {"config/provost.yaml", ""}, {"database", ""}}
	}
	_, err := backup.Verify(t.Context(), bytes.NewReader(packed(t, whole(with(func(*backup.Manifest) {}))...)))
	require.NoError(t, err)
	for _, c := range []struct {
		says  string
		files [][2]string
	}{
		{"does not begin with a manifest", [][2]string{{"etc/passwd", ""}}},
		{"can't be read", whole("{")},
		{"it is none", whole("{}")},
		{"restore it with the provost that wrote it (1.0)", whole(with(func(m *backup.Manifest) { m.Format = 2 }))},
		{`kind "oracle"`, whole(with(func(m *backup.Manifest) { m.Database = "oracle" }))},
		{"the configuration is not in it", whole(with(func(m *backup.Manifest) { m.Config = "other.yaml" }))},
		{"the configuration is not in it", whole(with(func(m *backup.Manifest) { m.Entries = m.Entries[1:] }))},
		{"has no digest", whole(with(func(m *backup.Manifest) { m.Entries[0].SHA256 = "12" }))},
		{"can't have -1 bytes", whole(with(func(m *backup.Manifest) { m.Entries[0].Size = -1 }))},
		{"can't have 1099511627776 bytes", whole(with(func(m *backup.Manifest) { m.Entries[0].Size = 1 << 40 }))},
		{"twice", whole(with(entry("config/PROVOST.yaml")))},
		{"can't be the name", whole(with(entry("../provost.yaml")))},
		{"can't be the name", whole(with(entry("config/../../etc/passwd")))},
		{"can't be the name", whole(with(entry("config/conf.d/../x.yaml")))},
		{"can't be the name", whole(with(entry("config/conf.d/x.sh")))},
		{"can't be the name", whole(with(entry("config/.bashrc")))},
		{"can't be the name", whole(with(entry("config/c:x")))},
		{"can't be the name", whole(with(entry("/etc/passwd")))},
		{"cut off", whole(with(func(*backup.Manifest) {}))[:2]},
		{"more files", append(whole(with(func(*backup.Manifest) {})), [2]string{"more", ""})},
		{"where its manifest says", [][2]string{{"manifest.json", with(func(*backup.Manifest) {})}, {"database", ""}, {"config/provost.yaml", ""}}},
		{"is not what its manifest says", whole(with(func(m *backup.Manifest) { m.Entries[1].SHA256 = strings.Repeat("00", 32) }))},
	} {
		_, err := backup.Verify(t.Context(), bytes.NewReader(packed(t, c.files...)))
		require.ErrorContains(t, err, c.says)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f))
	f.Add(packed(f, [2]string{"manifest.json", `{"format":1}`}))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		_, err := backup.Extract(t.Context(), bytes.NewReader(b), dir, func(backup.Manifest) error { return nil })
		if err != nil {
			var known *host.Error
			require.ErrorAs(t, err, &known, "an error that says nothing")
		}
		above, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
		require.NoError(t, err)
		require.Len(t, above, 1, "it left its folder")
	})
}
