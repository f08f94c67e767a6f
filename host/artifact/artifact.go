// Package artifact is where connectors come from: it reads, fetches, verifies
// and caches modules for the daemon and for the commands, whatever names them: a
// name that is built in, a file, a folder, a manifest in Extism's format, an
// address, a registry. It knows nothing of running them.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/provosthq/provost/host"
)

// Artifact is a connector as its source has it, verified as the [Options] ask.
type Artifact struct {
	// Name is what the file or the repository is called, for messages.
	Name string
	// Source is as it was given; Resolved is what it stood for where that may
	// change: an address in a registry with its digest. It is "" for what is
	// built in or local.
	Source, Resolved string
	Wasm             []byte
	// Digest is the SHA-256 of Wasm, in hex.
	Digest string
	// Wishes are what the manifest asks for.
	Wishes Wishes
	// Builtin: it is part of the binary, and trusted as that.
	Builtin bool
	// Signature is nil where nobody known has signed it; Unverified then says
	// why, as a sentence without its subject.
	Signature  *Signature
	Unverified string
	// Signatures are as they lie beside it, whoever's they are; the one that counts
	// is the first.
	Signatures [][]byte
	// Description and SBOM are documents that came along, nil for none. They are
	// the publisher's word: nothing is decided by them.
	Description, SBOM []byte
	// Stale is why this is the version that was fetched before and not what the
	// source has now; "" where it is what the source has.
	Stale string
	// SignaturePath is the file that has its signature or could have it; "" where
	// there can be none.
	SignaturePath string
}

// Signer is somebody whose signature is known.
type Signer struct {
	Name string
	Key  PublicKey
}

// Options say what is demanded of an artifact.
type Options struct {
	// Dir is where a relative path begins; "" is the working directory.
	Dir string
	// Digest, if set, is the SHA-256 that the module must have, in hex, with or
	// without "sha256:" before it.
	Digest string
	// Signers are all that are known; Accepted are the names of those who count,
	// all of them where it is empty.
	Signers  []Signer
	Accepted []string
	// RequireSignature refuses what none of them has signed, except what is built
	// in.
	RequireSignature bool
	// MaxBytes bounds the module; 0 stands for [DefaultMaxBytes].
	MaxBytes int64
	// PlainHTTP speaks to any registry without TLS; one on this machine is
	// always spoken to so.
	PlainHTTP bool
}

// DefaultMaxBytes bounds a module where [Options] do not.
const DefaultMaxBytes = 64 << 20

func (o Options) maxBytes() int64 {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}

