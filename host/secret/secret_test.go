package secret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"filippo.io/age"
	"github.com/davecgh/go-spew/spew"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/provosthq/provost/host/secret"
)

// shows are all the ways in which a value may end up where people read.
func shows(t *testing.T, v any, verbs string) string {
	t.Helper()
	var all strings.Builder
	for _, verb := range verbs {
		for _, flags := range []string{"", "+", "#", "-20", "020", ".30"} {
			fmt.Fprintf(&all, "%"+flags+string(verb)+"\n", v)
		}
	}
	fmt.Fprintln(&all, v, fmt.Sprint(v), fmt.Errorf("x %v %w", v, errors.New("y")), errors.Join(fmt.Errorf("x %+v", v)))
	for _, h := range []slog.Handler{slog.NewJSONHandler(&all, nil), slog.NewTextHandler(&all, nil)} {
		l := slog.New(h)
		l.Info("x", "v", v, slog.Group("g", "v", v))
		l.With("v", v).WithGroup("g").Info("x", slog.Any("v", v))
	}
	log.New(&all, "", 0).Println(v)
	j, err := json.Marshal(v)
	require.NoError(t, err)
	all.Write(j)
	y, err := yaml.Marshal(v)
	require.NoError(t, err)
	all.Write(y)
	require.NoError(t, json.NewEncoder(&all).Encode(map[string]any{"v": v}))
	require.NoError(t, template.Must(template.New("").Parse("{{.}} {{printf `%v` .}}")).Execute(&all, v))
	all.WriteString(spew.Sdump(v))
	return all.String()
}

func TestASecretPrintsAsStarsEverywhere(t *testing.T) {
	const plain = "hunter2-hunter2"
	v := secret.New(plain)
	type credential struct {
		Name     string
		Password secret.Value
	}
	type hidden struct{ password secret.Value }
	all := ""
	for _, one := range []any{v, &v, credential{"a", v}, &credential{"a", v}, []secret.Value{v}, [1]secret.Value{v}, map[string]secret.Value{"p": v}, hidden{v}, &hidden{v}, []credential{{"a", v}}} {
		all += shows(t, one, "vsqxXdTtbcoOeEfFgGUp")
	}
	// A reference is no place for a secret but in trials; %p asks no method.
	for _, one := range []any{secret.Ref{Value: plain}, &secret.Ref{Value: plain}, struct{ Ref secret.Ref }{secret.Ref{Value: "x", Previous: &secret.Ref{Value: plain}}}, secret.Ref{Command: []string{"sh", plain}}} {
		all += shows(t, one, "vsqxXdTtbcoOeEfFgGU")
	}
	var g bytes.Buffer
	require.NoError(t, gob.NewEncoder(&g).Encode(credential{"a", v}))
	x, err := xml.Marshal(credential{"a", v})
	require.NoError(t, err)
	text, err := v.MarshalText()
	require.NoError(t, err)
	require.ErrorContains(t, v, "***")
	all += g.String() + string(x) + string(text)
	for _, form := range []string{plain, "hunter2", hex.EncodeToString([]byte("hunter2")), strings.ToUpper(hex.EncodeToString([]byte("hunter2"))), base64.StdEncoding.EncodeToString([]byte("hunter2")),
		strings.Trim(fmt.Sprint([]byte("hunter2")), "[]")} {
		require.False(t, strings.Contains(all, form), form)
	}
	require.True(t, strings.Contains(all, "***"))
	require.Equal(t, plain, v.Reveal())
}

func sealer(t testing.TB, identities ...string) *secret.Sealer {
	t.Helper()
	if len(identities) == 0 {
		identities = []string{identity(t)}
	}
	s, err := secret.NewSealer("# made by a test\n" + strings.Join(identities, "\n") + "\n")
	require.NoError(t, err)
	return s
}

func identity(t testing.TB) string {
	t.Helper()
	id, err := secret.GenerateIdentity()
	require.NoError(t, err)
	return id
}

func read(t testing.TB, r secret.Ref, o secret.Options) (string, error) {
	t.Helper()
	source, err := secret.Open(r, o)
	if err != nil {
		return "", err
	}
	values, err := source.Values(t.Context())
	if err != nil {
		return "", err
	}
	return values[0].Reveal(), nil
}

