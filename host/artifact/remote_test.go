package artifact_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
)

// site is a web server with files that a test changes.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []string
	etags bool
}

func newSite(t *testing.T) *site {
	s := &site{files: map[string][]byte{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r.URL.Path)
		switch b, ok := s.files[r.URL.Path]; {
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://127.0.0.1:1/acme.wasm", http.StatusFound)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/acme.wasm", http.StatusFound)
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case r.URL.Path == "/cut":
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(wasm("one")) // the connection ends with it
		case r.URL.Path == "/private":
			w.WriteHeader(http.StatusForbidden)
		case !ok:
			http.NotFound(w, r)
		default:
			if s.etags {
				w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(b)))
				if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
					w.WriteHeader(http.StatusNotModified)
					return
				}
			}
			_, _ = w.Write(b)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) put(path string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = text
}

// since returns what was asked since it was last called.
func (s *site) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *site) store(dir string, log *bytes.Buffer) *artifact.Store {
	o := artifact.StoreOptions{Dir: dir, Transport: s.Client().Transport}
	if log != nil {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	return artifact.NewStore(o)
}

func TestAnAddressIsFetchedVerifiedAndKept(t *testing.T) {
	web, dir, log := newSite(t), t.TempDir(), &bytes.Buffer{}
	web.etags = true
	alice, key := signer(t, "alice")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	source := web.URL + "/acme.wasm"
	web.put("/acme.wasm", wasm("one"))
	s := web.store(dir, log)
	require.Contains(t, refused(t, s, source, o, host.PermissionDenied), "is not signed")

	web.put("/acme.wasm.minisig", sign(t, key, wasm("one"), artifact.Wishes{}))
	a := get(t, s, source, o)
	require.Equal(t, wasm("one"), a.Wasm)
	require.Equal(t, "alice", a.Signature.Signer)
	require.Equal(t, source+"@sha256:"+a.Digest, a.Resolved)
	require.FileExists(t, filepath.Join(dir, "sha256", a.Digest))

	// What has not changed is not sent again.
	web.since()
	require.Equal(t, wasm("one"), get(t, s, source, o).Wasm)
	require.Equal(t, []string{"/acme.wasm", "/acme.wasm.minisig"}, web.since())

	// A pin that is kept needs nobody.
	pinned := o
	pinned.Digest = a.Digest
	require.Empty(t, get(t, s, source, pinned).Stale)
	require.Empty(t, web.since())

	// What is not as it should be takes the place of nothing.
	web.put("/acme.wasm", wasm("another"))
	require.Contains(t, refused(t, s, source, o, host.PermissionDenied), "was changed after it was signed")
	require.Contains(t, refused(t, s, source, artifact.Options{Digest: strings.Repeat("0", 64), Signers: o.Signers}, host.InvalidInput), "it is not the file that was meant")
	web.put("/acme.wasm", []byte("<html>sign in</html>"))
	require.Contains(t, refused(t, s, source, o, host.InvalidInput), `is no WebAssembly module; it has 20 bytes and begins with "<html>sign in</h"`)
	web.Close()
	a = get(t, s, source, o)
	require.Equal(t, wasm("one"), a.Wasm)
	require.Contains(t, a.Stale, "can't be asked")
	require.Contains(t, a.Stale, "the version that was fetched")
	require.Contains(t, log.String(), "the version in the cache is used")

	// The cache is trusted no more than the network.
	file := filepath.Join(dir, "sha256", a.Digest)
	require.NoError(t, os.WriteFile(file, wasm("evil"), 0o600))
	require.Contains(t, refused(t, s, source, o, host.Unavailable), "is not in the cache")
	refused(t, s, source, pinned, host.Unavailable)
	require.Contains(t, log.String(), "a connector in the cache is damaged")
	require.NoFileExists(t, file)
}

func TestAnAddressThatDoesNotGiveItSaysWhy(t *testing.T) {
	web := newSite(t)
	s := web.store(t.TempDir(), nil)
	web.put("/acme.wasm", wasm("one"))
	web.put("/large.wasm", append(wasm("one"), make([]byte, 2000)...))
	require.Equal(t, wasm("one"), get(t, s, web.URL+"/moved", artifact.Options{}).Wasm)
	for path, c := range map[string]struct {
		code host.Code
		says string
	}{
		"/plain":      {host.InvalidInput, "is redirected to http://127.0.0.1:1; only https is followed"},
		"/loop":       {host.Unavailable, "is redirected more than 5 times"},
		"/cut":        {host.Unavailable, "ended after 15 bytes"},
		"/private":    {host.Unauthorized, "oci:// may have one"},
		"/none.wasm":  {host.NotFound, "404 Not Found"},
		"/large.wasm": {host.LimitExceeded, "which is the most that is read"},
	} {
		require.Contains(t, refused(t, s, web.URL+path, artifact.Options{MaxBytes: 1000}, c.code), c.says, path)
	}
	// Nobody knows the authority of the test's server.
	require.Contains(t, refused(t, artifact.NewStore(artifact.StoreOptions{}), web.URL+"/acme.wasm", artifact.Options{}, host.Unavailable), "certificate")
}

func TestAManifestNamesAnAddress(t *testing.T) {
	web, dir := newSite(t), t.TempDir()
	s := web.store(filepath.Join(dir, "cache"), nil)
	alice, key := signer(t, "alice")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	web.put("/acme.wasm", wasm("one"))
	digest := get(t, s, web.URL+"/acme.wasm", artifact.Options{}).Digest
	text := fmt.Sprintf(`{"wasm": [{"url": %q, "hash": %q}], "config": {"region": "eu"}}`, web.URL+"/acme.wasm", digest)
	file := write(t, filepath.Join(dir, "acme.json"), []byte(text))
	require.Contains(t, refused(t, s, file, o, host.PermissionDenied), "is not signed")
	a := get(t, s, file, artifact.Options{})
	web.put("/acme.wasm.minisig", sign(t, key, wasm("one"), a.Wishes))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "cache")))
	a = get(t, s, file, o)
	require.Equal(t, "alice", a.Signature.Signer)
	require.Equal(t, "eu", a.Wishes.Config["region"])

	require.Equal(t, []string{web.URL + "/acme.wasm"}, artifact.Addresses(file))
	web.since()
	get(t, s, file, o)
	require.Empty(t, web.since(), "it is kept, and its hash pins it")
	write(t, file, []byte(strings.Replace(text, digest, strings.Repeat("0", 64), 1)))
	require.Contains(t, refused(t, s, file, o, host.InvalidInput), digest)
}

