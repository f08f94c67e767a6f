package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// canaries are secrets that stand nowhere by chance, in the forms in which they
// could be found.
type canaries map[string][][]byte

func (c canaries) add(name string, value []byte) {
	written, err := json.Marshal(string(value))
	if err == nil {
		c[name] = append(c[name], bytes.Trim(written, `"`))
	}
	c[name] = append(c[name], value, []byte(base64.StdEncoding.EncodeToString(value)), []byte(base64.RawURLEncoding.EncodeToString(value)),
		[]byte(hex.EncodeToString(value)), []byte(url.QueryEscape(string(value))))
}

// in tells which canary stands in a text, and what is around it.
func (c canaries) in(text []byte) (where string) {
	for name, forms := range c {
		for _, form := range forms {
			if i := bytes.Index(text, form); i >= 0 {
				return fmt.Sprintf("%s, in %q", name, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	return ""
}

// parrot is a target that repeats what it was sent wherever it can, and calls it
// wrong.
type parrot struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var sent strings.Builder
	_ = r.Header.Write(&sent) // into memory
	all := r.URL.RawQuery + "\n" + sent.String() + string(body)
	p.mu.Lock()
	p.seen.WriteString(all + "\n")
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	authorization := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(r.URL.Path, "/digest") && authorization == "":
		w.Header().Set("WWW-Authenticate", `Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n"`)
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasPrefix(authorization, "Bearer canary-bearer-Z"): // it knows the one before only
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasSuffix(r.URL.Path, "/token"):
		fmt.Fprint(w, `{"access_token":"canary-access-5a1f","refresh_token":"canary-refresh-5a1f","token_type":"bearer","expires_in":3600}`)
	case strings.HasSuffix(r.URL.Path, "/login"):
		fmt.Fprint(w, `{"session":"canary-session-5a1f"}`)
	default:
		w.Header().Set("X-Echo", strings.Join(r.Header["Authorization"], " ")+r.URL.RawQuery)
		w.WriteHeader(http.StatusBadRequest)
		text, err := json.Marshal(all)
		if err == nil {
			fmt.Fprintf(w, `{"error":%[1]s,"message":%[1]s,"detail":%[1]s}`, text)
		}
	}
}

// Every kind of credential has a secret that stands nowhere else; its requests
// fail, are traced, and are repeated by the target. Afterwards it is looked for
// in whatever a person, a machine, or a thief of the disk could get at, and in a
// dump of the daemon.
func TestNoSecretOfAnyKindOfCredentialIsSeenAnywhere(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "data", "compiled"))) // looked through as well
	away := t.TempDir()                                                     // where the secrets are
	file := func(name string, value []byte) string {
		path := filepath.Join(away, name)
		require.NoError(t, os.WriteFile(path, value, 0o600))
		return path
	}
	all := canaries{}
	for _, name := range []string{"access", "refresh", "session"} {
		all.add(name+" of an answer", []byte("canary-"+name+"-5a1f"))
	}
	text := func(name string) string {
		value := "canary-" + name + "-Zq7&+x/9f"
		all.add(name, []byte(value))
		return file(name, []byte(value))
	}
	key := func(name string) string {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		require.NoError(t, err)
		scalar, err := private.Bytes()
		require.NoError(t, err)
		encoded := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		all.add(name, scalar)
		all[name] = append(all[name], bytes.Split(encoded, []byte("\n"))[1])
		return file(name, encoded)
	}
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	all.add("identity", []byte(identity))
	file("identity", []byte(identity+"\n"))
	s.env = []string{"CANARY_ENV=canary-env-Zq7x9f", "GOTRACEBACK=crash"}
	all.add("environment", []byte("canary-env-Zq7x9f"))

	echo := &parrot{}
	target := httptest.NewServer(echo)
	defer target.Close()
	kinds := map[string]string{
		"bearer":    fmt.Sprintf(`bearer: {token: {file: %s, previous: {file: %s}}}`, text("bearer"), text("previous")),
		"basic":     fmt.Sprintf(`basic: {username: provost, password: {file: %s}}`, text("basic")),
		"digest":    fmt.Sprintf(`endpoint: "`+target.URL+`/digest", digest: {username: provost, password: {file: %s}}`, text("digest")),
		"key":       fmt.Sprintf(`api_key: {header: X-Key, value: {file: %s}}`, text("key")),
		"query":     fmt.Sprintf(`api_key: {query: key, value: {file: %s}}`, text("query")),
		"own":       fmt.Sprintf(`headers: [{name: X-Own, value: "v ", secret: {file: %s}}]`, text("own")),
		"env":       `bearer: {token: {env: CANARY_ENV}}`,
		"command":   fmt.Sprintf(`bearer: {token: {command: [cat, %s]}}`, text("command")),
		"hmac":      fmt.Sprintf(`hmac: {key_id: k, key: {file: %s}}`, text("hmac")),
		"jwt":       fmt.Sprintf(`jwt: {key: {secret: {file: %s}}, assertion: {issuer: provost, audience: x}}`, key("jwt")),
		"aws":       fmt.Sprintf(`aws: {region: eu-central-1, service: s3, access_key_id: AKID, secret_access_key: {file: %s}, session_token: {file: %s}}`, text("aws"), text("aws-session")),
		"session":   fmt.Sprintf(`session: {path: /login, json: {p: "{!$Credential.Password}"}, password: {file: %s}, keep: token, token: session, send: {header: X-Session}}`, text("session")),
		"client":    fmt.Sprintf(`oauth2: {token_url: "%s/token", client_id: provost, client_secret: {file: %s}}`, target.URL, text("client")),
		"password":  fmt.Sprintf(`oauth2: {grant: password, token_url: "%s/token", client_id: provost, username: provost, password: {file: %s}, client_secret: {file: %s}}`, target.URL, text("password"), text("password-client")),
		"exchange":  fmt.Sprintf(`oauth2: {grant: token_exchange, token_url: "%s/token", client_id: provost, client_secret: {file: %s}, subject_token: {file: %s}}`, target.URL, text("exchange"), text("subject")),
		"assertion": fmt.Sprintf(`oauth2: {grant: jwt_bearer, token_url: "%s/token", client_id: provost, auth_style: none, key: {secret: {file: %s}}}`, target.URL, key("assertion")),
		"proxied":   fmt.Sprintf("anonymous: true, proxy: {url: %q, username: me, password: {file: %s}}", target.URL, text("proxied")),
		"gone":      fmt.Sprintf(`endpoint: "http://127.0.0.1:1/x", api_key: {query: key, value: {file: %s}}`, text("gone")),
	}
	config := fmt.Sprintf("secrets: {identity_file: %s}\nplugins: [{name: mock, source: mock.wasm}]\n", filepath.Join(away, "identity"))
	var names []string
	credentials, apps := "credentials:\n", "apps:\n"
	for name, kind := range kinds {
		names = append(names, name)
		if !strings.Contains(kind, "endpoint:") {
			kind = fmt.Sprintf("endpoint: %q, ", target.URL) + kind
		}
		credentials += fmt.Sprintf("  - {name: %s, %s}\n", strings.ToUpper(name[:1])+name[1:], kind)
		apps += fmt.Sprintf("  - {name: %s, plugin: mock, credential: %s, max_attempts: 1}\n", name, strings.ToUpper(name[:1])+name[1:])
	}
	slices.Sort(names)
	s.configure(config + credentials + apps)
	s.start()

	var shown strings.Builder
	see := func(args ...string) {
		t.Helper()
		out, errs, _ := s.run("", args...)
		shown.WriteString(out + errs)
	}
	for _, name := range names {
		s.add(name, name)
	}
	for _, name := range names {
		s.until("the end in "+name, func() bool { r := s.requests(name)[0]; return r.State.Ended() || r.ErrorMessage != "" })
		if name != "gone" { // who waits for it waits until it is back
			see("request", "create", "--user", name, "--app", name, "--operation", "Read", "--wait", "--trace")
		}
		for _, r := range s.requests(name) {
			_, body := s.http(s.api, "/api/v1/requests/"+r.Id)
			shown.WriteString(body)
		}
	}
	for _, name := range []string{"Query", "Digest", "Jwt", "Session", "Client", "Gone", "Proxied"} {
		see("credential", "test", name)
	}
	see("request", "get", s.requests("client")[0].Name, "--trace")
	see("reconcile", "--app", "query", "--wait")
	for _, args := range [][]string{{"credential", "list"}, {"credential", "get", "Client"}, {"app", "list"}, {"status"}, {"request", "list"}, {"target", "list"}, {"notice", "list"}} {
		see(args...)
	}
	for _, path := range []string{"/api/v1/status", "/api/v1/credentials", "/api/v1/requests", "/api/v1/notices", "/api/v1/targets", "/api/openapi.json", "/readyz"} {
		_, body := s.http(s.api, path)
		shown.WriteString(body)
	}
	_, scraped := s.http(s.metricsAPI, "/metrics")
	shown.WriteString(scraped)

	// It was all used: the target has seen what is sent as it is.
	echo.mu.Lock()
	seen := echo.seen.String()
	echo.mu.Unlock()
	for _, name := range []string{"bearer", "previous", "key", "own", "command", "aws-session", "session", "proxied", "subject", "password"} {
		value := "canary-" + name + "-Zq7&+x/9f"
		require.True(t, strings.Contains(seen, value) || strings.Contains(seen, url.QueryEscape(value)) || strings.Contains(seen, strings.ReplaceAll(value, "&", `\u0026`)) || strings.Contains(seen, base64.StdEncoding.EncodeToString([]byte("me:"+value))), "%s was never sent", name)
	}
	require.Contains(t, seen, "canary-access-5a1f")
	require.Contains(t, shown.String(), "***", "the target's echo is shown")

	look := func() (files int) {
		require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			require.Empty(t, all.in(b), "%s", path)
			return err
		}))
		return files
	}
	require.Greater(t, look(), 4, "with the log that SQLite writes ahead")
	dumped(t, s, all)
	require.NoError(t, s.process.Process.Signal(syscall.SIGQUIT))
	<-s.ended
	s.process = nil
	require.Contains(t, s.log.String(), "goroutine ")
	require.Regexp(t, `(?m)^main\.serve\(\.\.\.\)$`, s.log.String(), "with what it does, and without what with")
	look()
	require.Empty(t, all.in([]byte(shown.String())), "what is shown")
	require.Empty(t, all.in([]byte(s.log.String())), "the log")
}

