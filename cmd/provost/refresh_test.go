package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store/storetest"
)

// authorizeAtOnce plays the person without a browser.
func (a *authorizing) authorizeAtOnce() {
	a.t.Helper()
	at := "http://" + a.api + api.CallbackPath
	a.provider.Authorize(a.t, at, func(context.Context) (string, error) {
		return strings.TrimSpace(a.must("", "credential", "authorize", "Acme", "--wait", "0")), nil
	}, func(ctx context.Context, answer map[string][]string) error {
		status, body := a.http(a.api, api.CallbackPath+"?"+url.Values(answer).Encode())
		require.Equal(a.t, http.StatusOK, status, body)
		return nil
	})
}

// refreshing asks for what the credential opens until a refresh is under way,
// whose answer the server keeps back. Whoever asked is gone then.
func (a *authorizing) refreshing(reached chan struct{}) {
	a.t.Helper()
	for {
		cmd := exec.CommandContext(a.t.Context(), a.bin, "credential", "test", "Acme", "--path", "/accounts", "--config", a.file)
		require.NoError(a.t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			require.NoError(a.t, err)
		case <-reached:
			_ = cmd.Process.Kill()
			<-ended
			return
		}
	}
}

// keepsBack is a server that keeps the answer of the first refresh back.
func keepsBack() (o oauthtest.Options, reached, release chan struct{}) {
	reached, release = make(chan struct{}, 1), make(chan struct{})
	var before atomic.Bool
	return oauthtest.Options{Lifetime: 2 * time.Second, AfterToken: func(grant string) {
		if grant == "refresh_token" && !before.Swap(true) {
			reached <- struct{}{}
			<-release
		}
	}}, reached, release
}

func TestADaemonThatStopsStoresWhatAServerIsAboutToGive(t *testing.T) {
	t.Parallel()
	o, reached, release := keepsBack()
	a := newAuthorizing(t, o, "")
	text := strings.Replace(string(mustRead(t, a.file)), "timeout: 2s", "timeout: 20s", 1)
	require.NoError(t, os.WriteFile(a.file, []byte(text), 0o600))
	a.start()
	a.authorizeAtOnce()
	a.refreshing(reached)
	a.terminate()
	a.until("the end of its listeners", func() bool { status, _ := a.http(a.metricsAPI, "/healthz"); return status == 0 })
	close(release)
	a.end()
	a.start()
	require.Contains(t, a.must("", "credential", "test", "Acme", "--path", "/accounts"), "answered 200")
	require.NotContains(t, a.must("", "notice", "list"), "Acme")
	require.Zero(t, a.provider.Counts().Reuses)
	_, scraped := a.http(a.metricsAPI, "/metrics")
	require.NotContains(t, scraped, `outcome="cut_off"`)
}

func TestAnotherDaemonTellsOfARefreshWhoseDaemonWasKilled(t *testing.T) {
	t.Parallel()
	o, reached, release := keepsBack()
	defer close(release)
	database := storetest.Postgres(t)
	a := newAuthorizing(t, o, "database: {url: \""+database+"\"}\n")
	text := strings.Replace(string(mustRead(t, a.file)), "timeout: 2s", "timeout: 500ms", 1)
	require.NoError(t, os.WriteFile(a.file, []byte(text), 0o600))
	a.start()
	a.authorizeAtOnce()

	b := newServed(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "identity"), mustRead(t, filepath.Join(a.dir, "identity")), 0o600))
	first, rest, _ := strings.Cut(text, "api: ")
	_, rest, _ = strings.Cut(rest, ",")
	require.NoError(t, os.WriteFile(b.file, []byte(first+"api: \"127.0.0.1:0\","+rest), 0o600))
	b.start()

	a.refreshing(reached)
	require.NoError(t, a.process.Process.Kill())
	<-a.ended
	a.process = nil
	b.until("the notice", func() bool { // nobody asks for the credential
		return strings.Contains(b.must("", "notice", "list"), "cut off")
	})
	require.Zero(t, a.provider.Counts().Reuses)
	require.Equal(t, 1, a.provider.Counts().Refreshes)
	_, scraped := b.http(b.metricsAPI, "/metrics")
	require.Contains(t, scraped, `provost_token_refreshes_total{credential="Acme",outcome="cut_off"} 1`)

	a.start()
	a.authorizeAtOnce()
	require.Contains(t, b.must("", "credential", "test", "Acme", "--path", "/accounts"), "answered 200")
	require.NotContains(t, b.must("", "notice", "list"), "Acme")
	require.Zero(t, a.provider.Counts().Reuses)
}

func TestACredentialIsAuthorizedOnAnotherDevice(t *testing.T) {
	t.Parallel()
	a := newAuthorizing(t, oauthtest.Options{}, "")
	text := strings.Replace(string(mustRead(t, a.file)), "grant: authorization_code", "grant: device_code", 1)
	require.NoError(t, os.WriteFile(a.file, []byte(text), 0o600))
	a.start()
	a.add("acme", "ann")
	a.until("the wait", func() bool { return a.waits("ann") })
	cmd := exec.CommandContext(t.Context(), a.bin, "credential", "authorize", "Acme", "--wait", "1m", "--config", a.file)
	out, errs := new(logBuffer), new(logBuffer)
	cmd.Stdout, cmd.Stderr = out, errs
	require.NoError(t, cmd.Start())
	a.until("the code", func() bool { return strings.Contains(errs.String(), "The code is ") })
	_, code, _ := strings.Cut(errs.String(), "The code is ")
	at, err := url.Parse(strings.TrimSpace(out.String()))
	require.NoError(t, err)
	answer, err := http.PostForm("http://"+at.Host+"/device", url.Values{"user_code": {strings.TrimSpace(code)}})
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.NoError(t, cmd.Wait(), errs.String())
	require.Contains(t, errs.String(), "Acme is authorized as ")
	a.completed("acme", 1)
	require.NotContains(t, a.log.String(), "canary")
}
