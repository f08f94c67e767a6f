package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/secret"
)

func TestASecretPrintsAsStarsEverywhere(t *testing.T) {
	v := secret.New("hunter2-hunter2")
	type credential struct{ Password secret.Value }
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "c", credential{v})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v, "c", credential{v})
	j, err := json.Marshal(map[string]any{"v": v, "c": credential{v}})
	require.NoError(t, err)
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v %#v", v, v, v, v, v, v, v, credential{v}, credential{v}, &credential{v}) +
		errors.Join(fmt.Errorf("x %v", v)).Error() + log.String() + string(j)
	require.NotContains(t, all, "hunter2")
	require.NotContains(t, all, fmt.Sprintf("%x", "hunter2"))
	require.Equal(t, "hunter2-hunter2", v.Reveal())
}

func TestReferencesAreReadAndTheirErrorsNameTheReference(t *testing.T) {
	t.Setenv("SECRET_TEST_A", "from env")
	file := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(file, []byte("from file\r\n"), 0o600))
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	s, err := secret.NewSealer("# made by a test\n" + identity + "\n")
	require.NoError(t, err)
	sealed, err := s.Seal(secret.New("from seal"))
	require.NoError(t, err)
	require.NotContains(t, sealed, "from seal")

	for want, ref := range map[string]secret.Ref{"from env": {Env: "SECRET_TEST_A"}, "from file": {File: file}, "from seal": {Sealed: sealed}, "plain": {Value: "plain"}} {
		v, err := secret.Resolve(ref, s)
		require.NoError(t, err)
		require.Equal(t, want, v.Reveal())
	}
	for says, ref := range map[string]secret.Ref{"SECRET_TEST_NOT": {Env: "SECRET_TEST_NOT"}, "missing-file": {File: "missing-file"}, "base64": {Sealed: "%%"}, "damaged": {Sealed: "%%"}, "can't be opened": {Sealed: "AAAA"}} {
		_, err := secret.Resolve(ref, s)
		require.ErrorContains(t, err, says)
	}
	_, err = secret.Resolve(secret.Ref{Sealed: sealed}, nil)
	require.ErrorContains(t, err, "identity_file")
	other, err := secret.GenerateIdentity()
	require.NoError(t, err)
	o, err := secret.NewSealer(other)
	require.NoError(t, err)
	_, err = o.Open(sealed)
	require.ErrorContains(t, err, "can't be opened")
}
