package artifact_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	extism "github.com/extism/go-sdk"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
)

// wasm is the smallest module with a custom section that tells one from another.
func wasm(note string) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), append([]byte{0, byte(2 + len(note)), 1, 'n'}, note...)...)
}

func write(t *testing.T, file string, text []byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

// signer makes a key of its own for a name.
func signer(t *testing.T, name string) (artifact.Signer, artifact.PrivateKey) {
	public, private, err := artifact.GenerateKey("")
	require.NoError(t, err)
	key, err := artifact.ParsePublicKey(string(public))
	require.NoError(t, err)
	secret, err := artifact.OpenKey(private, "")
	require.NoError(t, err)
	return artifact.Signer{Name: name, Key: key}, secret
}

func sign(t *testing.T, key artifact.PrivateKey, wasm []byte, wishes artifact.Wishes) []byte {
	s, err := artifact.Sign(key, wasm, "acme", "1.4.0", wishes, time.Unix(1_700_000_000, 0))
	require.NoError(t, err)
	return s
}

func local(t *testing.T) *artifact.Store {
	return artifact.NewStore(artifact.StoreOptions{Builtin: func(name string) ([]byte, bool) { return wasm("built in"), name == "scim" }, Builtins: []string{"scim"}})
}

func get(t *testing.T, s *artifact.Store, source string, o artifact.Options) artifact.Artifact {
	t.Helper()
	a, err := s.Get(context.Background(), source, o)
	require.NoError(t, err)
	return a
}

// refused is the message of an error with a code.
func refused(t *testing.T, s *artifact.Store, source string, o artifact.Options, code host.Code) string {
	t.Helper()
	a, err := s.Get(context.Background(), source, o)
	require.Error(t, err)
	require.Equal(t, code, host.CodeOf(err), "%v", err)
	require.Empty(t, a.Wasm, "what is refused is not handed out")
	return err.Error()
}

func TestWhatIsBuiltInNeedsNoSignature(t *testing.T) {
	a := get(t, local(t), "builtin:scim", artifact.Options{RequireSignature: true})
	require.True(t, a.Builtin)
	require.Equal(t, wasm("built in"), a.Wasm)
	require.Contains(t, refused(t, local(t), "builtin:skim", artifact.Options{}, host.InvalidInput), "there is scim")
	require.Contains(t, refused(t, local(t), "builtin:scim", artifact.Options{Digest: strings.Repeat("0", 64)}, host.InvalidInput), "it is not the file that was meant")
}

func TestAFileIsReadWithTheSignatureBesideIt(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	alice, key := signer(t, "alice")
	bob, bobsKey := signer(t, "bob")
	write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	strict := artifact.Options{Dir: dir, RequireSignature: true, Signers: []artifact.Signer{bob, alice}}

	require.Contains(t, refused(t, s, "acme.wasm", strict, host.PermissionDenied), "is not signed; put the signature into "+filepath.Join(dir, "acme.wasm.minisig"))
	require.NotEmpty(t, get(t, s, "acme.wasm", artifact.Options{Dir: dir}).Unverified)

	write(t, filepath.Join(dir, "acme.wasm.minisig"), sign(t, key, wasm("one"), artifact.Wishes{}))
	a := get(t, s, "acme.wasm", strict)
	require.Equal(t, "acme", a.Name)
	require.Equal(t, "alice", a.Signature.Signer)
	require.Equal(t, artifact.KeyID(alice.Key.ID()), a.Signature.KeyID)
	require.Equal(t, time.Unix(1_700_000_000, 0).UTC(), a.Signature.SignedAt)
	require.NoError(t, a.Signature.Agrees("acme", "1.4.0"))
	err := a.Signature.Agrees("acme", "1.3.0")
	require.ErrorContains(t, err, "describes itself as acme 1.3.0, but alice signed it as acme 1.4.0")
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))

	for name, c := range map[string]struct {
		module, signature []byte
		o                 artifact.Options
		says              string
	}{
		"changed":          {wasm("two"), sign(t, key, wasm("one"), artifact.Wishes{}), strict, "was changed after it was signed"},
		"cut off":          {wasm("one")[:10], sign(t, key, wasm("one"), artifact.Wishes{}), strict, "was changed after it was signed"},
		"unknown key":      {wasm("one"), sign(t, key, wasm("one"), artifact.Wishes{}), artifact.Options{Dir: dir, RequireSignature: true, Signers: []artifact.Signer{bob}}, "is none of those that are known: bob ("},
		"nobody is known":  {wasm("one"), sign(t, key, wasm("one"), artifact.Wishes{}), artifact.Options{Dir: dir, RequireSignature: true}, "no signers are known here"},
		"not accepted":     {wasm("one"), sign(t, bobsKey, wasm("one"), artifact.Wishes{}), artifact.Options{Dir: dir, Accepted: []string{"alice"}, Signers: []artifact.Signer{bob, alice}}, "is signed by bob, but only alice count for this plugin"},
		"no signature":     {wasm("one"), []byte("hello"), strict, "is no minisign signature"},
		"a huge signature": {wasm("one"), make([]byte, 1<<20), strict, "which is the most that is read"},
		"without a name":   {wasm("one"), minisign.Sign(key, wasm("one")), strict, "does not say which connector and version was signed"},
		"two names":        {wasm("one"), minisign.SignWithComments(key, wasm("one"), "name:acme\tversion:1\tname:globex", ""), strict, `has "name" twice`},
		"another's id":     {wasm("one"), forged(t, bobsKey, alice.Key.ID(), wasm("one")), strict, "of alice does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(dir, "acme.wasm"), c.module)
			write(t, filepath.Join(dir, "acme.wasm.minisig"), c.signature)
			code := host.PermissionDenied
			if name == "a huge signature" {
				code = host.LimitExceeded
			}
			require.Contains(t, refused(t, s, "acme.wasm", c.o, code), c.says)
		})
	}
}

