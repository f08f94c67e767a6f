package artifact

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func FuzzParseSource(f *testing.F) {
	for _, text := range []string{"builtin:scim", "acme.wasm", "/a/b", "https://example.com/acme.wasm?x=1", "https://u:p@example.com/a", "http://example.com/a", "oci://registry.example.com/a/b:1.4",
		"oci://localhost:5000/a@sha256:0000000000000000000000000000000000000000000000000000000000000000", "oci://[::1]:5000/a:1", "oci://a/b:c@d@e", "oci://a/b:c?d", `C:\a.wasm`, "a\x00b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text, "dir")
		if err != nil {
			require.Equal(t, host.InvalidInput, host.CodeOf(err))
			return
		}
		require.Equal(t, text, s.Text)
		switch s.Kind {
		case Local:
			require.True(t, filepath.IsAbs(s.Path))
			require.NotContains(t, text, "://", "an address is no path")
		case HTTPS:
			require.Equal(t, "https", s.URL.Scheme)
			require.NotEmpty(t, s.URL.Hostname())
			require.Nil(t, s.URL.User)
		case OCI:
			require.NotEmpty(t, s.reference())
			require.True(t, s.Digest == "" || isDigest(s.Digest))
			again, err := ParseSource(ociPrefix+s.Repository+map[bool]string{true: ":" + s.Tag}[s.Tag != ""]+map[bool]string{true: "@" + s.Digest}[s.Digest != ""], "")
			require.NoError(t, err)
			again.Text = s.Text
			require.Equal(t, s, again)
		case Builtin:
		default:
			t.Fatalf("kind %q", s.Kind)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	for _, text := range []string{`{"wasm":[{"path":"a.wasm","hash":""}],"memory":{"max_pages":3,"max_var_bytes":0,"max_http_response_bytes":-1},"config":{"a":"b"},"allowed_hosts":["*"],"timeout_ms":7}`,
		`{"wasm":[{"data":"AGFzbQ=="}]}`, `{"wasm":[{"url":"https://example.com/a","hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}`, `{}`, `[]`, ``} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		places := 0
		for _, is := range []bool{m.Module.Path != "", m.Module.URL != "", len(m.Module.Data) > 0} {
			if is {
				places++
			}
		}
		require.Equal(t, 1, places)
		// What it asks for is the same however it is written.
		b, err := m.Wishes.manifest("a.wasm", m.Module.Hash)
		require.NoError(t, err)
		again, err := ParseManifest(b)
		require.NoError(t, err, "%s", b)
		require.Equal(t, m.Wishes.Digest(), again.Wishes.Digest())
		require.Equal(t, m.Wishes.IsZero(), again.Wishes.IsZero())
		require.Equal(t, m.Wishes.Time, again.Wishes.Time)
	})
}

func FuzzSignature(f *testing.F) {
	public, private, err := minisign.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	require.NoError(f, err)
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	good, err := Sign(private, wasm, "acme", "1.4.0", Wishes{}, time.Unix(1_700_000_000, 0))
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte("untrusted comment: x\n\ntrusted comment: y\n"))
	f.Add(bytes.Replace(good, []byte("1.4.0"), []byte("1.5.0"), 1))
	f.Add(append(bytes.Clone(good), '\n', 'x'))
	var want minisign.Signature
	require.NoError(f, want.UnmarshalText(good))
	o := Options{Signers: []Signer{{"alice", public}}}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := verifyOne(wasm, text, o)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		// Only what was signed is taken, whatever stands around it.
		var sig minisign.Signature
		require.NoError(t, sig.UnmarshalText(text))
		require.True(t, sig.Equal(want))
		require.Equal(t, "1.4.0", s.Version)
	})
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{"mediaType":"application/wasm","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1}]}`))
	f.Add([]byte(`{"layers":[{"digest":"x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseIndex(text)
		if err != nil {
			return
		}
		for _, l := range m.Layers {
			require.Len(t, l.Digest.Encoded(), 64)
		}
		_, _, _ = layer(m, mediaModule)
	})
}

func FuzzBuildInfo(f *testing.F) {
	f.Add([]byte("path\ta\nmod\ta\tv1\ndep\tb\tv2\th1:x\n=>\tc\tv3\n"))
	f.Add([]byte("dep\tb\nbuild\tvcs.time=2026-01-01T00:00:00Z\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		wasm := bytes.Join([][]byte{[]byte("\x00asm"), buildInfoBegin, text, buildInfoEnd}, nil)
		b, err := NewSBOM(wasm, "acme", "1", "")
		require.NoError(t, err)
		require.True(t, json.Valid(b))
		require.False(t, builtAt(buildInfo(wasm)).IsZero())
	})
}

func TestAManifestOfARegistryMustBeSignedOrPinned(t *testing.T) {
	a := Artifact{Source: "oci://example.com/a:1", Signature: &Signature{Signer: "alice"}, Wishes: Wishes{Config: map[string]string{"region": "eu"}}}
	require.NoError(t, checkWishes(a, true))
	err := checkWishes(a, false)
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
	require.ErrorContains(t, err, "the signature of alice does not cover its manifest; pin it")
	a.Signature.Wishes = a.Wishes.Digest()
	require.NoError(t, checkWishes(a, false))
	a.Wishes.Config = nil
	require.ErrorContains(t, checkWishes(a, true), "its manifest is not the one that alice signed with it", "one that is left out is another too")
}