// dumped takes dumps of a daemon, and looks for the canaries in them.
func dumped(t *testing.T, s *served, all canaries) {
	t.Helper()
	pid := fmt.Sprint(s.process.Process.Pid)
	limits, err := os.ReadFile("/proc/" + pid + "/limits")
	require.NoError(t, err)
	require.Regexp(t, `Max core file size +0 +0 `, string(limits))
	program, err := exec.LookPath("gcore")
	if err != nil {
		require.Empty(t, os.Getenv("CI"), "gcore (of gdb) must be there")
		t.Log("no gcore: no dump was taken")
		return
	}
	// That gcore finds what there is to find is seen on another process.
	other := exec.Command("sleep", "600")
	other.Env = []string{"CANARY=canary-of-the-control-5a1f"}
	require.NoError(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }() // it was killed
	dir := t.TempDir()
	take := func(pid string) []byte {
		out, err := exec.Command(program, "-o", filepath.Join(dir, "core"), pid).CombinedOutput()
		b, missing := os.ReadFile(filepath.Join(dir, "core."+pid))
		if missing != nil {
			t.Logf("no dump could be taken: %v: %s", err, out)
		}
		return b
	}
	control := take(fmt.Sprint(other.Process.Pid))
	if !bytes.Contains(control, []byte("canary-of-the-control-5a1f")) {
		require.Empty(t, os.Getenv("CI"), "gcore finds nothing in any process")
		t.Log("gcore finds nothing in any process here")
		return
	}
	require.Empty(t, all.in(take(pid)), "a dump of the daemon")
}

