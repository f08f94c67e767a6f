package artifact_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/plugins"
)

// hub is a real registry in memory that a test makes fail.
type hub struct {
	*httptest.Server
	name    string // registry/repository
	asked   atomic.Int64
	disturb atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newHub(t *testing.T, options ...registry.Option) *hub {
	h := &hub{}
	inner := registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		if f := h.disturb.Load(); f == nil || !(*f)(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	h.name = strings.TrimPrefix(h.URL, "http://") + "/connectors/acme"
	return h
}

// instead answers some requests in place of the registry.
func (h *hub) instead(f func(w http.ResponseWriter, r *http.Request) bool) { h.disturb.Store(&f) }

func pack(a artifact.Artifact) artifact.Package {
	return artifact.Package{Artifact: a, Name: "acme", Version: "1.4.0", Vendor: "Example Ltd", Description: []byte(`{"name":"acme"}`)}
}

// made is an artifact of a file with a signature.
func made(t *testing.T, module []byte, key *artifact.PrivateKey, wishes string) artifact.Artifact {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "acme.wasm"), module)
	if wishes != "" {
		write(t, filepath.Join(dir, "manifest.json"), []byte(`{"wasm": [{"path": "acme.wasm"}], `+wishes+`}`))
	}
	a := get(t, local(t), dir, artifact.Options{})
	if key != nil {
		write(t, a.SignaturePath, sign(t, *key, module, a.Wishes))
		a = get(t, local(t), dir, artifact.Options{})
	}
	return a
}

func push(t *testing.T, h *hub, tag string, a artifact.Artifact) artifact.Pushed {
	t.Helper()
	p, err := local(t).Push(context.Background(), h.name+":"+tag, pack(a), false)
	require.NoError(t, err)
	return p
}

func TestAConnectorGoesToARegistryAndComesBack(t *testing.T) {
	for name, options := range map[string][]registry.Option{"referrers": {registry.WithReferrersSupport(true)}, "fallback tag": nil} {
		t.Run(name, func(t *testing.T) {
			h, dir := newHub(t, options...), t.TempDir()
			alice, key := signer(t, "alice")
			o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
			p := push(t, h, "1.4", made(t, wasm("one"), &key, `"config": {"region": "eu"}, "allowed_hosts": ["files.example.com"], "timeout_ms": 500`))
			require.Len(t, p.Signatures, 1)
			require.Equal(t, "oci://"+h.name+":1.4@"+p.Digest, p.Source)

			s := artifact.NewStore(artifact.StoreOptions{Dir: dir})
			a := get(t, s, "oci://"+h.name+":1.4", o)
			require.Equal(t, wasm("one"), a.Wasm)
			require.Equal(t, "acme", a.Name)
			require.Equal(t, "alice", a.Signature.Signer)
			require.Equal(t, "oci://"+h.name+"@"+p.Digest, a.Resolved)
			require.Equal(t, artifact.Wishes{Config: map[string]string{"region": "eu"}, Hosts: []string{"files.example.com"}, Time: 500e6}, a.Wishes)
			require.JSONEq(t, `{"name":"acme"}`, string(a.Description))
			require.Contains(t, string(a.SBOM), `"bomFormat": "CycloneDX"`)
			require.Equal(t, p.Digest, push(t, h, "again", made(t, wasm("one"), &key, `"config": {"region": "eu"}, "allowed_hosts": ["files.example.com"], "timeout_ms": 500`)).Digest, "the same twice is the same")

			// Pinned: once it is kept nobody is asked, and nobody need be there.
			get(t, s, p.Source, o)
			before := h.asked.Load()
			require.Empty(t, get(t, s, p.Source, o).Stale)
			require.Equal(t, before, h.asked.Load())
			h.Close()
			require.Empty(t, get(t, s, p.Source, o).Stale)

			// A tag: the version of before, and it is said.
			require.Contains(t, get(t, s, "oci://"+h.name+":1.4", o).Stale, "the registry can't be asked")
			require.Contains(t, refused(t, s, "oci://"+h.name+":1.5", o, host.Unavailable), "the registry can't be asked")
			require.Contains(t, refused(t, s, "oci://"+h.name+":1.4", artifact.Options{RequireSignature: true}, host.Unavailable), "no signers are known here", "the cache is no way around trust")
		})
	}
}

func TestATagThatMovesIsFollowedOnlyToWhatIsTrusted(t *testing.T) {
	h, dir := newHub(t, registry.WithReferrersSupport(true)), t.TempDir()
	alice, key := signer(t, "alice")
	_, stranger := signer(t, "stranger")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	s, source := artifact.NewStore(artifact.StoreOptions{Dir: dir}), "oci://"+h.name+":stable"
	one := push(t, h, "stable", made(t, wasm("one"), &key, ""))
	require.Equal(t, wasm("one"), get(t, s, source, o).Wasm)

	two := push(t, h, "stable", made(t, wasm("two"), &key, ""))
	a := get(t, s, source, o)
	require.Equal(t, wasm("two"), a.Wasm)
	require.Equal(t, "oci://"+h.name+"@"+two.Digest, a.Resolved)
	require.Equal(t, wasm("one"), get(t, s, one.Source, o).Wasm, "the pin does not move")

	for _, evil := range []artifact.Artifact{made(t, wasm("evil"), nil, ""), made(t, wasm("evil"), &stranger, "")} {
		push(t, h, "stable", evil)
		refused(t, s, source, o, host.PermissionDenied)
	}
	h.Close()
	require.Equal(t, wasm("two"), get(t, s, source, o).Wasm, "what was refused was not kept")
}

