package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// newHub is a real registry, in memory; the name is that of a repository there.
func newHub(t *testing.T) (server *httptest.Server, name string) {
	server = httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return server, strings.TrimPrefix(server.URL, "http://") + "/connectors/acme"
}

// done is the standard output of a command that must succeed.
func done(t *testing.T, args ...string) string {
	t.Helper()
	got := provost(args...)
	require.Zero(t, got.code, got.errors)
	return got.out
}

// fails is what a command that must not succeed says.
func fails(t *testing.T, code int, args ...string) string {
	t.Helper()
	got := provost(args...)
	require.Equal(t, code, got.code, got.out+got.errors)
	require.Empty(t, got.out)
	return got.errors
}

func copied(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func TestAConnectorIsSignedPushedPulledAndVerified(t *testing.T) {
	if testing.Short() {
		t.Skip("one command after the other, each of which compiles: under the race detector a minute")
	}
	_, hub := newHub(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	copied(t, guest(t, tinyGuest), in("acme.wasm"))
	require.Contains(t, done(t, "plugin", "keygen", in("example-ltd"), "--no-password"), "signers:\n  - {name: example-ltd, key: RW")
	require.Contains(t, fails(t, 1, "plugin", "keygen", in("example-ltd"), "--no-password"), "is there already")
	info, err := os.Stat(in("example-ltd.key"))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	cfg := in("provost.yaml")
	configure := func(rest string) {
		require.NoError(t, os.WriteFile(cfg, []byte("signers: [{name: example-ltd, key_file: example-ltd.pub}]\n"+rest), 0o600))
	}
	configure("plugins: [{name: acme, source: acme.wasm, settings: {region: eu}}]\n")
	require.Contains(t, fails(t, 1, "config", "validate", cfg), "is not signed; put the signature into "+in("acme.wasm.minisig"))
	require.Contains(t, fails(t, 1, "plugin", "call", "acme", "describe", "--config", cfg), "is not signed")
	require.Contains(t, provost("plugin", "list", "--config", cfg).out, "is not signed")
	require.Contains(t, done(t, "plugin", "inspect", "acme", "--config", cfg), "signed       no: it is not signed", "to see it is no use of it")

	require.Contains(t, fails(t, 2, "plugin", "sign", in("acme.wasm")), "key")
	require.Contains(t, fails(t, 1, "plugin", "sign", in("acme.wasm"), "--key", in("example-ltd.pub")), "is no minisign private key")
	require.Contains(t, done(t, "plugin", "sign", in("acme.wasm"), "--key", in("example-ltd.key")), "tiny 0.1.0 is signed with the key")
	require.Contains(t, done(t, "config", "validate", cfg), "is valid")
	require.Contains(t, done(t, "plugin", "list", "--config", cfg), "example-ltd")
	require.Contains(t, done(t, "plugin", "inspect", "acme", "--config", cfg), "by example-ltd (trusted)")
	require.Contains(t, done(t, "plugin", "verify", in("acme.wasm"), "--key", in("example-ltd.pub")), "tiny 0.1.0 is signed by")
	require.Contains(t, done(t, "plugin", "verify", in("acme.wasm"), "--config", cfg, "--signer", "example-ltd"), "is signed by example-ltd")
	require.Contains(t, fails(t, 2, "plugin", "verify", in("acme.wasm"), "--config", cfg, "--signer", "nobody"), "it has example-ltd")
	require.Contains(t, fails(t, 2, "plugin", "verify", in("acme.wasm")), "key config")

	require.Contains(t, done(t, "plugin", "push", hub+":0.1", in("acme.wasm")), "oci://"+hub+":0.1@sha256:")
	var pushed pushedPlugin
	require.NoError(t, json.Unmarshal([]byte(done(t, "plugin", "push", "oci://"+hub+":latest", in("acme.wasm"), "-o", "json")), &pushed))
	require.Len(t, pushed.Signatures, 1)
	require.Contains(t, done(t, "plugin", "pull", hub+":0.1", "-o", in("pulled/other.wasm"), "--config", cfg), "other.wasm.minisig")
	for _, name := range []string{"other.wasm", "other.wasm.minisig"} {
		want, err := os.ReadFile(in(strings.Replace(name, "other", "acme", 1)))
		require.NoError(t, err)
		got, err := os.ReadFile(in("pulled/" + name))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	bom, err := os.ReadFile(in("pulled/other.cdx.json"))
	require.NoError(t, err)
	require.Contains(t, string(bom), `"CycloneDX"`)

	configure(fmt.Sprintf("plugins: [{name: acme, source: %q, digest: %q, signers: [example-ltd], settings: {region: eu}}]\n", pushed.Source, "sha256:"+pushed.SHA256))
	require.Contains(t, done(t, "config", "validate", cfg), "is valid")
	require.Contains(t, done(t, "plugin", "inspect", "acme", "--config", cfg), "oci://"+hub+"@"+pushed.Digest)

	// Another's file under the signature, and another's signature.
	require.NoError(t, os.WriteFile(in("acme.wasm"), anotherBuild(readAll(t, in("acme.wasm"))), 0o600))
	require.Contains(t, fails(t, 1, "plugin", "verify", in("acme.wasm"), "--key", in("example-ltd.pub")), "was changed after it was signed")
	done(t, "plugin", "keygen", in("stranger"), "--no-password")
	done(t, "plugin", "sign", in("acme.wasm"), "--key", in("stranger.key"))
	done(t, "plugin", "push", hub+":latest", in("acme.wasm"))
	require.Contains(t, fails(t, 1, "plugin", "pull", hub+":latest", "-o", in("pulled/"), "--config", cfg), "which is none of those that are known: example-ltd (")
}

func readAll(t *testing.T, file string) []byte {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return b
}

func TestASignedNameIsTheOneThatTheModuleDescribes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "acme.wasm")
	copied(t, guest(t, tinyGuest), file)
	done(t, "plugin", "keygen", filepath.Join(dir, "alice"), "--no-password")
	key, err := artifact.OpenKey(readAll(t, filepath.Join(dir, "alice.key")), "")
	require.NoError(t, err)
	text, err := artifact.Sign(key, readAll(t, file), "globex", "9.9", artifact.Wishes{}, time.Unix(1_700_000_000, 0))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file+".minisig", text, 0o600))
	cfg := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(cfg, []byte("signers: [{name: alice, key_file: alice.pub}]\nplugins: [{name: acme, source: acme.wasm, settings: {region: eu}}]\n"), 0o600))
	for _, args := range [][]string{{"config", "validate", cfg}, {"plugin", "verify", file, "--config", cfg}, {"plugin", "inspect", "acme", "--config", cfg},
		{"plugin", "call", "acme", "describe", "--config", cfg}, {"plugin", "call", "acme", "create", "--config", cfg}} {
		require.Contains(t, fails(t, 1, args...), "it describes itself as tiny 0.1.0, but alice signed it as globex 9.9", "%s", args)
	}
}