func TestADaemonThatDiesLeavesNoCore(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	s.configure("plugins: [{name: mock, source: mock.wasm}]\n")
	dir := t.TempDir()
	s.env = []string{"GOTRACEBACK=crash"} // Go then asks the kernel for a core
	cmd := exec.Command("sh", "-c", fmt.Sprintf("cd %s && ulimit -S -c $(ulimit -H -c) && exec %s serve --config %s", dir, s.bin, s.file))
	cmd.Env = append(os.Environ(), s.env...)
	log := new(logBuffer)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	s.log = log
	s.until("the start", func() bool { return strings.Contains(log.String(), `"api"`) })
	require.NoError(t, cmd.Process.Signal(syscall.SIGABRT))
	require.Error(t, cmd.Wait())
	require.False(t, cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump(), log)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A connector looks through all of its memory for the secret that an echo has
// just brought back, masked.
func TestTheMemoryOfAConnectorHoldsNoSecret(t *testing.T) {
	const token = "canary-bearer-in-memory-5a1f"
	target := httptest.NewServer(&parrot{})
	defer target.Close()
	out := callout.New(callout.Options{})
	defer out.Close()
	require.NoError(t, out.Apply([]callout.Credential{{Name: "Acme", Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: token}, Path: "bearer.token"}}}}))
	wasm, err := os.ReadFile(guest(t, "./testdata/prober"))
	require.NoError(t, err)
	reversed := func(s string) string {
		b := []byte(s)
		slices.Reverse(b)
		return string(b)
	}
	require.NoError(t, withSandbox(t.Context(), func(sb *sandbox.Runtime) error {
		catalogue := connector.New(connector.Options{Sandbox: sb, Egress: egress{Egress: out}})
		defer func() { require.NoError(t, catalogue.Close(context.Background())) }()
		require.NoError(t, catalogue.Load(t.Context(), connector.Spec{Name: "prober", Wasm: wasm}))
		c, release, err := catalogue.Acquire(t.Context(), "prober", "")
		require.NoError(t, err)
		defer release()
		for range 2 { // the second call finds nothing of the first either
			o, _, err := c.Call(t.Context(), pdk.OpCreate, pdk.Input{NamedCredDevName: "Acme", Parameters: map[string]any{
				"requests": []probe{{URL: "callout:Acme/echo"}}, "find": []string{reversed(token), reversed("Authorization: Bearer ***")}}})
			require.NoError(t, err)
			raw, err := json.Marshal(o.Attributes["answers"])
			require.NoError(t, err)
			var answers []struct{ Status int }
			require.NoError(t, json.Unmarshal(raw, &answers))
			require.Len(t, answers, 3)
			require.Zero(t, answers[1].Status, "the secret stands in the connector's memory")
			require.Positive(t, answers[2].Status, "the answer does not, so that it was not looked for")
		}
		return nil
	}))
}