func TestWhatNothingNamesIsPrunedAfterAnHour(t *testing.T) {
	web, dir := newSite(t), t.TempDir()
	now := time.Now()
	s := artifact.NewStore(artifact.StoreOptions{Dir: dir, Transport: web.Client().Transport, Now: func() time.Time { return now }})
	digests := map[string]string{}
	for _, name := range []string{"kept", "earlier", "gone"} {
		web.put("/"+name+".wasm", wasm(name))
		digests[name] = get(t, s, web.URL+"/"+name+".wasm", artifact.Options{}).Digest
	}
	require.NoError(t, s.Keep(get(t, s, web.URL+"/earlier.wasm", artifact.Options{})))
	require.NoError(t, s.Keep(get(t, s, write(t, filepath.Join(t.TempDir(), "local.wasm"), wasm("local")), artifact.Options{})))
	keep := artifact.Keep{Sources: []string{web.URL + "/kept.wasm", "builtin:scim", "connectors/acme.wasm"}, Digests: []string{"sha256:" + digests["earlier"]}}
	files, _, err := s.Prune(keep)
	require.NoError(t, err)
	require.Zero(t, files, "it may be somebody's who is about to load it")

	now = now.Add(2 * time.Hour)
	files, size, err := s.Prune(keep)
	require.NoError(t, err)
	require.Equal(t, 5, files, "the modules gone and local, the records of gone and earlier, what belongs to local")
	require.Positive(t, size)
	web.Close()
	require.NotEmpty(t, get(t, s, web.URL+"/kept.wasm", artifact.Options{}).Stale)
	a, err := s.Kept(digests["earlier"], artifact.Options{})
	require.NoError(t, err)
	require.Equal(t, wasm("earlier"), a.Wasm)
	for _, digest := range []string{digests["gone"], digests["kept"], "../sources", ""} {
		_, err = s.Kept(digest, artifact.Options{})
		require.Equal(t, host.NotFound, host.CodeOf(err), digest)
	}
}

func TestAnEarlierBuildIsHadAgainAsTrustIsNow(t *testing.T) {
	dir, s := t.TempDir(), artifact.NewStore(artifact.StoreOptions{Dir: filepath.Join(t.TempDir(), "cache"), Builtin: func(string) ([]byte, bool) { return wasm("b"), true }})
	alice, key := signer(t, "alice")
	bob, _ := signer(t, "bob")
	write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	write(t, filepath.Join(dir, "manifest.json"), []byte(`{"wasm": [{"path": "acme.wasm"}], "config": {"region": "eu"}, "memory": {"max_var_bytes": 0}}`))
	want := get(t, s, dir, artifact.Options{})
	write(t, filepath.Join(dir, "acme.wasm.minisig"), sign(t, key, wasm("one"), want.Wishes))
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	want = get(t, s, dir, o)
	require.NoError(t, s.Keep(want))
	write(t, filepath.Join(dir, "acme.wasm"), wasm("two"))

	a, err := s.Kept("sha256:"+want.Digest, o)
	require.NoError(t, err)
	want.SignaturePath = ""
	require.Equal(t, want, a)
	_, err = s.Kept(want.Digest, artifact.Options{RequireSignature: true, Signers: []artifact.Signer{bob}})
	require.Equal(t, host.PermissionDenied, host.CodeOf(err), "who no longer counts counts for no earlier build")

	builtin := get(t, s, "builtin:b", o)
	require.NoError(t, s.Keep(builtin))
	a, err = s.Kept(builtin.Digest, o)
	require.NoError(t, err)
	require.True(t, a.Builtin)
}

func TestAFolderThatCannotBeWrittenCostsOnlyTheCache(t *testing.T) {
	web, log := newSite(t), &bytes.Buffer{}
	web.put("/acme.wasm", wasm("one"))
	file := write(t, filepath.Join(t.TempDir(), "file"), nil)
	require.Equal(t, wasm("one"), get(t, web.store(file, log), web.URL+"/acme.wasm", artifact.Options{}).Wasm)
	require.Contains(t, log.String(), "can't be kept")
}