func TestAManifestLowersLimitsAndNeverRaisesThem(t *testing.T) {
	got := wishedLimits(sandbox.Limits{}, artifact.Wishes{MemoryBytes: 1 << 20, Time: 1, HTTPResponseBytes: -1, VarBytes: 10})
	require.Equal(t, sandbox.Limits{MemoryBytes: 1 << 20, Time: 1, HTTPResponseBytes: 1, VarBytes: 10}, got)
	got = wishedLimits(sandbox.Limits{}, artifact.Wishes{MemoryBytes: 1 << 40, Time: 1 << 60, HTTPResponseBytes: 1 << 60, VarBytes: 1 << 60})
	require.Zero(t, got, "that is for a grant to give")
	require.Equal(t, host.Reach{MemoryMiB: 129, TimeSeconds: 12, Hosts: []string{"a.example.com"}},
		wishedReach(artifact.Wishes{MemoryBytes: 128<<20 + 65536, Time: 11500 * time.Millisecond, Hosts: []string{"a.example.com"}}))
	require.Zero(t, wishedReach(artifact.Wishes{MemoryBytes: 1 << 20, Time: time.Second}), "what every connector has needs none")
	own := sandbox.Limits{MemoryBytes: 1 << 30, Time: 2, HTTPResponseBytes: 3, VarBytes: 4}
	require.Equal(t, own, wishedLimits(own, artifact.Wishes{MemoryBytes: 5, Time: 5, HTTPResponseBytes: 5, VarBytes: 5}), "the operator's word is the last")
}

func TestWhatAManifestAsksForIsAskedForByTheConnector(t *testing.T) {
	d := connector.Asking(pdk.Description{Hosts: []string{"a.example.com"}, Limits: &pdk.LimitHints{TimeSeconds: 30, HTTPCalls: 5}},
		host.Reach{Hosts: []string{"a.example.com", "b.example.com"}, MemoryMiB: 128, TimeSeconds: 20})
	require.Equal(t, pdk.Description{Hosts: []string{"a.example.com", "b.example.com"}, Limits: &pdk.LimitHints{MemoryMiB: 128, TimeSeconds: 30, HTTPCalls: 5}}, d)
	require.Zero(t, connector.Asking(pdk.Description{}, host.Reach{}))
}