func TestASignatureMayComeLaterThanTheConnector(t *testing.T) {
	h := newHub(t, registry.WithReferrersSupport(true))
	alice, key := signer(t, "alice")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	s := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir()})
	p := push(t, h, "1", made(t, wasm("one"), nil, ""))
	get(t, s, p.Source, artifact.Options{})
	require.Contains(t, refused(t, s, p.Source, o, host.PermissionDenied), "is not signed")
	require.Equal(t, p.Digest, push(t, h, "1", made(t, wasm("one"), &key, "")).Digest)
	require.Equal(t, "alice", get(t, s, p.Source, o).Signature.Signer)
}

func TestARegistryThatLiesIsFoundOut(t *testing.T) {
	alice, key := signer(t, "alice")
	h := newHub(t, registry.WithReferrersSupport(true))
	p := push(t, h, "1", made(t, wasm("one"), &key, ""))
	blob := fmt.Sprintf("/blobs/sha256:%s", get(t, local(t), "oci://"+h.name+":1", artifact.Options{}).Digest)
	answer := func(part string, text []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) {
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				_, _ = w.Write(text)
				return true
			}
			return false
		}
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(code); return true }
	}
	evil := append([]byte(nil), wasm("one")...)
	evil[len(evil)-1] ^= 1
	big := fmt.Appendf(nil, `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [{"mediaType": "application/wasm", "digest": "sha256:%064d", "size": %d}]}`, 1, int64(1)<<40)
	for name, c := range map[string]struct {
		source  string
		instead func(http.ResponseWriter, *http.Request) bool
		code    host.Code
		says    string
	}{
		"a blob is tampered":     {p.Source, answer(blob, evil), host.InvalidInput, "the registry answers with something else than it named"},
		"a blob is cut off":      {p.Source, answer(blob, wasm("one")[:9]), host.Unavailable, ""},
		"a blob is longer":       {p.Source, answer(blob, append(wasm("one"), 0)), "", ""},
		"a manifest is another":  {p.Source, answer("/manifests/", []byte(`{"schemaVersion": 2}`)), "", ""},
		"a manifest is no JSON":  {"oci://" + h.name + ":1", answer("/manifests/", []byte(`{`)), host.InvalidInput, "its manifest can't be read"},
		"a manifest is endless":  {"oci://" + h.name + ":1", answer("/manifests/", make([]byte, 5<<20)), "", ""},
		"no module":              {"oci://" + h.name + ":1", answer("/manifests/", []byte(`{"schemaVersion": 2, "artifactType": "text/plain", "layers": []}`)), host.InvalidInput, `is no connector: it is of type "text/plain"`},
		"an odd digest":          {"oci://" + h.name + ":1", answer("/manifests/", []byte(`{"layers": [{"mediaType": "application/wasm", "digest": "md5:12", "size": 1}]}`)), host.InvalidInput, "only SHA-256 is taken"},
		"two modules":            {"oci://" + h.name + ":1", answer("/manifests/", fmt.Appendf(nil, `{"layers": [{"mediaType": "application/wasm", "digest": "sha256:%064d", "size": 1}, {"mediaType": "application/wasm", "digest": "sha256:%064d", "size": 1}]}`, 1, 2)), host.InvalidInput, "more than one part of type application/wasm"},
		"a module that is large": {"oci://" + h.name + ":1", answer("/manifests/", big), host.LimitExceeded, "which is the most that is read"},
		"an index":               {"oci://" + h.name + ":1", answer("/manifests/", []byte(`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}`)), host.InvalidInput, "name the connector itself"},
		"a sign-in is wanted":    {p.Source, status(http.StatusForbidden), host.Unauthorized, "docker login"},
		"an error":               {p.Source, status(http.StatusInternalServerError), host.Unavailable, "the registry answers 500"},
		"too many requests":      {p.Source, status(http.StatusTooManyRequests), host.RateLimited, "429"},
		"gone":                   {p.Source, status(http.StatusNotFound), host.NotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h.instead(c.instead)
			dir := t.TempDir()
			a, err := artifact.NewStore(artifact.StoreOptions{Dir: dir}).Get(context.Background(), c.source, artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}})
			require.Error(t, err)
			require.Empty(t, a.Wasm)
			if c.code != "" {
				require.Equal(t, c.code, host.CodeOf(err), "%v", err)
			}
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, h.name)
			require.NoDirExists(t, filepath.Join(dir, "sources"), "nothing is kept of it")
		})
	}
	h.disturb.Store(nil)
	get(t, artifact.NewStore(artifact.StoreOptions{}), p.Source, artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}})
}