func TestReferencesAreReadAndTheirErrorsNameTheReference(t *testing.T) {
	t.Setenv("SECRET_TEST_A", "from env")
	dir := t.TempDir()
	file := filepath.Join(dir, "s")
	require.NoError(t, os.WriteFile(file, []byte("from file\r\n"), 0o600))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	s := sealer(t)
	sealed, err := s.Seal(secret.New("from seal"), "place")
	require.NoError(t, err)
	require.NotContains(t, sealed, "from seal")
	o := secret.Options{Sealer: s, Binding: "place"}

	for want, ref := range map[string]secret.Ref{"from env": {Env: "SECRET_TEST_A"}, "from file": {File: file}, "from seal": {Sealed: sealed}, "plain": {Value: "plain"},
		"from command": {Command: []string{"printf", "from command\n"}}} {
		got, err := read(t, ref, o)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := read(t, secret.Ref{Systemd: "s"}, o)
	require.NoError(t, err)
	require.Equal(t, "from file", got)
	for says, ref := range map[string]secret.Ref{"SECRET_TEST_NOT": {Env: "SECRET_TEST_NOT"}, "missing-file": {File: "missing-file"}, "base64": {Sealed: "%%"}, "can't be opened": {Sealed: "AAAA"},
		"no file": {File: dir}, "ended with 3": {Command: []string{"sh", "-c", "echo canary-output >&2; exit 3"}}, "printed nothing": {Command: []string{"true"}},
		"printed more than": {Command: []string{"sh", "-c", "yes | head -c 100000"}}, "can't be run": {Command: []string{"no-such-program-here"}},
		"no name of a systemd": {Systemd: "../s"}, "2 places": {Env: "A", File: "b"}, "nowhere": {}} {
		_, err := read(t, ref, o)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err = secret.Open(secret.Ref{Sealed: sealed}, secret.Options{})
	require.ErrorContains(t, err, "identity_file")
}

func TestASealedSecretOpensOnlyInItsPlaceAndWithItsKey(t *testing.T) {
	old := identity(t)
	s := sealer(t, old)
	sealed, err := s.Seal(secret.New("the secret"), "credential/Acme/basic.password")
	require.NoError(t, err)
	v, err := s.Open(sealed, "credential/Acme/basic.password")
	require.NoError(t, err)
	require.Equal(t, "the secret", v.Reveal())
	_, err = s.Open(sealed, "credential/Other/basic.password")
	require.ErrorContains(t, err, "moved")
	again, err := s.Seal(secret.New("the secret"), "credential/Acme/basic.password")
	require.NoError(t, err)
	require.NotEqual(t, sealed, again, "each has a data key of its own")

	_, err = sealer(t).Open(sealed, "credential/Acme/basic.password")
	require.ErrorContains(t, err, secret.SealedWith(sealed), "it names the key that is missing")

	both := sealer(t, identity(t), old)
	next, same, err := both.Reseal(sealed, "credential/Acme/basic.password")
	require.NoError(t, err)
	require.False(t, same)
	require.Equal(t, both.KeyID(), secret.SealedWith(next))
	_, err = s.Open(next, "credential/Acme/basic.password")
	require.Error(t, err, "the old key opens it no more")
	_, same, err = both.Reseal(next, "credential/Acme/basic.password")
	require.NoError(t, err)
	require.True(t, same)

	for i := 0; i < len(sealed); i += 7 { // every part of it counts
		changed := []byte(sealed)
		changed[i] ^= 1
		if v, err := s.Open(string(changed), "credential/Acme/basic.password"); err == nil {
			require.Equal(t, "the secret", v.Reveal(), "byte %d", i) // a bit of base64 that says nothing
		}
	}
}

func TestASecretOfBeforeThereWereBindingsOpens(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, id.Recipient())
	require.NoError(t, err)
	_, err = w.Write([]byte("of before"))
	require.NoError(t, errors.Join(err, w.Close()))
	v, err := sealer(t, id.String()).Open(base64.StdEncoding.EncodeToString(b.Bytes()), "anywhere")
	require.NoError(t, err)
	require.Equal(t, "of before", v.Reveal())
}

func TestAFileIsReadAgainWhenItChangesAndKeptWhileItIsGone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	now := time.Now()
	write := func(text string) {
		t.Helper()
		next := filepath.Join(dir, text)
		require.NoError(t, os.WriteFile(next, []byte(text), 0o600))
		now = now.Add(time.Minute)
		require.NoError(t, os.Chtimes(next, now, now))
		require.NoError(t, os.RemoveAll(file))
		require.NoError(t, os.Symlink(next, file)) // as orchestrators swap them
	}
	write("first")
	source, err := secret.Open(secret.Ref{File: file, Previous: &secret.Ref{Value: "before"}}, secret.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	values := func() string {
		t.Helper()
		list, err := source.Values(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "before", list[1].Reveal())
		return list[0].Reveal()
	}
	require.Equal(t, "first", values())
	write("second")
	require.Equal(t, "second", values())
	require.NoError(t, os.Remove(file))
	now = now.Add(time.Minute)
	require.Equal(t, "second", values(), "what was read is used while the file is replaced")
	write("third")
	require.Equal(t, "third", values())
}

func TestAVaultIsAskedWithItsTokenAndItsAnswerIsKeptForItsLease(t *testing.T) {
	t.Setenv("VAULT_TEST_TOKEN", "canary-vault-token")
	asked, status := 0, http.StatusOK
	body := `{"lease_duration": 60, "data": {"data": {"password": "from kv2"}, "metadata": {"version": 3}}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("X-Vault-Token") != "canary-vault-token" || r.Header.Get("X-Vault-Namespace") != "team" {
			status = http.StatusForbidden
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "http://127.0.0.1:1/")
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	now := time.Now()
	ref := secret.Ref{Vault: secret.Vault{URL: server.URL + "/v1/secret/data/acme", Field: "password", TokenEnv: "VAULT_TEST_TOKEN", Namespace: "team"}}
	o := secret.Options{Now: func() time.Time { return now }}
	source, err := secret.Open(ref, o)
	require.NoError(t, err)
	for range 3 {
		list, err := source.Values(t.Context())
		require.NoError(t, err)
		require.Equal(t, "from kv2", list[0].Reveal())
	}
	require.Equal(t, 1, asked)
	now = now.Add(61 * time.Second)
	_, err = source.Values(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, asked)

	body = `{"data": {"password": "from kv1"}}`
	got, err := read(t, ref, o)
	require.NoError(t, err)
	require.Equal(t, "from kv1", got)
	for says, broken := range map[string]struct {
		status int
		body   string
	}{"answered 403": {403, "canary-body"}, "answered 302": {302, ""}, "not what a vault": {200, "<html>canary-body"}, "no field": {200, `{"data": {"other": "canary-body"}}`},
		"larger than": {200, strings.Repeat("x", 2<<20)}} {
		status, body = broken.status, broken.body
		_, err := read(t, ref, o)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "canary")
	}
}

func TestAVaultIsAskedOverTLSThatIsTrusted(t *testing.T) {
	t.Setenv("VAULT_TEST_TOKEN", "canary-vault-token")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data": {"value": "over TLS"}}`))
	}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	ref := secret.Ref{Vault: secret.Vault{URL: server.URL + "/v1/secret/acme", TokenEnv: "VAULT_TEST_TOKEN"}}
	_, err := read(t, ref, secret.Options{})
	require.ErrorContains(t, err, "certificate")
	ref.Vault.CAFile = ca
	got, err := read(t, ref, secret.Options{})
	require.NoError(t, err)
	require.Equal(t, "over TLS", got)
	ref.Vault.CAFile = ca + "x"
	_, err = read(t, ref, secret.Options{})
	require.ErrorContains(t, err, "the vault's own CA")

	ref.Vault.URL = "http://vault.example.com/v1/secret/acme"
	_, err = secret.Open(ref, secret.Options{})
	require.ErrorContains(t, err, "write https")
}