// forged is a signature that says it is by another's key.
func forged(t *testing.T, key artifact.PrivateKey, id uint64, wasm []byte) []byte {
	var s minisign.Signature
	require.NoError(t, s.UnmarshalText(sign(t, key, wasm, artifact.Wishes{})))
	s.KeyID = id
	b, err := s.MarshalText()
	require.NoError(t, err)
	return b
}

func TestATrustedCommentCannotBeChanged(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	alice, key := signer(t, "alice")
	write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	text := strings.Replace(string(sign(t, key, wasm("one"), artifact.Wishes{})), "version:1.4.0", "version:9.9.9", 1)
	write(t, filepath.Join(dir, "acme.wasm.minisig"), []byte(text))
	require.Contains(t, refused(t, s, "acme.wasm", artifact.Options{Dir: dir, RequireSignature: true, Signers: []artifact.Signer{alice}}, host.PermissionDenied), "does not fit")
}

func TestTheDigestIsDemanded(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "acme.wasm"), wasm("one"))
	a := get(t, local(t), file, artifact.Options{})
	get(t, local(t), file, artifact.Options{Digest: "sha256:" + a.Digest})
	write(t, file, wasm("two"))
	says := refused(t, local(t), file, artifact.Options{Digest: a.Digest}, host.InvalidInput)
	require.Contains(t, says, a.Digest)
	require.Contains(t, says, get(t, local(t), file, artifact.Options{}).Digest)
}

