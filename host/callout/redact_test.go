package callout_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
)

func TestABodyIsShownWithoutItsSecrets(t *testing.T) {
	for body, shown := range map[string]string{
		``: ``,
		`{"userName":"ada","password":"hunter2"}`: `{"password":"•••","userName":"ada"}`,
		`{"Operations":[{"op":"replace","path":"password","value":"hunter2"},{"op":"replace","path":"title","value":"x"}]}`: `{"Operations":[{"op":"replace","path":"password","value":"•••"},{"op":"replace","path":"title","value":"x"}]}`,
		`{"access_token":"t","api-key":{"a":"hunter2"},"shipping":"ok","note":"the one is s3cr3t, keep it"}`:                `{"access_token":"•••","api-key":"•••","note":"the one is •••, keep it","shipping":"ok"}`,
		`{"id":12345678901234567890}`: `{"id":12345678901234567890}`,
		`user=ada&password=hunter2`:   `(25 bytes that are no JSON)`,
		`<html>`:                      `(6 bytes that are no JSON)`,
	} {
		require.Equal(t, shown, callout.Redact([]byte(body), nil, "s3cr3t", ""), body)
	}
	long := callout.Redact([]byte(`"`+strings.Repeat("ä", 10_000)+`"`), nil)
	require.Less(t, len(long), 5_000)
	require.True(t, utf8.ValidString(long))
}

func FuzzNoSecretIsShown(f *testing.F) {
	f.Add(`{"a":["hunter2-canary"],"password":"x"}`)
	f.Add(`{"value":"hunter2-canary","path":"password"}`)
	f.Fuzz(func(t *testing.T, body string) {
		require.NotContains(t, strings.ReplaceAll(callout.Redact([]byte(body), nil, "hunter2-canary"), `\`, ""), `"hunter2-canary"`)
	})
}
