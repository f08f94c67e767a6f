package plugins

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuiltinHasWhatNamesLists(t *testing.T) {
	for _, name := range Names() {
		b, ok := Builtin(name)
		require.True(t, ok, name)
		require.True(t, bytes.HasPrefix(b, []byte("\x00asm")), name)
	}
	for _, name := range []string{"", "nobody", "../builtin", "README.md"} {
		_, ok := Builtin(name)
		require.False(t, ok, name)
	}
}
