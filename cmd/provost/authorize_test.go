package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/mock/target"
)

// authorizing is a daemon whose one credential is authorized in the browser.
type authorizing struct {
	*served
	provider *oauthtest.Provider
	behind   *target.Target
}

func newAuthorizing(t *testing.T, o oauthtest.Options, more string) *authorizing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody has now
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	a := &authorizing{served: newServed(t), behind: target.New("")}
	o.Redirects, o.Resource = []string{"http://" + address + api.CallbackPath}, a.behind
	a.provider = oauthtest.Start(t, o)
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "identity"), []byte(identity+"\n"), 0o600))
	text := fmt.Sprintf(`
listen: {api: %q, metrics: "127.0.0.1:0"}
log: {level: debug, format: json}
secrets: {identity_file: identity}
plugins: [{name: mock, source: mock.wasm, unsigned: true}]
credentials:
  - name: Acme
    endpoint: "%[2]s/api"
    timeout: 2s
    oauth2: {issuer: %[2]q, grant: authorization_code, client_id: provost, client_secret: {value: %[3]q}, scopes: [openid, offline_access, profile]}
apps: [{name: acme, plugin: mock, credential: Acme}]
%[4]s`, address, a.provider.URL, oauthtest.ClientSecret, more)
	require.NoError(t, os.WriteFile(a.file, []byte(text), 0o600))
	return a
}

// authorize runs the command, and lets a person allow or deny what it asks for.
func (a *authorizing) authorize(browser context.Context, allow bool) (page, said string, err error) {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), a.bin, "credential", "authorize", "Acme", "--wait", "1m", "--config", a.file)
	out, errs := new(logBuffer), new(logBuffer)
	cmd.Stdout, cmd.Stderr = out, errs
	require.NoError(a.t, cmd.Start())
	a.until("the address", func() bool { return strings.Contains(out.String(), "\n") })
	_, page = oauthtest.Consent(a.t, browser, strings.TrimSpace(out.String()), allow)
	if !allow {
		_ = cmd.Process.Kill() // it would wait for somebody who allows it
	}
	err = cmd.Wait()
	return page, errs.String(), err
}

func (a *authorizing) waits(name string) bool {
	a.t.Helper()
	for _, r := range a.requests("acme") {
		if r.Username == name {
			return r.WaitsFor == host.AuthorizationTarget("Acme", "") && !r.State.Ended()
		}
	}
	return false
}

