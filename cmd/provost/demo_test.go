package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What make demo runs: it checks the target itself.
func TestTheDemoTellsItsWholeStory(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"demo", "--dir", t.TempDir()}, nil, &out, &errs), errs.String())
	for _, line := range []string{"created", "linked           2", "duplicate        1", "corrected        3", "stopped          1", "found 0 of the"} {
		require.Contains(t, out.String(), line)
	}
	out.Reset()
	require.Zero(t, run(t.Context(), []string{"demo", "--figures", "--dir", t.TempDir()}, nil, &out, &errs), errs.String())
	var figures struct{ RequestsPerSecond float64 }
	require.NoError(t, json.Unmarshal(out.Bytes(), &figures))
	require.Positive(t, figures.RequestsPerSecond)
}
