package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/plugins/mock/target"
)

// keyed is a target whose key can be changed, and that takes two for a while.
type keyed struct {
	mu     sync.Mutex
	takes  []string
	behind *target.Target
	with   []string
}

func (k *keyed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	got := r.Header.Get("X-Api-Key")
	for _, one := range k.takes {
		if one == got {
			k.with = append(k.with, got)
			k.behind.ServeHTTP(w, r)
			return
		}
	}
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, "not with "+got)
}

func (k *keyed) take(keys ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.takes = keys
}

func newKeyed(t *testing.T) (*served, *keyed, string) {
	t.Helper()
	k := &keyed{behind: target.New("")}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	s := newServed(t)
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "identity"), []byte(identity+"\n"), 0o600))
	s.configure("secrets: {identity_file: identity}\nplugins: [{name: mock, source: mock.wasm}]\n")
	return s, k, server.URL
}

func TestASecretIsRotatedWhileBothAreValid(t *testing.T) {
	t.Parallel()
	s, k, at := newKeyed(t)
	k.take("canary-first-0123")
	s.must("name: Acme\nendpoint: "+at+"\nprobe: /accounts\napi_key: {value: {value: canary-first-0123}}\n", "credential", "apply", "-f", "-")
	s.must(`{"name": "acme", "plugin": "mock", "credential": "Acme"}`, "app", "apply", "-f", "-")
	s.start()
	s.add("acme", "ann")
	s.completed("acme", 1)

	_, errs, err := s.run("canary-second-0123\n", "credential", "rotate", "Acme", "--secret-file", "-")
	require.Error(t, err)
	require.Contains(t, errs, "nothing was changed", "the target does not take it yet")
	k.take("canary-first-0123", "canary-second-0123")
	_, errs, err = s.run("canary-second-0123\n", "credential", "rotate", "Acme", "--secret-file", "-")
	require.NoError(t, err, errs)
	require.Contains(t, errs, "probe")
	s.add("acme", "ben")
	s.completed("acme", 2)
	k.mu.Lock()
	require.Equal(t, "canary-second-0123", k.with[len(k.with)-1])
	k.mu.Unlock()
	k.take("canary-first-0123") // somebody over there goes back on it
	s.add("acme", "cem")
	s.completed("acme", 3)
	k.take("canary-second-0123")
	_, errs, err = s.run("", "credential", "rotate", "Acme", "--finish")
	require.NoError(t, err, errs)
	s.add("acme", "dan")
	s.completed("acme", 4)
	text, err := os.ReadFile(filepath.Join(s.dir, "conf.d", "credentials.Acme.yaml"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "canary")
	require.NotContains(t, string(text), "previous")
	require.NotContains(t, s.log.String()+errs, "canary")

	// The key that seals is changed as well: the new one stands before the old.
	old, err := os.ReadFile(filepath.Join(s.dir, "identity"))
	require.NoError(t, err)
	next, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "identity"), []byte(next+"\n"+string(old)), 0o600))
	_, errs, err = s.run("", "credential", "reseal")
	require.NoError(t, err, errs)
	require.Contains(t, errs, "1 secrets were sealed anew")
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "identity"), []byte(next+"\n"), 0o600))
	s.terminate()
	s.end()
	s.start()
	s.add("acme", "eva")
	s.completed("acme", 5)

	// A sealed text that is moved to another credential does not open there.
	moved := bytes.ReplaceAll(mustRead(t, filepath.Join(s.dir, "conf.d", "credentials.Acme.yaml")), []byte("name: Acme"), []byte("name: Other"))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "conf.d", "credentials.Other.yaml"), moved, 0o600))
	s.until("the refusal", func() bool { return strings.Contains(s.must("", "status"), "moved") })

	// What a process that is made to dump its stacks shows.
	require.NoError(t, s.process.Process.Signal(syscall.SIGQUIT))
	<-s.ended
	s.process = nil
	require.Contains(t, s.log.String(), "goroutine ")
	require.NotContains(t, s.log.String(), "canary")
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return b
}