func TestACredentialIsAuthorizedInTheBrowserAndItsRequestsGoOn(t *testing.T) {
	t.Parallel()
	browser := oauthtest.Browser(t)
	a := newAuthorizing(t, oauthtest.Options{}, "")
	a.start()
	a.add("acme", "ann")
	a.until("the wait", func() bool { return a.waits("ann") })
	require.Contains(t, a.must("", "credential", "list"), "no")
	require.Contains(t, a.must("", "notice", "list"), "provost credential authorize Acme")
	require.Contains(t, a.must("", "status"), "Acme is not authorized yet")

	_, scraped := a.http(a.metricsAPI, "/metrics")
	require.Contains(t, scraped, `provost_credential_authorized{credential="Acme"} 0`)

	page, _, _ := a.authorize(browser, false)
	require.Contains(t, page, "not authorized")
	require.Contains(t, page, "access_denied")
	require.True(t, a.waits("ann"))
	page, said, err := a.authorize(browser, true)
	require.NoError(t, err, said)
	require.Contains(t, page, "Acme is authorized as "+oauthtest.Username)
	require.Contains(t, said, "Acme is authorized as "+oauthtest.Username)
	a.completed("acme", 1)
	require.Len(t, a.behind.Accounts(), 1)
	require.NotContains(t, a.must("", "notice", "list"), "Acme")
	_, scraped = a.http(a.metricsAPI, "/metrics")
	require.Contains(t, scraped, `provost_credential_authorized{credential="Acme"} 1`)
	tested := a.must("", "credential", "test", "Acme", "--path", "/accounts")
	for _, step := range []string{"resolve", "connect", "sign in", "probe", "answered 200"} {
		require.Contains(t, tested, step)
	}

	// The grant is taken back over there: nobody's request fails for it.
	a.provider.RevokeAll()
	a.add("acme", "ben")
	a.until("the wait", func() bool { return a.waits("ben") })
	require.Contains(t, a.must("", "notice", "list"), "must be authorized again")
	require.Contains(t, a.log.String(), "a person must authorize again")
	_, said, err = a.authorize(browser, true)
	require.NoError(t, err, said)
	a.completed("acme", 2)

	// An answer that nobody asked for, or a second time, is worth nothing.
	for _, query := range []string{"", "?state=x&code=y", "?state=" + strings.Repeat("x", 10000)} {
		status, body := a.http(a.api, api.CallbackPath+query)
		require.Equal(t, http.StatusNotFound, status)
		require.Contains(t, body, "not authorized")
	}

	_, errs, err := a.run("", "credential", "revoke", "Acme")
	require.NoError(t, err, errs)
	require.Contains(t, errs, "here and at its server")
	var audited []*api.AuditEntry
	a.ask("/api/v1/audit", url.Values{"kind": {"credential"}, "name": {"Acme"}}, &audited)
	var done []string
	for _, e := range audited {
		require.True(t, host.IsAdministrator(e.Actor), e.Actor)
		done = append(done, string(e.Action)+" "+string(e.Outcome))
	}
	require.Equal(t, []string{"credential.revoke done", "credential.authorize done", "credential.authorize done", "credential.authorize refused"}, done, "a refresh is nobody's doing")
	a.add("acme", "cem")
	a.until("the wait", func() bool { return a.waits("cem") })
	require.Zero(t, a.provider.Counts().Reuses)
	a.terminate()
	a.end()
	require.NotContains(t, a.log.String(), "canary")
	database, err := os.ReadFile(filepath.Join(a.dir, "data", "provost.db"))
	require.NoError(t, err)
	for _, canary := range []string{"canary", "refresh_token", "access_token"} {
		require.False(t, bytes.Contains(database, []byte(canary)), canary)
	}
}

// A daemon is killed between the server's answer and its own store: what it was
// given is lost, and the one that goes on must not use what was used.
func TestARefreshThatDiesOnItsWayAsksAPersonAndUsesNothingTwice(t *testing.T) {
	t.Parallel()
	browser := oauthtest.Browser(t)
	reached, release := make(chan struct{}, 1), make(chan struct{})
	var armed sync.Map
	a := newAuthorizing(t, oauthtest.Options{Lifetime: 2 * time.Second, AfterToken: func(grant string) {
		if _, now := armed.LoadAndDelete(grant); now {
			reached <- struct{}{}
			<-release
		}
	}}, "")
	defer close(release)
	a.start()
	armed.Store("refresh_token", true)
	_, said, err := a.authorize(browser, true)
	require.NoError(t, err, said)
	for i := 0; len(reached) == 0; i++ { // until the token has ended and somebody needs the next
		a.add("acme", fmt.Sprintf("p%d", i))
		n := i + 1
		a.until("the end or the refresh", func() bool {
			done := 0
			for _, r := range a.requests("acme") {
				if r.State == host.StateCompleted {
					done++
				}
			}
			return len(reached) > 0 || done == n
		})
	}
	require.NoError(t, a.process.Process.Kill())
	<-a.ended
	a.start()
	a.until("the notice", func() bool { return strings.Contains(a.must("", "notice", "list"), "must be authorized again") })
	require.Contains(t, a.must("", "notice", "list"), "cut off")
	counts := a.provider.Counts()
	require.Zero(t, counts.Reuses, "no refresh token was used twice")
	require.Equal(t, 1, counts.Refreshes)
	_, said, err = a.authorize(browser, true)
	require.NoError(t, err, said)
	a.until("the end of all", func() bool {
		for _, r := range a.requests("acme") {
			if r.State != host.StateCompleted {
				return false
			}
		}
		return true
	})
	require.Zero(t, a.provider.Counts().Reuses)
}

// callers are many at once who call a target for a while.
type callers struct {
	Database, Identity, Endpoint, Issuer string
	Until                                time.Time
	Callers                              int
}