// StoreOptions are what a [Store] has of the world.
type StoreOptions struct {
	// Dir is the folder of the cache; it is made when something is kept. "" keeps
	// nothing.
	Dir string
	// Builtin returns a connector that is part of the binary; Builtins are their
	// names.
	Builtin  func(name string) ([]byte, bool)
	Builtins []string
	// Uploaded returns a module that was uploaded, with its signatures; nil where
	// there are none.
	Uploaded func(ctx context.Context, digest string) (module []byte, signatures [][]byte, err error)
	// Transport performs HTTP; nil is one that verifies as the system does.
	Transport http.RoundTripper
	// Credential finds the sign-in at a registry ([DockerCredential]); nil signs in
	// nowhere.
	Credential auth.CredentialFunc
	// Logger is told of what is damaged and of what could not be fetched; nil
	// drops it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Store gets artifacts. Its methods may be called at once from many goroutines,
// and several processes may share its folder.
type Store struct {
	options StoreOptions
	cache   cache
}

// NewStore makes a store. It touches neither disk nor network.
func NewStore(o StoreOptions) *Store {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	return &Store{options: o, cache: cache{dir: o.Dir, log: o.Logger}}
}

// Get reads what a source names and verifies it: the size, the digest, the
// signature. What was fetched is kept by its digest, and verified again whenever
// it is used; what is pinned and kept needs no network. Where an address or a
// registry can't be asked, the version that it gave last is taken and
// [Artifact].Stale says so.
//
// An error is InvalidInput for a source that has nothing usable, PermissionDenied
// for what is not trusted, LimitExceeded for what is too large, and Unavailable
// for what can't be had now.
func (s *Store) Get(ctx context.Context, source string, o Options) (Artifact, error) {
	src, err := ParseSource(source, o.Dir)
	if err != nil {
		return Artifact{}, err
	}
	var a Artifact
	switch src.Kind {
	case Builtin:
		a, err = s.builtin(src, o)
	case Uploaded:
		a, err = s.uploaded(ctx, src, o)
	case Local:
		var signatures [][]byte
		if a, signatures, err = s.local(ctx, src, o); err == nil {
			a, err = verified(a, signatures, o)
		}
		if err == nil {
			err = checkWishes(a, true)
		}
	default:
		a, _, err = s.remote(ctx, src, o)
	}
	if err != nil {
		return Artifact{}, err
	}
	return a, nil
}

func (s *Store) uploaded(ctx context.Context, src Source, o Options) (Artifact, error) {
	if s.options.Uploaded == nil {
		return Artifact{}, host.Errorf(host.Unsupported, "%s: only a daemon has what was uploaded to it", src.Text)
	}
	wasm, signatures, err := s.options.Uploaded(ctx, src.Name)
	if err != nil {
		return Artifact{}, err
	}
	return FromBytes(src.Text, wasm, signatures, o)
}

// FromBytes is what Get makes of a module that is there already.
func FromBytes(source string, wasm []byte, signatures [][]byte, o Options) (Artifact, error) {
	if int64(len(wasm)) > o.maxBytes() {
		return Artifact{}, tooLarge(source, o.maxBytes())
	}
	if err := checkModule(source, wasm); err != nil {
		return Artifact{}, err
	}
	return verified(Artifact{Source: source, Wasm: wasm, Digest: digestOf(wasm)}, signatures, o)
}

func (s *Store) builtin(src Source, o Options) (Artifact, error) {
	var wasm []byte
	ok := false
	if s.options.Builtin != nil {
		wasm, ok = s.options.Builtin(src.Name)
	}
	switch {
	case ok:
	case len(s.options.Builtins) == 0:
		return Artifact{}, host.Errorf(host.InvalidInput, "%s: this binary was built without connectors   -> make build", src.Text)
	default:
		return Artifact{}, host.Errorf(host.InvalidInput, "%s: there is no such connector in this binary; there is %s", src.Text, strings.Join(s.options.Builtins, ", "))
	}
	a := Artifact{Name: src.Name, Source: src.Text, Wasm: wasm, Digest: digestOf(wasm), Builtin: true}
	return a, checkDigest(a, o)
}

// verified is the artifact with its signer, where the options are met.
func verified(a Artifact, signatures [][]byte, o Options) (Artifact, error) {
	if err := checkDigest(a, o); err != nil {
		return Artifact{}, err
	}
	a.Signature, a.Signatures, a.Unverified = verify(a, signatures, o)
	if a.Signature == nil && (o.RequireSignature || len(o.Accepted) > 0) {
		return Artifact{}, host.Errorf(host.PermissionDenied, "%s: %s", a.Source, a.Unverified)
	}
	return a, nil
}

func checkDigest(a Artifact, o Options) error {
	want := strings.ToLower(strings.TrimPrefix(o.Digest, "sha256:"))
	if want == "" || want == a.Digest {
		return nil
	}
	return host.Errorf(host.InvalidInput, "%s: its SHA-256 is %s, but digest demands %s: it is not the file that was meant; if the new one is right, write its digest",
		a.Source, a.Digest, want)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkModule refuses what can't be a module, before it is kept anywhere.
func checkModule(source string, b []byte) error {
	if len(b) >= 4 && string(b[:4]) == "\x00asm" {
		return nil
	}
	return host.Errorf(host.InvalidInput, "%s: is no WebAssembly module; it has %d bytes and begins with %q", source, len(b), b[:min(len(b), 16)])
}

func tooLarge(what string, most int64) error {
	return host.Errorf(host.LimitExceeded, "%s: has more than %s, which is the most that is read", what, sizeText(most))
}

func sizeText(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
}