func TestACommandLeavesNothingBehindThatHoldsItsOutput(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	_, err := secret.Command(t.Context(), []string{"sh", "-c", "sleep 600 & echo $! > " + pid + "; echo canary-printed"})
	require.ErrorContains(t, err, "left something running")
	require.NotContains(t, err.Error(), "canary")
	gone(t, pid)
}

// gone waits until the process whose number stands in a file has ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	child, err := os.ReadFile(pid)
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(child)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		return err != nil || strings.Contains(string(state), ") Z ")
	}, 5*time.Second, 10*time.Millisecond)
}

func TestACommandThatDoesNotEndIsEndedWithAllThatItStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	pid := filepath.Join(t.TempDir(), "pid")
	_, err := secret.Command(ctx, []string{"sh", "-c", "sleep 600 & echo $! > " + pid + "; wait"})
	require.ErrorContains(t, err, "did not end")
	gone(t, pid)
}

// TestMain plays, for the test below, a process that panics.
func TestMain(m *testing.M) {
	if os.Getenv("SECRET_TEST_PANIC") != "" {
		panic(struct{ Password secret.Value }{secret.New("canary-" + "panics")})
	}
	os.Exit(m.Run())
}

func TestAPanicWithASecretShowsNothing(t *testing.T) {
	for _, value := range []any{secret.New("canary-dumped"), struct{ V secret.Value }{secret.New("canary-dumped")}} {
		require.NotContains(t, spew.Sdump(value), "canary-dumped")
		y, err := yaml.Marshal(value)
		require.NoError(t, err)
		require.NotContains(t, string(y), "canary-dumped")
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "SECRET_TEST_PANIC=1")
	out, err := c.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic:")
	require.NotContains(t, string(out), "canary-"+"panics")
}

func FuzzOpenNeverPanicsAndNeverOpensAnotherPlace(f *testing.F) {
	s := sealer(f)
	sealed, err := s.Seal(secret.New("the secret"), "here")
	require.NoError(f, err)
	f.Add(sealed)
	f.Add("v2." + s.KeyID() + ".")
	f.Add("v2..")
	f.Add(sealed[strings.LastIndexByte(sealed, '.')+1:])
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.Open(text, "elsewhere"); err == nil {
			t.Fatalf("%q opened in another place", text)
		}
		_, _ = s.Open(text, "here")
	})
}

// Whoever can write to the database or to conf.d, but has no key, cuts off what
// says that a text is bound.
func TestASealedSecretIsNotUnboundByCuttingOffItsVersion(t *testing.T) {
	s := sealer(t)
	for _, binding := range []string{"credential/Acme/basic.password", "x", strings.Repeat("long", 200)} {
		sealed, err := s.Seal(secret.New("the secret"), binding)
		require.NoError(t, err)
		bare := sealed[strings.LastIndexByte(sealed, '.')+1:]
		_, err = s.Open(bare, "credential/Evil/bearer.token")
		require.ErrorContains(t, err, "sealed for another place")
	}
}