func (c callers) run(ctx context.Context) error {
	sealer, err := secret.NewSealer(c.Identity)
	if err != nil {
		return err
	}
	records, err := store.Open(ctx, c.Database, store.Options{})
	if err != nil {
		return err
	}
	defer records.Close()
	out := callout.New(callout.Options{Sealer: sealer, Store: signInStore{records}})
	defer out.Close()
	if err := out.Apply([]callout.Credential{c.credential()}); err != nil {
		return err
	}
	failures := make(chan error, c.Callers)
	var group sync.WaitGroup
	for range c.Callers {
		group.Go(func() {
			for time.Now().Before(c.Until) {
				if got := out.Do(ctx, callout.Caller{Connector: "c", Credential: "Acme"}, callout.Request{Method: "GET", URL: "callout:Acme/x"}); got.Status != http.StatusOK {
					failures <- fmt.Errorf("%d %v", got.Status, got.Err)
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	return <-failures
}

func (c callers) credential() callout.Credential {
	return callout.Credential{Name: "Acme", Endpoint: c.Endpoint, Timeout: 20 * time.Second, SignIn: signin.Config{Protocol: signin.OAuth2,
		Secret: signin.Secret{Ref: secret.Ref{Value: oauthtest.ClientSecret}},
		OAuth2: signin.OAuth2Config{Grant: signin.AuthorizationCode, Issuer: c.Issuer, ClientID: oauthtest.ClientID, Scopes: []string{"openid", "offline_access"}}}}
}

// callersVariable has the callers that a process of a test plays.
const callersVariable = "PROVOST_TEST_CALLERS"

// playCallers is what such a process does; it returns its exit code.
func playCallers(text string) int {
	var c callers
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestTwoHundredCallersInTwoProcessesRefreshOncePerToken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		const lifetime = 3 * time.Second
		const redirect = "http://127.0.0.1:1" + api.CallbackPath
		p := oauthtest.Start(t, oauthtest.Options{Lifetime: lifetime, Redirects: []string{redirect}})
		identity, err := secret.GenerateIdentity()
		require.NoError(t, err)
		c := callers{Database: database, Identity: identity, Endpoint: p.URL + "/api", Issuer: p.URL}
		p.Authorize(t, redirect, func(ctx context.Context) (string, error) {
			return c.authorized(t, func(e *callout.Egress) (string, error) { return e.Begin(ctx, "Acme", "", redirect) })
		}, func(ctx context.Context, answer map[string][]string) error {
			_, err := c.authorized(t, func(e *callout.Egress) (string, error) {
				_, _, err := e.Complete(ctx, answer)
				return "", err
			})
			return err
		})
		processes := 1 // SQLite is for one
		if strings.HasPrefix(database, "postgres") {
			processes = 2
		}
		c.Callers = 200 / processes
		c.Until = time.Now().Add(4 * lifetime)
		text, err := json.Marshal(c)
		require.NoError(t, err)
		var group sync.WaitGroup
		for range processes {
			group.Go(func() {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), callersVariable+"="+string(text))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		group.Wait()
		counts := p.Counts()
		require.Zero(t, counts.Reuses, "a refresh token was used twice")
		require.GreaterOrEqual(t, counts.Refreshes, 2)
		for i := 1; i < len(counts.Issued); i++ {
			require.GreaterOrEqual(t, counts.Issued[i].Sub(counts.Issued[i-1]), lifetime/2, "two refreshes within the life of one token")
		}
		require.Zero(t, counts.Refused, "nobody was sent away with a token that had ended")
	})
}

// authorized does something with an egress of this process.
func (c callers) authorized(t *testing.T, do func(*callout.Egress) (string, error)) (string, error) {
	sealer, err := secret.NewSealer(c.Identity)
	require.NoError(t, err)
	records, err := store.Open(t.Context(), c.Database, store.Options{})
	require.NoError(t, err)
	defer records.Close()
	out := callout.New(callout.Options{Sealer: sealer, Store: signInStore{records}})
	defer out.Close()
	require.NoError(t, out.Apply([]callout.Credential{c.credential()}))
	return do(out)
}