// A daemon follows a tag of a registry to builds that are trusted, goes on with
// the one before where it moves to another, and starts without the registry.
func TestADaemonTakesFromARegistryOnlyWhatIsTrusted(t *testing.T) {
	t.Parallel()
	server, hub := newHub(t)
	s := newServed(t)
	in := func(name string) string { return filepath.Join(s.dir, name) }
	done(t, "plugin", "keygen", in("alice"), "--no-password")
	key, err := artifact.OpenKey(readAll(t, in("alice.key")), "")
	require.NoError(t, err)
	// publish moves the tag to a build.
	publish := func(wasm []byte, signed bool) (digest string) {
		file := filepath.Join(t.TempDir(), "mock.wasm")
		require.NoError(t, os.WriteFile(file, wasm, 0o600))
		if signed {
			text, err := artifact.Sign(key, wasm, "mock", "0.1.0", artifact.Wishes{}, time.Now())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file+".minisig", text, 0o600))
		}
		store := newArtifacts("", nil)
		a, err := store.Get(t.Context(), file, artifact.Options{})
		require.NoError(t, err)
		_, err = store.Push(t.Context(), hub+":stable", artifact.Package{Artifact: a, Name: "mock", Version: "0.1.0", Description: []byte("{}")}, false)
		require.NoError(t, err)
		return a.Digest
	}
	running := func() string {
		var list []struct {
			Name, Digest, Source string
		}
		s.ask("/api/v1/plugins", nil, &list)
		require.Len(t, list, 1)
		if list[0].Digest != "" {
			require.Contains(t, list[0].Source, "oci://"+hub+"@sha256:", "what a tag stood for is what is told")
		}
		return list[0].Digest
	}
	n := 0
	configure := func() { // another text each time: every reload asks anew
		n++
		text := fmt.Sprintf("listen: {api: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}\nlog: {level: debug, format: json}\nsigners: [{name: alice, key_file: alice.pub}]\nplugins: [{name: mock, source: \"oci://%s:stable\"}]\n# %d\n", hub, n)
		require.NoError(t, os.WriteFile(s.file+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(s.file+".new", s.file))
	}
	first := publish(s.mock(), true)
	configure()
	s.start()
	s.until("the first build", func() bool { return running() == first })

	second := publish(anotherBuild(s.mock()), true)
	configure()
	s.until("the second build", func() bool { return running() == second })

	publish(anotherBuild(anotherBuild(s.mock())), false)
	configure()
	s.until("the refusal", func() bool { return strings.Contains(s.log.String(), "is not signed") })
	require.Equal(t, second, running())
	s.terminate()
	s.end()

	server.Close()
	s.start()
	s.until("the build of before", func() bool { return running() == second })
	require.Contains(t, s.log.String(), "the version in the cache is used")
	code, ready := s.http(s.api, "/readyz")
	require.Equal(t, 200, code)
	require.Contains(t, ready, "the registry can't be asked")
	require.Contains(t, s.must("", "plugin", "status"), "the registry can't be asked")
	_, scraped := s.http(s.metricsAPI, "/metrics")
	require.Contains(t, scraped, `provost_connector_source_stale{connector="mock"} 1`)
	s.terminate()
	s.end()
}

func TestTheCacheKeepsWhatTheConfigurationAndTheVersionsName(t *testing.T) {
	t.Parallel()
	_, hub := newHub(t)
	s := newServed(t)
	store := newArtifacts(filepath.Join(s.dir, "data", "connectors"), nil)
	file := filepath.Join(t.TempDir(), "mock.wasm")
	require.NoError(t, os.WriteFile(file, s.mock(), 0o600))
	a, err := store.Get(t.Context(), file, artifact.Options{})
	require.NoError(t, err)
	for _, tag := range []string{"kept", "gone"} {
		_, err = store.Push(t.Context(), hub+":"+tag, artifact.Package{Artifact: a, Name: "mock", Version: "0.1.0", Summary: tag, Description: []byte("{}")}, false)
		require.NoError(t, err)
		_, err = store.Get(t.Context(), "oci://"+hub+":"+tag, artifact.Options{})
		require.NoError(t, err)
	}
	require.NoError(t, store.Keep(artifact.Artifact{Wasm: []byte("of nobody"), Digest: strings.Repeat("1", 64)}))
	old := time.Now().Add(-2 * time.Hour)
	files := func() (list []string) {
		list, err := filepath.Glob(filepath.Join(s.dir, "data", "connectors", "*", "*"))
		require.NoError(t, err)
		return list
	}
	before := files()
	for _, f := range before {
		require.NoError(t, os.Chtimes(f, old, old))
	}
	s.configure(fmt.Sprintf("plugins: [{name: mock, source: \"oci://%s:kept\"}]\n", hub))
	s.start()
	s.until("the cache to be pruned", func() bool { return strings.Contains(s.log.String(), "the cache of connectors was pruned") })
	s.terminate()
	s.end()
	require.Len(t, files(), len(before)-4+1, "the module of nobody with what belongs to it, the record and the manifest of what is gone; not what it shares; what the daemon itself keeps is one more")
	_, err = store.Kept(a.Digest, artifact.Options{})
	require.NoError(t, err)
}
