package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// notices are what a daemon says to its supervisor.
func notices(t *testing.T) (socket string, next func(beginning string) string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return socket, func(beginning string) string {
		t.Helper()
		b := make([]byte, 4096)
		for {
			require.NoError(t, l.SetReadDeadline(time.Now().Add(time.Minute)))
			n, err := l.Read(b)
			require.NoError(t, err, "nothing that begins with %s was said", beginning)
			if said := string(b[:n]); strings.HasPrefix(said, beginning) {
				return said
			}
		}
	}
}

func TestTheServiceManagerIsToldWhatTheDaemonDoes(t *testing.T) {
	inProcesses(t)
	bin, err := binary()
	require.NoError(t, err)
	dir := t.TempDir()
	file := killConfig(t, dir, "sqlite://"+filepath.Join(dir, "provost.db"), "http://127.0.0.1:9", "canary-0123456789", 100)
	socket, next := notices(t)
	cmd := exec.Command(bin, "serve", "--config", file)
	log := new(logBuffer)
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	require.Contains(t, next("READY=1"), "serving 1 apps with 1 connectors")
	require.Equal(t, "WATCHDOG=1", next("WATCHDOG=1"))
	require.Equal(t, "WATCHDOG=1", next("WATCHDOG=1"), "it was said once")
	got := provost("health", "--config", file)
	require.Equal(t, 0, got.code, got.errors)
	require.Equal(t, "ready\n", got.out)
	got = provost("health", "--alive", "--config", file)
	require.Equal(t, 0, got.code, got.errors)
	require.Equal(t, "alive\n", got.out)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(text, "  - {name: other, plugin: scim, credential: Acme_SCIM}\n"...), 0o600))
	require.Regexp(t, regexp.MustCompile(`(?s)^RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=`), next("RELOADING=1"))
	require.Contains(t, next("READY=1"), "serving 2 apps with 1 connectors", log)

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Contains(t, next("STOPPING=1"), "draining")
	require.NoError(t, cmd.Wait(), log)
	got = provost("health", "--config", file)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "no daemon listens at")
}

func TestTheIdentityComesFromTheServicesCredentials(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	got := provost("credential", "identity")
	require.Equal(t, 0, got.code, got.errors)
	require.NoError(t, os.WriteFile(filepath.Join(credentials, "provost-identity"), []byte(got.out), 0o400))
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "data_dir: %q\nlisten: {api: \"\", metrics: \"\"}\nsecrets: {identity_systemd: provost-identity}\n", dir), 0o600))
	credential := filepath.Join(dir, "acme.yaml")
	require.NoError(t, os.WriteFile(credential, []byte("{name: Acme, endpoint: \"https://acme.example.com\", bearer: {token: {value: canary-0123456789}}}"), 0o600))

	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	got = provost("credential", "apply", "-f", credential, "--config", file)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "no systemd credential provost-identity")

	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	got = provost("credential", "apply", "-f", credential, "--config", file)
	require.Equal(t, 0, got.code, got.errors)
	files, err := filepath.Glob(filepath.Join(dir, "conf.d", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	kept, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.Contains(t, string(kept), "sealed")
	require.NotContains(t, string(kept), "canary")
}

// The limit is what systemd calls 2.0.
func TestTheServiceMayDoLittle(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("systemd-analyze: %v", err)
	}
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=19", "--no-pager", "../../config/systemd/provost.service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Overall exposure level")
}

func TestManualPagesOfAllCommandsAreReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man1")
	got := provost("man", dir)
	require.Equal(t, 0, got.code, got.errors)
	require.Contains(t, got.out, "provost.1")
	page, err := os.ReadFile(filepath.Join(dir, "provost-request-retry.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Nov 2023")
	require.Contains(t, string(page), "--failed")
	again := filepath.Join(t.TempDir(), "man1")
	got = provost("man", again)
	require.Equal(t, 0, got.code, got.errors)
	pages, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(pages), 50)
	for _, p := range pages {
		one, err := os.ReadFile(filepath.Join(dir, p.Name()))
		require.NoError(t, err)
		other, err := os.ReadFile(filepath.Join(again, p.Name()))
		require.NoError(t, err)
		require.Equal(t, string(one), string(other))
		require.NotContains(t, p.Name(), compileCommand, "it is for the sandbox alone")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	got = provost("man", dir)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "no number of seconds")
}