func TestAFolderIsOneConnector(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	require.Contains(t, refused(t, s, dir, artifact.Options{}, host.InvalidInput), "provost plugin build")
	write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	write(t, filepath.Join(dir, "README.md"), []byte("hello"))
	require.Equal(t, wasm("one"), get(t, s, dir, artifact.Options{}).Wasm)
	require.Equal(t, []string{filepath.Join(dir, "acme.wasm"), filepath.Join(dir, "acme.wasm.minisig"), filepath.Join(dir, "manifest.json"), filepath.Join(dir, "manifest.json.minisig")}, artifact.Files(dir, ""))

	write(t, filepath.Join(dir, "globex.wasm"), wasm("two"))
	require.Contains(t, refused(t, s, dir, artifact.Options{}, host.InvalidInput), "2 modules (acme.wasm, globex.wasm)")
	write(t, filepath.Join(dir, "manifest.json"), []byte(`{"wasm": [{"path": "globex.wasm"}], "allowed_hosts": ["files.example.com"]}`))
	a := get(t, s, dir, artifact.Options{})
	require.Equal(t, wasm("two"), a.Wasm)
	require.Equal(t, []string{"files.example.com"}, a.Wishes.Hosts)
	require.Contains(t, artifact.Files(dir, ""), filepath.Join(dir, "globex.wasm.minisig"))

	write(t, filepath.Join(dir, "manifest.json"), []byte(`{"wasm": [{"path": "../globex.wasm"}]}`))
	require.Contains(t, refused(t, s, dir, artifact.Options{}, host.InvalidInput), "is outside of the folder")
}

func TestAManifestIsReadAsExtismReadsIt(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	module := wasm("one")
	write(t, filepath.Join(dir, "acme.wasm"), module)
	digest := get(t, s, filepath.Join(dir, "acme.wasm"), artifact.Options{}).Digest
	text := fmt.Sprintf(`{"wasm": [{"path": "acme.wasm", "hash": %q, "name": "main"}], "memory": {"max_pages": 16, "max_http_response_bytes": 0, "max_var_bytes": 4096},
		"config": {"region": "eu"}, "allowed_hosts": ["*.example.com"], "timeout_ms": 1500}`, digest)
	file := write(t, filepath.Join(dir, "acme.json"), []byte(text))
	w := get(t, s, file, artifact.Options{}).Wishes
	var theirs extism.Manifest
	require.NoError(t, json.Unmarshal([]byte(text), &theirs))
	require.EqualValues(t, theirs.Memory.MaxPages, w.MemoryBytes/65536)
	require.Equal(t, theirs.Memory.MaxVarBytes, w.VarBytes)
	require.Zero(t, theirs.Memory.MaxHttpResponseBytes)
	require.EqualValues(t, -1, w.HTTPResponseBytes, "none at all, which is not the same as no bound")
	require.Equal(t, theirs.Config, w.Config)
	require.Equal(t, theirs.AllowedHosts, w.Hosts)
	require.EqualValues(t, theirs.Timeout, w.Time.Milliseconds())
	require.Equal(t, []string{file, file + ".minisig", filepath.Join(dir, "acme.wasm"), filepath.Join(dir, "acme.wasm.minisig")}, artifact.Files("acme.json", dir))

	theirs = extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: module, Hash: digest}}, AllowedHosts: []string{"a.example.com"}}
	b, err := json.Marshal(theirs)
	require.NoError(t, err)
	write(t, file, b)
	require.Equal(t, module, get(t, s, file, artifact.Options{}).Wasm)

	for manifest, says := range map[string]string{
		``:   "is empty",
		`{`:  "is no manifest",
		`[]`: "is no manifest",
		`{"wasm": [{"path": "acme.wasm"}], "alowed_hosts": []}`: `unknown field "alowed_hosts"`,
		`{"wasm": []}`: "has 0 modules",
		`{"wasm": [{"path": "acme.wasm"}, {"path": "b.wasm"}]}`:                                 "has 2 modules",
		`{"wasm": [{"path": "acme.wasm", "url": "https://example.com/a.wasm"}]}`:                "has 2 of path, url and data",
		`{"wasm": [{"url": "https://example.com/a.wasm"}]}`:                                     "needs its SHA-256",
		`{"wasm": [{"url": "http://example.com/a.wasm", "hash": "` + digest + `"}]}`:            "is no https:// address",
		`{"wasm": [{"url": "https://u:hunter2@example.com/a.wasm", "hash": "` + digest + `"}]}`: "is no https:// address",
		`{"wasm": [{"path": "acme.wasm", "hash": "12"}]}`:                                       "must be a SHA-256",
		`{"wasm": [{"path": "acme.wasm", "hash": "` + strings.Repeat("0", 64) + `"}]}`:          "it is not the file that was meant",
		`{"wasm": [{"path": "acme.wasm"}], "allowed_paths": {"/etc": "/etc"}}`:                  "has no files here",
		`{"wasm": [{"path": "acme.wasm"}], "timeout_ms": 99999999999}`:                          "more than a day",
		`{"wasm": [{"path": "acme.wasm"}], "memory": {"max_pages": 65537}}`:                     "memory.max_pages",
		`{"wasm": [{"path": "nowhere.wasm"}]}`:                                                  "nowhere.wasm",
		`{"wasm": [{"path": "acme.wasm"}]} {}`:                                                  "more than one document",
	} {
		write(t, file, []byte(manifest))
		got := refused(t, s, file, artifact.Options{}, host.InvalidInput)
		require.Contains(t, got, says, manifest)
		require.NotContains(t, got, "hunter2")
	}
}

