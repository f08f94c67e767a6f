package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestANewConnectorBuildsAndPassesItsTests(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles a connector for wasip1")
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "a folder", "acme-crm")
	require.NoError(t, Write(dir, "acme-crm", "go", Checkout(here)))
	require.NoError(t, Tidy(t.Context(), dir))
	run := func(env []string, name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = append(append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod"), env...)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		return string(said)
	}
	assert.Empty(t, run(nil, "gofmt", "-l", "."))
	run(nil, "go", "vet", ".")
	run(nil, "go", "test", ".")
	run([]string{"GOOS=wasip1", "GOARCH=wasm"}, "go", "build", "-buildmode=c-shared", "-o", "acme.wasm", ".")
}

func TestWriteRefuses(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "keep"), nil, 0o600))
	for _, c := range []struct{ what, dir, name, lang, replace, want string }{
		{"a bad name", "new", "Acme CRM", "go", "", "no name for a connector"},
		{"a name that leaves", "new", "../x", "go", "", "no name for a connector"},
		{"an unknown language", "new", "acme", "cobol", "", "there is go"},
		{"a folder that is not empty", full, "acme", "go", "", "not empty"},
		{"a PDK that is none", "new", "acme", "go", full, "no checkout"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := c.dir
			if dir == "new" {
				dir = filepath.Join(t.TempDir(), "new")
			}
			assert.ErrorContains(t, Write(dir, c.name, c.lang, c.replace), c.want)
			if c.dir == "new" {
				assert.NoDirExists(t, dir)
			}
		})
	}
}

func TestCheckoutLooksUpward(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	assert.Empty(t, Checkout(deep))
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module "+Module+"\n"), 0o600))
	assert.Equal(t, root, Checkout(deep))
}