func TestWithoutTheKeyOfWhatIsStoredNothingBegins(t *testing.T) {
	t.Parallel()
	a := newAuthorizing(t, oauthtest.Options{}, "")
	browser := oauthtest.Browser(t)
	a.start()
	_, said, err := a.authorize(browser, true)
	require.NoError(t, err, said)
	a.terminate()
	a.end()
	kept := mustRead(t, filepath.Join(a.dir, "identity"))
	other, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "identity"), []byte(other), 0o600))
	_, errs, err := a.run("", "serve")
	require.Error(t, err)
	require.Contains(t, errs, "which is not here")
	require.Contains(t, errs, "credential forget --lost-keys")

	// The new key before the old: all is sealed anew, and the old may go.
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "identity"), []byte(other+"\n"+string(kept)), 0o600))
	a.start()
	a.until("the new seal", func() bool { return strings.Contains(a.log.String(), "sealed anew") })
	a.terminate()
	a.end()
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "identity"), []byte(other), 0o600))
	a.start()
	a.add("acme", "ann")
	a.completed("acme", 1)
	a.terminate()
	a.end()

	// Lost for good: people authorize again.
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "identity"), kept, 0o600))
	_, errs, err = a.run("", "credential", "forget", "--lost-keys")
	require.NoError(t, err, errs)
	require.Contains(t, errs, "1 authorizations were dropped")
	a.start()
	a.add("acme", "ben")
	a.until("the wait", func() bool { return a.waits("ben") })
}

func TestEachPersonSignsInWithAnAuthorizationOfHisOwn(t *testing.T) {
	t.Parallel()
	s, k, at := newKeyed(t)
	perUser := fmt.Sprintf("name: Acme\nendpoint: %s\nidentity: per_user\napi_key: {}\n", at)
	s.must(perUser, "credential", "apply", "-f", "-")
	s.must(`{"name": "acme", "plugin": "mock", "credential": "Acme"}`, "app", "apply", "-f", "-")
	k.take("canary-of-ann", "canary-of-ben")
	s.start()
	s.add("acme", "ann", "ben")
	waiting := func() (list []string) {
		for _, r := range s.requests("acme") {
			if _, user, ok := host.AuthorizationOfTarget(r.WaitsFor); ok && user == r.UserId {
				list = append(list, r.Username)
			}
		}
		return list
	}
	s.until("the wait of both", func() bool { return len(waiting()) == 2 })
	_, errs, err := s.run("canary-of-ann\n", "credential", "authorize", "Acme", "--user", "ann", "--username", "ann@acme", "--secret-file", "-")
	require.NoError(t, err, errs)
	s.completed("acme", 1)
	require.Equal(t, []string{"ben"}, waiting(), "what is ann's is not ben's")
	require.Equal(t, 1, len(k.behind.Accounts()))
	_, errs, err = s.run("x\n", "credential", "authorize", "Acme", "--secret-file", "-")
	require.Error(t, err)
	require.Contains(t, errs, "--user")
	_, errs, err = s.run("canary-of-ben\n", "credential", "authorize", "Acme", "--user", "ben", "--secret-file", "-")
	require.NoError(t, err, errs)
	s.completed("acme", 2)
	require.Contains(t, s.must("", "credential", "list"), "by 2")

	// A secret that the target takes no more is asked for again, of its person.
	k.take("canary-of-ben", "canary-next-of-ann")
	s.must("Username,LastName,Email\nann,Other,p@example.com\nben,Other,p@example.com\n", "user", "import", "-", "--format", "csv")
	s.completed("acme", 3)
	s.until("the wait of ann", func() bool { return slices.Equal(waiting(), []string{"ann"}) })
	require.Contains(t, s.must("", "notice", "list"), "does not take the secret any more")
	_, errs, err = s.run("canary-next-of-ann\n", "credential", "authorize", "Acme", "--user", "ann", "--secret-file", "-")
	require.NoError(t, err, errs)
	s.completed("acme", 4)
	require.NotContains(t, s.log.String(), "canary")

	// What goes takes with it what people have authorized.
	s.must("", "app", "delete", "acme", "--force")
	s.must("", "credential", "delete", "Acme")
	s.must(perUser, "credential", "apply", "-f", "-")
	require.Contains(t, s.must("", "credential", "list"), "by 0")
}
