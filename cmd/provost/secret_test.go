package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host/secret"
)

// What is sealed for a place opens there, and nowhere else.
func TestASecretIsSealedForItsPlace(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "provost.yaml")
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "identity"), []byte(identity+"\n"), 0o600))
	base := "secrets: {identity_file: identity}\nlisten: {api: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}\n"
	require.NoError(t, os.WriteFile(file, []byte(base), 0o600))
	sealed := func(place string) string {
		got := provostWith("canary-"+place+"\n", "secret", "seal", place, "--config", file)
		require.Zero(t, got.code, got.errors)
		require.True(t, strings.HasPrefix(got.out, "{sealed: "), got.out)
		require.NotContains(t, got.out+got.errors, "canary-")
		return strings.TrimSpace(got.out)
	}
	opens := func(hook, mail, header, token, proxy, client, bearer string) error {
		text := base + fmt.Sprintf(`
notify:
  - {name: ops, webhook: {url: "https://hooks.example.com/x", secret: %s}}
  - {name: mail, mail: {smtp: "mail.example.com:587", from: a@example.com, to: [b@example.com], username: a, password: %s}}
tracing: {endpoint: "https://otel.example.com/v1/traces", headers: [{name: X-Key, secret: %s}]}
metrics: {token: %s}
proxy: {url: "http://proxy.example.com:3128", username: a, password: %s}
access: {oidc: {issuer: "https://id.example.com", client_id: provost, client_secret: %s}}
credentials: [{name: Acme, endpoint: "https://acme.example.com", bearer: {token: %s}}]
`, hook, mail, header, token, proxy, client, bearer)
		path := filepath.Join(t.TempDir(), "provost.yaml")
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "identity"), []byte(identity+"\n"), 0o600))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		cfg, err := config.Load(path)
		require.NoError(t, err)
		d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		_, _, err = d.fronts.guard.now() // the token is read when somebody scrapes
		require.NoError(t, d.stop(t.Context()))
		require.NoError(t, d.close(t.Context()))
		return err
	}
	places := []string{"notify.ops.webhook.secret", "notify.mail.mail.password", "tracing.headers.X-Key.secret", "metrics.token", "proxy.password",
		"access.oidc.client_secret", "credentials.Acme.bearer.token"}
	v := make([]string, len(places))
	for i, place := range places {
		v[i] = sealed(place)
	}
	require.NoError(t, opens(v[0], v[1], v[2], v[3], v[4], v[5], v[6]))
	err = opens(v[1], v[0], v[3], v[3], v[4], v[5], v[6])
	require.ErrorContains(t, err, "notify.ops.webhook.secret")
	require.ErrorContains(t, err, "notify.mail.mail.password")

	got := provostWith("x", "secret", "seal", "notify.ops.url", "--config", file)
	require.Equal(t, 2, got.code)
	require.Contains(t, got.errors, "the places are notify.NAME.webhook.secret")
	got = provostWith("\n", "secret", "seal", "metrics.token", "--config", file)
	require.NotZero(t, got.code)
	require.Contains(t, got.errors, "the secret is empty")
}
