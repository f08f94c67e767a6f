package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInitWritesAConfigurationThatIsValidAndNeverAnotherOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "provost.yaml")
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"serve", "--config", file}, nil, &out, &errs))
	require.Contains(t, errs.String(), "provost init")
	require.Zero(t, run(t.Context(), []string{"init", file}, nil, &out, &errs), errs.String())
	require.Contains(t, out.String(), "http://127.0.0.1:8080/console")
	require.Zero(t, run(t.Context(), []string{"config", "validate", file}, nil, &out, &errs), errs.String())
	require.NoError(t, os.WriteFile(file, []byte("# mine\n"), 0o600))
	errs.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"init", file}, nil, &out, &errs))
	require.Contains(t, errs.String(), "is there already")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "# mine\n", string(text))
}
