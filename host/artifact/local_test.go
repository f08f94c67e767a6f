package artifact

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFileThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.wasm")
	old := time.Now().Add(-time.Hour)
	fresh := func() {
		require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
		require.NoError(t, os.Chtimes(file, old, old))
	}
	for name, c := range map[string]struct {
		settled   bool
		meanwhile func()
	}{
		"nothing happens": {true, func() {}},
		"it grows, and has the time of before": {false, func() {
			require.NoError(t, os.WriteFile(file, []byte("one and a half"), 0o600))
			require.NoError(t, os.Chtimes(file, old, old))
		}},
		"it is of another time": {false, func() { require.NoError(t, os.Chtimes(file, old, old.Add(time.Second))) }},
		"it is cut off":         {false, func() { require.NoError(t, os.Truncate(file, 1)); require.NoError(t, os.Chtimes(file, old, old)) }},
		"another takes its name": {false, func() {
			require.NoError(t, os.WriteFile(file+".new", []byte("two"), 0o600))
			require.NoError(t, os.Chtimes(file+".new", old, old))
			require.NoError(t, os.Rename(file+".new", file))
		}},
		"it goes away": {false, func() { require.NoError(t, os.Remove(file)) }},
	} {
		t.Run(name, func(t *testing.T) {
			fresh()
			_, settled, err := readOnce(file, 100, func(r io.Reader) ([]byte, error) {
				b, err := io.ReadAll(r)
				c.meanwhile()
				return b, err
			})
			require.NoError(t, err)
			require.Equal(t, c.settled, settled)
		})
	}
}

func TestAFileRestsBeforeItIsRead(t *testing.T) {
	now := time.Now()
	require.False(t, atRest(now, now))
	require.False(t, atRest(now.Add(-rest+1), now))
	require.True(t, atRest(now.Add(-rest), now))
	require.True(t, atRest(now.Add(time.Hour), now), "another machine's clock must not keep a file from being read")
}