func TestASignatureThatCoversAManifestIsForThatOneOnly(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	alice, key := signer(t, "alice")
	o := artifact.Options{RequireSignature: true, Signers: []artifact.Signer{alice}}
	write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	manifest := func(config string) {
		write(t, filepath.Join(dir, "manifest.json"), []byte(`{"wasm": [{"path": "acme.wasm"}], "config": {"region": "`+config+`"}}`))
	}
	manifest("eu")
	write(t, filepath.Join(dir, "acme.wasm.minisig"), sign(t, key, wasm("one"), get(t, s, dir, artifact.Options{}).Wishes))
	require.Equal(t, "eu", get(t, s, dir, o).Wishes.Config["region"])
	manifest("us")
	require.Contains(t, refused(t, s, dir, o, host.PermissionDenied), "its manifest is not the one that alice signed with it")
	require.NoError(t, os.Remove(filepath.Join(dir, "manifest.json")))
	require.Contains(t, refused(t, s, dir, o, host.PermissionDenied), "its manifest is not the one")

	// One that is not covered is the operator's own, here.
	manifest("us")
	write(t, filepath.Join(dir, "acme.wasm.minisig"), sign(t, key, wasm("one"), artifact.Wishes{}))
	require.Equal(t, "us", get(t, s, dir, o).Wishes.Config["region"])
}

func TestWhatIsNoFileOrTooLargeIsRefused(t *testing.T) {
	dir, s := t.TempDir(), local(t)
	require.Contains(t, refused(t, s, filepath.Join(dir, "none.wasm"), artifact.Options{}, host.InvalidInput), "there is no such file; name a .wasm file")
	file := write(t, filepath.Join(dir, "acme.wasm"), wasm("one"))
	require.Contains(t, refused(t, s, file, artifact.Options{MaxBytes: 5}, host.LimitExceeded), "which is the most that is read")
	file = write(t, filepath.Join(dir, "data.json"), []byte(`{"wasm": [{"data": "`+base64.StdEncoding.EncodeToString(wasm("one"))+`"}]}`))
	get(t, s, file, artifact.Options{})
	require.Contains(t, refused(t, s, file, artifact.Options{MaxBytes: 5}, host.LimitExceeded), "which is the most that is read")
	require.Contains(t, refused(t, s, os.DevNull, artifact.Options{}, host.InvalidInput), "is no file")
}

func TestAKeyOpensWithItsPasswordOnly(t *testing.T) {
	sealed, err := os.ReadFile("testdata/sealed.key")
	require.NoError(t, err)
	require.True(t, artifact.IsSealed(sealed))
	key, err := artifact.OpenKey(sealed, "correct horse")
	require.NoError(t, err)
	public, err := os.ReadFile("testdata/sealed.pub")
	require.NoError(t, err)
	want, err := artifact.ParsePublicKey(string(public))
	require.NoError(t, err)
	require.True(t, artifact.PublicOf(key).Equal(want))
	_, err = artifact.OpenKey(sealed, "battery staple")
	require.Equal(t, host.Unauthorized, host.CodeOf(err))
	_, err = artifact.OpenKey([]byte("hello"), "")
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
	for _, text := range []string{"", "hello", strings.Repeat("RW", 10_000), string(sealed)} {
		_, err := artifact.ParsePublicKey(text)
		require.Error(t, err, text)
	}
}