func TestACacheThatIsDamagedIsMadeGood(t *testing.T) {
	h, dir := newHub(t, registry.WithReferrersSupport(true)), t.TempDir()
	alice, key := signer(t, "alice")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	p := push(t, h, "1", made(t, wasm("one"), &key, `"config": {"a": "b"}`))
	s := artifact.NewStore(artifact.StoreOptions{Dir: dir})
	get(t, s, p.Source, o)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 7, "the manifest, four parts, the signature, the record")
	for _, file := range files {
		for _, damaged := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("{}"), 50_000)} {
			require.NoError(t, os.WriteFile(file, damaged, 0o600))
			a := get(t, s, p.Source, o)
			require.Equal(t, wasm("one"), a.Wasm)
			require.Equal(t, "b", a.Wishes.Config["a"])
			require.Empty(t, a.Stale)
		}
	}
	h.Close()
	get(t, s, p.Source, o)
}

func TestTheSignInAtARegistryIsDockers(t *testing.T) {
	h := newHub(t, registry.WithReferrersSupport(true))
	a := made(t, wasm("one"), nil, "")
	h.instead(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, ok := r.BasicAuth(); ok && user == "ci" && password == "s3cret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	s := artifact.NewStore(artifact.StoreOptions{Credential: artifact.DockerCredential()})
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	_, err := s.Push(context.Background(), h.name+":1", pack(a), false)
	require.Equal(t, host.Unauthorized, host.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "DOCKER_AUTH_CONFIG")

	auth := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, strings.TrimPrefix(h.URL, "http://"), base64.StdEncoding.EncodeToString([]byte("ci:s3cret")))
	t.Setenv("DOCKER_AUTH_CONFIG", auth)
	_, err = s.Push(context.Background(), h.name+":1", pack(a), false)
	require.NoError(t, err)
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(auth))
	require.Equal(t, wasm("one"), get(t, s, "oci://"+h.name+":1", artifact.Options{}).Wasm)
	t.Setenv("DOCKER_AUTH_CONFIG", "{s3cret")
	require.NotContains(t, refused(t, s, "oci://"+h.name+":1", artifact.Options{}, host.InvalidInput), "s3cret")
}

func TestWhatWouldBeRefusedIsNotPushed(t *testing.T) {
	h := newHub(t, registry.WithReferrersSupport(true))
	_, key := signer(t, "alice")
	a := made(t, wasm("one"), &key, "")
	other := pack(a)
	other.Version = "1.5.0"
	covered := pack(a)
	covered.Artifact.Wishes.Config = map[string]string{"a": "b"}
	broken := pack(a)
	broken.Artifact.Signatures = [][]byte{[]byte("x")}
	for says, p := range map[string]artifact.Package{"is for acme 1.4.0, but the module is acme 1.5.0": other, "is for another manifest, or for none": covered, "is no minisign signature": broken} {
		_, err := local(t).Push(context.Background(), h.name+":1", p, false)
		require.Equal(t, host.InvalidInput, host.CodeOf(err))
		require.ErrorContains(t, err, says)
	}
	for _, reference := range []string{h.name, h.name + ":1@sha256:" + strings.Repeat("0", 64), "https://x/y", ""} {
		_, err := local(t).Push(context.Background(), reference, pack(a), false)
		require.Error(t, err, reference)
	}
	require.Zero(t, h.asked.Load())
}

func TestAListOfPartsNamesWhatGoBuiltItOf(t *testing.T) {
	b, err := artifact.NewSBOM(wasm("one"), "acme", "1.4.0", "Example Ltd")
	require.NoError(t, err)
	var bom struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components   []struct{ Name, Purl string }
		Compositions []struct{ Aggregate string }
	}
	require.NoError(t, json.Unmarshal(b, &bom))
	require.Equal(t, "acme", bom.Metadata.Component.Name)
	require.Empty(t, bom.Components)
	require.Equal(t, "unknown", bom.Compositions[0].Aggregate)

	if len(plugins.Names()) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("no connectors are embedded: make build compiles them")
		}
		t.Skip("no connectors are embedded: make build compiles them")
	}
	module, _ := plugins.Builtin(plugins.Names()[0])
	again, err := artifact.NewSBOM(module, "mock", "0.1.0", "")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(again, &bom))
	var names []string
	for _, c := range bom.Components {
		names = append(names, c.Name)
	}
	require.Subset(t, names, []string{"std", "github.com/provosthq/provost"})
	require.Equal(t, "complete", bom.Compositions[0].Aggregate)
	same, err := artifact.NewSBOM(module, "mock", "0.1.0", "")
	require.NoError(t, err)
	require.Equal(t, again, same)
}
